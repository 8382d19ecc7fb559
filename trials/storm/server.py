"""The storm: an OpenAI-compatible server that draws what goes wrong, and counts what it was asked and answered."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web

from trials.storm.desk import Desk

LATENCY_S = (0.02, 0.06)
AT_ONCE = 300
"""More requests under way than this are refused with 429."""

TRAITS = {"context_length": 0.01, "content_filter": 0.005, "malformed": 0.005, "empty": 0.01, "language": 0.01}
"""What becomes of a request however often it is sent, and the share of such requests."""

FAULTS = {
    "429": 0.01, "429 retry-after-ms": 0.005, "429 Retry-After": 0.001, "429 Retry-After date": 0.0005,
    "500": 0.03, "503": 0.01, "stall": 0.01, "reset before": 0.01, "reset after": 0.01, "cut body": 0.01,
    "bad JSON": 0.01,
}  # fmt: skip
"""What becomes of one attempt, and its probability."""

STALL_S = 3.0
"""How long a stalled request takes: longer than our client waits."""


def drawn(weights: dict[str, float], *what: object) -> str:
    """One of the weights' names, or empty, decided by ``what`` alone."""
    point = random.Random(hashlib.sha256(repr(what).encode()).digest()).random()
    for name, weight in weights.items():
        point -= weight
        if point < 0:
            return name
    return ""


@dataclass
class Toll:
    """What one client sent: by request, its posts, whole answers, and answers that never arrived whole."""

    posts: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    most_under_way: int = 0


def completion(trait: str, content: str) -> dict[str, Any]:
    """A chat completion in Chinese; empty or in English for the requests with that trait."""
    text = {"empty": "", "language": "I am sorry, here is the answer in English."}.get(
        trait, f"这是对“{content}”的回答。"
    )
    message = {"role": "assistant", "content": text}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": "storm",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": len(content), "completion_tokens": len(text), "total_tokens": len(content + text)},
    }  # fmt: skip


def refused(trait: str) -> dict[str, Any]:
    """The error of a request that is at fault itself."""
    code = {"context_length": "context_length_exceeded"}.get(trait, trait)
    return {"error": {"code": code, "type": "invalid_request_error", "message": f"refused: {code}"}}


class Storm:
    """Requests are told apart by their text; clients, and so their attempts, by their API keys."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.tolls: defaultdict[str, Toll] = defaultdict(Toll)
        self.under_way: Counter[str] = Counter()
        self.desk = Desk(self._in_batch, looks=3, mangle=self._mangle)

    def app(self) -> web.Application:
        """The server."""
        app = web.Application()
        app.add_routes([
            web.post("/v1/chat/completions", self._post), web.get("/stats", self._stats), *self.desk.routes(),
        ])  # fmt: skip
        return app

    async def _post(self, request: web.Request) -> web.StreamResponse:
        client = request.headers["Authorization"].removeprefix("Bearer ")
        content = (await request.json())["messages"][-1]["content"]
        toll = self.tolls[client]
        attempt = toll.posts[content]
        toll.posts[content] += 1
        self.under_way[client] += 1
        toll.most_under_way = max(toll.most_under_way, self.under_way[client])
        try:
            return await self._answer(request, toll, content, attempt, self.under_way[client] > AT_ONCE)
        finally:
            self.under_way[client] -= 1

    async def _answer(
        self, request: web.Request, toll: Toll, content: str, attempt: int, crowded: bool
    ) -> web.StreamResponse:
        dice = random.Random(f"{self.seed}-{content}-{attempt}")
        trait = drawn(TRAITS, self.seed, content)
        fault = "429 too many" if crowded else drawn(FAULTS, self.seed, content, attempt)
        toll.met[fault or trait or "nothing"] += 1
        await asyncio.sleep(dice.uniform(*LATENCY_S) if not crowded else 0.001)
        if fault.startswith("429"):
            headers = {
                "429 retry-after-ms": {"retry-after-ms": str(dice.randint(20, 200))},
                "429 Retry-After": {"Retry-After": "1"},
                "429 Retry-After date": {"Retry-After": formatdate(time.time() + 1.5, usegmt=True)},
            }.get(fault, {})
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers=headers)
        if fault in ("500", "503"):
            return web.json_response({"error": {"message": "oops"}}, status=int(fault))
        if fault == "reset before":
            return _reset(request)
        if trait in ("context_length", "content_filter"):
            return web.json_response(refused(trait), status=400)
        if fault == "stall":
            await asyncio.sleep(STALL_S)
        raw = json.dumps(completion(trait, content), ensure_ascii=False).encode()
        if fault == "reset after":
            toll.lost[content] += 1
            return _reset(request)
        if fault == "cut body":
            toll.lost[content] += 1
            return await _cut(request, raw)
        if fault == "bad JSON" or trait == "malformed":
            toll.lost[content] += 1
            return web.Response(body=raw[: dice.randrange(1, len(raw) - 1)], content_type="application/json")
        if request.transport is None or request.transport.is_closing():
            toll.lost[content] += 1  # who asked has hung up
            return web.Response()
        toll.whole[content] += 1
        return web.Response(body=raw, content_type="application/json")

    def _in_batch(self, digest: str, body: dict[str, Any]) -> tuple[int, Any]:
        toll, content = self.tolls["batch"], body["messages"][-1]["content"]
        attempt = toll.posts[content]
        toll.posts[content] += 1
        trait = drawn(TRAITS, self.seed, content)
        if trait in ("context_length", "content_filter"):
            return 400, refused(trait)
        if drawn({"500": 0.03}, self.seed, content, attempt):
            return 500, {"error": {"message": "oops"}}
        if trait == "malformed":
            toll.lost[content] += 1
            return 200, {"choices": []}
        toll.whole[content] += 1
        return 200, completion(trait, content)

    def _mangle(self, lines: list[str]) -> list[str]:
        """In any order, a twentieth of the lines twice, and a fiftieth torn or missing: made, and lost."""
        dice = random.Random(f"{self.seed}-{len(lines)}")
        kept = []
        toll = self.tolls["batch"]
        for line in lines:
            if dice.random() < 0.02:
                said = json.loads(line)["response"]["body"]["choices"]
                if said:
                    content = said[0]["message"]["content"].partition("“")[2].rpartition("”")[0]
                    if not content:  # empty, or in English: which request it was cannot be seen
                        kept.append(line)
                        continue
                    toll.whole[content] -= 1
                    toll.lost[content] += 1
                if dice.random() < 0.5:
                    kept.append(line[: len(line) // 2])
                continue
            kept += [line, line] if dice.random() < 0.05 else [line]
        dice.shuffle(kept)
        return kept

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({
            client: {
                "posts": toll.posts, "whole": toll.whole, "lost": toll.lost, "met": toll.met,
                "most_under_way": toll.most_under_way,
            }
            for client, toll in self.tolls.items()
        })  # fmt: skip


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, whole: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(whole)), "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def serve(seed: int) -> None:
    """Serve until standard input ends; the port is the first line of standard output."""
    runner = web.AppRunner(Storm(seed).app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    asyncio.run(serve(parser.parse_args().seed))
