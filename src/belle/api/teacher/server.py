"""Serve the offline teacher: OpenAI's chat completions over HTTP on the loopback interface.

``python -m belle.api.teacher.server --port N`` runs it alone; ``OfflineTeacher`` runs it as a child process that
never outlives its parent.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from belle import jsonl
from belle.api.teacher.answers import fault_of
from belle.api.teacher.identity import identity
from belle.api.teacher.sets.answers import KINDS, reply_to
from belle.errors import BelleError

MODEL = "offline-teacher"
MAX_BODY_BYTES = 4 * 1024 * 1024
STOP_TIMEOUT_S = 5.0


class Teacher:
    """The request handlers and their counters."""

    def __init__(self) -> None:
        self.by_kind: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.answered_twice = 0

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.complete),
                web.get("/v1/models", self.models),
                web.get("/stats", self.stats),
                web.get("/health", self.health),
                web.route("*", "/{path:.*}", self.nowhere),
            ]
        )
        return app

    async def complete(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/chat/completions``; a bad body gets OpenAI's error object and status 400."""
        raw = await request.read()
        try:
            body: Any = json.loads(raw)
        except ValueError:
            return _error("The body is not JSON.")
        fault = fault_of(body)
        if fault:
            return _error(fault)
        answer = reply_to(body)
        self.by_kind[answer.kind] += 1
        key = request.headers.get("Idempotency-Key")
        if key:
            self.answered_twice += key in self.keys
            self.keys.add(key)
        asked = sum(len(message["content"]) for message in body["messages"])
        return web.json_response(
            {
                "id": "chatcmpl-" + hashlib.sha256(jsonl.canonical(body)).hexdigest()[:24],
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": answer.text},
                        "finish_reason": answer.finish_reason,
                    }
                ],
                "usage": {
                    "prompt_tokens": asked,
                    "completion_tokens": len(answer.text),
                    "total_tokens": asked + len(answer.text),
                },
            }
        )

    async def models(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/models``: any model name is served, this one is listed."""
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "belle"}
        return web.json_response({"object": "list", "data": [model]})

    async def stats(self, request: web.Request) -> web.Response:
        """Answer ``GET /stats``: completions answered, and how many of them under a key answered before."""
        return web.json_response(
            {
                "requests": self.by_kind.total(),
                "answered_twice": self.answered_twice,
                "by_kind": {kind: self.by_kind[kind] for kind in KINDS},
            }
        )

    async def nowhere(self, request: web.Request) -> web.Response:
        """Answer any other address with OpenAI's error object and status 404."""
        return _error(f"There is no {request.method} {request.path}.", status=404)

    async def health(self, request: web.Request) -> web.Response:
        """Answer ``GET /health``."""
        return web.json_response({"status": "ok", "endpoint": identity()})


def _error(message: str, status: int = 400) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)


async def _serve(port: int, host: str, *, until_stdin_ends: bool) -> None:
    runner = web.AppRunner(Teacher().app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise BelleError(
            f"cannot listen: {error.strerror}",
            where=f"{host}:{port}",
            cause="another server has the port",
            fix="name another port, or 0 for any free one",
        ) from None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_ends:
        # The parent holds the other end of this pipe; it closes when the parent ends, however it ends.
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, sys.stdin.fileno(), stop)
    bound = runner.addresses[0][1]
    print(f"listening on http://{host}:{bound}/v1", flush=True)
    await stop.wait()
    await runner.cleanup()


def _stop_at_end(descriptor: int, stop: asyncio.Event) -> None:
    if not os.read(descriptor, 4096):
        stop.set()


def run(port: int, host: str = "127.0.0.1", *, until_stdin_ends: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; print ``listening on http://HOST:PORT/v1`` when ready.

    Args:
        port: The port, or 0 for any free one.
        host: The interface.
        until_stdin_ends: Stop also when standard input reaches its end.

    Raises:
        BelleError: the port cannot be had.
    """
    asyncio.run(_serve(port, host, until_stdin_ends=until_stdin_ends))


class OfflineTeacher:
    """Run the teacher in a child process for the length of a ``with`` block, which gets its base URL.

    The child ends with the block, and also when this process is killed.

    Raises:
        BelleError: the child ended before it listened.
    """

    def __enter__(self) -> str:
        """Start the child and wait until it listens; return ``http://127.0.0.1:PORT/v1``."""
        source = str(Path(__file__).resolve().parents[3])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "belle.api.teacher.server", "--port", "0", "--until-stdin-ends"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line.startswith("listening on "):
            self.child.kill()
            status = self.child.wait()
            self.__exit__(None, None, None)
            raise BelleError(
                f"the offline teacher did not start (exit status {status})",
                where="belle.api.teacher.server",
                cause="what it printed above",
                fix="run `belle teacher --port 0` to see it alone",
            )
        return line.removeprefix("listening on ").strip()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the child: ask, wait, then kill."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def main() -> None:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(description="Serve the offline teacher on the loopback interface.")
    parser.add_argument("--port", type=int, default=0, help="the port; 0 for any free one")
    parser.add_argument("--until-stdin-ends", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args()
    try:
        run(arguments.port, until_stdin_ends=arguments.until_stdin_ends)
    except BelleError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
