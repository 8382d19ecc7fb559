"""A small OpenAI-compatible server on a real socket, whose faults a test scripts.

``StubApi`` runs in a thread of the test's own process, with a loop of its own.
"""

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

from trials.storm.desk import Desk

Answer = Callable[[dict[str, Any]], str]
Fault = Callable[[int], web.StreamResponse | str | None]


def items(first: int, count: int, mark: str) -> str:
    """A Self-Instruct reply of ``count`` items that goes on after the open item ``first``."""
    blocks = []
    for number in range(first, first + count):
        head = "" if number == first else f"{number}. 指令:"
        blocks.append(
            f"{head} 请把下面的词倒过来写{mark}-{number}\n{number}. 输入:\n词{number}\n{number}. 输出:\n{number}词"
        )
    return "\n###\n".join(blocks)


def echo(body: dict[str, Any]) -> str:
    return "答:" + body["messages"][-1]["content"]


def self_instruct(body: dict[str, Any]) -> str:
    return items(4, 10, hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:6])


def completion(text: str, finish_reason: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }  # fmt: skip


class StubApi:
    """``fault(n)`` may answer the n-th post of a digest (from 0) in place of ``answer``; ``choose(body)`` may, too.

    It may also be "drop" (the connection is cut), "cut" (it is cut inside the body) or "stall". ``desk`` is its Batch
    API, whose answers are those of ``answer``, or of ``batch_fault(n, body)`` as (status, body). After ``hold_after``
    answers the rest wait for ``release``; who has hung up by then gets no answer and counts for none.
    """

    def __init__(
        self,
        answer: Answer = echo,
        *,
        fault: Fault | None = None,
        delay_s: float = 0.0,
        hold_after: float = float("inf"),
    ) -> None:
        self.answer, self.fault, self.delay_s, self.hold_after = answer, fault, delay_s, hold_after
        self.posts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: set[str] = set()
        self.under_way = self.most_under_way = self.started = 0
        self.url = ""
        self.choose: Callable[[dict[str, Any]], Any] | None = None
        self.batch_fault: Callable[[int, dict[str, Any]], tuple[int, Any] | None] | None = None
        self.desk = Desk(self._answer_in_batch)

    def __enter__(self) -> "StubApi":
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready.set)), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def release(self) -> None:
        """Let what was held go, and hold nothing more."""
        self.hold_after = float("inf")
        self._loop.call_soon_threadsafe(self._released.set)

    async def serve(self, ready: Callable[[], None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._released = asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._post)
        app.router.add_routes(self.desk.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready()
        await self._stop.wait()
        await runner.cleanup()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        digest = request.headers["Idempotency-Key"]
        body = await request.json()
        earlier = self.posts[digest]
        self.posts[digest] += 1
        self.bodies.append(body)
        self.times.append(self._loop.time())
        self.keys.add(request.headers.get("Authorization", ""))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.under_way -= 1
        self.started += 1
        if self.started > self.hold_after:
            await self._released.wait()
            # The news that a killed client hung up may stand behind the release in the loop's queue.
            await asyncio.sleep(0.1)
            if request.transport is None:
                return web.Response()
        fault = self.fault(earlier) if self.fault else self.choose(body) if self.choose else None
        if fault == "drop":
            assert request.transport
            request.transport.abort()
            return web.Response()
        if fault == "cut":
            return await self._cut(request, json.dumps(completion(self.answer(body))).encode())
        if fault == "stall":
            await asyncio.sleep(30)
        if isinstance(fault, web.StreamResponse):
            return fault
        self.answered[digest] += 1
        return web.json_response(completion(self.answer(body)))

    async def _cut(self, request: web.Request, whole: bytes) -> web.StreamResponse:
        """Send half of a body that was said to be whole."""
        response = web.StreamResponse(headers={"Content-Length": str(len(whole)), "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(whole[: len(whole) // 2])
        assert request.transport
        request.transport.close()
        return response

    def _answer_in_batch(self, digest: str, body: dict[str, Any]) -> tuple[int, Any]:
        earlier = self.posts[digest]
        self.posts[digest] += 1
        self.bodies.append(body)
        if self.batch_fault and (found := self.batch_fault(earlier, body)) is not None:
            return found
        self.answered[digest] += 1
        return 200, completion(self.answer(body))
