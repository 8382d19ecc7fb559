"""A gate between builds and the offline teacher: it knows what was sent, answered and delivered, whoever is killed."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp
from aiohttp import web

DELAY_S = (0.2, 0.8)
"""How long a reply takes, half of it before the teacher is asked: long enough for a kill to fall between."""


@dataclass
class Toll:
    """What one build asked, by the digest that stands in ``Idempotency-Key``."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    under_way: set[str] = field(default_factory=set)


class Gate:
    """Passes requests on to a real ``belle teacher`` and counts them by build, which its API key names.

    The teacher gets the key and the digest as one idempotency key, so that builds that ask the same are told apart.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.tolls: defaultdict[str, Toll] = defaultdict(Toll)
        self.answered_twice = 0
        """What teachers that have ended since said of themselves."""
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._stop: asyncio.Event | None = None

    @property
    def base_url(self) -> str:
        """What params.yaml names."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Gate:
        self._start_teacher()
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(20):
            raise RuntimeError("the gate did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self.answered_twice += self.teacher_stats()["answered_twice"]
        self._teacher.terminate()
        self._teacher.wait(20)

    def toll(self, build: str) -> Toll:
        """The counts of one build."""
        return self.tolls[build]

    def kill_teacher(self, number: signal.Signals) -> None:
        """End the teacher by a signal and start another, a second later, as a service manager does."""
        with self._lock:
            self.answered_twice += self.teacher_stats()["answered_twice"]
            self._teacher.send_signal(number)
            self._teacher.wait(20)
            time.sleep(1)
            self._start_teacher()

    def teacher_stats(self) -> dict[str, int]:
        """What the teacher that runs now says of itself."""

        async def ask() -> dict[str, int]:
            async with aiohttp.ClientSession() as session, session.get(self._teacher_url + "/stats") as reply:
                return await reply.json()

        return asyncio.run(ask())

    def _start_teacher(self) -> None:
        self._teacher = subprocess.Popen(
            [sys.executable, "-m", "belle.cli", "teacher", "--port", "0"],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._teacher.stdout is not None
        self._teacher_url = self._teacher.stdout.readline().split()[-1].removesuffix("/v1")

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self._pass)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, backlog=256).start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await self._session.close()
        await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        raw, digest = await request.read(), request.headers["Idempotency-Key"]
        build = request.headers["Authorization"].removeprefix("Bearer ")
        toll, half = self.tolls[build], random.uniform(*DELAY_S) / 2
        toll.sent[digest] += 1
        toll.under_way.add(digest)
        try:
            await asyncio.sleep(half)
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"{build}/{digest}"}
            url = self._teacher_url + "/v1/chat/completions"
            async with self._session.post(url, data=raw, headers=headers) as reply:
                body = await reply.read()
            toll.answered[digest] += reply.status == 200
            await asyncio.sleep(half)
            return web.Response(body=body, status=reply.status, content_type="application/json")
        except aiohttp.ClientError:
            assert request.transport is not None
            request.transport.abort()  # what the teacher's own death looks like from the other side
            return web.Response(status=502)
        finally:
            toll.under_way.discard(digest)
