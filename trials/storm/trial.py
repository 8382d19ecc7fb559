"""One storm: our client and a naive one through it, and the server's counts held against the ledger."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from belle.api.client import Client, Refusal, Reply, Request
from belle.api.ledger import Ledger
from belle.errors import BelleError

TIMEOUT_S = 2.0
RUNS = 20
"""So often the same is asked again after an error, at most."""
NAIVE_ROUNDS, NAIVE_PAUSE_S = 5, 2.0


@dataclass
class Outcome:
    """How one client came through: endings by name, the server's counts, and seconds on the clock."""

    calls: int
    ended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    sent: int = 0
    met: Mapping[str, int] = field(default_factory=dict)
    most_under_way: int = 0
    paid_twice: int = 0
    lost: int = 0
    reported: int = 0
    unreported: int = 0

    @property
    def unended(self) -> int:
        """Requests without a reply, a reason or a name for their failure."""
        return self.calls - sum(count for name, count in self.ended.items() if name != "unended")

    def faults(self) -> list[str]:
        """What it shows to be wrong."""
        found = {
            f"{self.unended} requests did not end": self.unended,
            f"{self.paid_twice} were answered whole more than once": self.paid_twice,
            f"{self.unreported} lost answers are not reported as possibly paid": self.unreported,
        }
        return [text for text, count in found.items() if count]


@contextmanager
def storm(seed: int) -> Iterator[str]:
    """A storm server in a process of its own; yields its URL."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "trials.storm.server", "--seed", str(seed)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def requests(calls: int, kind: str) -> list[Request]:
    """So many different requests."""
    return [
        Request("storm", [{"role": "user", "content": f"{kind}第{number}题:请回答。"}], {"max_tokens": 64})
        for number in range(calls)
    ]


def ours(url: str, calls: int, folder: Path, *, mode: Any = "chat", in_flight: int = 512) -> Outcome:
    """Ask everything through ``belle.api.client``, again after an error, and hold the ledger against the server."""
    done, begin = Outcome(calls), time.monotonic()
    key = "belle" if mode == "chat" else "batch"
    asked, last = requests(calls, key), list[Reply | Refusal]()
    with Ledger(folder) as ledger:
        for _ in range(RUNS):
            try:
                with Client(
                    ledger=ledger, base_url=f"{url}/v1", endpoint=f"{url}/v1", api_key=key, in_flight=in_flight,
                    timeout_s=TIMEOUT_S, first_pause_s=0.1, mode=mode, poll_s=0.1,
                ) as client:  # fmt: skip
                    last = client.ask(asked, describe="storm", refusals=True)
                break
            except BelleError as error:
                done.failures.append(error.what)
        done.seconds = time.monotonic() - begin
        for end in last:
            done.ended[end.reason if isinstance(end, Refusal) else "row" if _chinese(end.text) else "language"] += 1
        reported = _reported(ledger)
    stats = _stats(url)[key]
    _count(done, stats)
    lost = Counter(stats["lost"])
    done.lost, done.reported = lost.total(), sum(reported.values())
    done.unreported = sum(max(0, count - reported[content]) for content, count in lost.items())
    return done


def naive(url: str, calls: int, in_flight: int = 512) -> Outcome:
    """Ask everything by openai's client with its defaults, again on any error."""
    import openai

    done, begin = Outcome(calls), time.monotonic()

    async def run() -> None:
        slots = asyncio.Semaphore(in_flight)
        async with openai.AsyncOpenAI(api_key="naive", base_url=f"{url}/v1") as client:

            async def one(request: Request) -> None:
                async with slots:
                    for turn in range(NAIVE_ROUNDS):
                        try:
                            reply = await client.chat.completions.create(
                                model=request.model,
                                messages=list(request.messages),
                                max_tokens=64,  # type: ignore[misc]
                            )
                            text = reply.choices[0].message.content or ""
                        except Exception:
                            if turn < NAIVE_ROUNDS - 1:
                                await asyncio.sleep(NAIVE_PAUSE_S)
                        else:
                            done.ended["row" if _chinese(text) else "reply without use"] += 1
                            return
                    done.ended["unended"] += 1

            await asyncio.gather(*map(one, requests(calls, "belle")))

    asyncio.run(run())
    done.seconds = time.monotonic() - begin
    stats = _stats(url)["naive"]
    _count(done, stats)
    done.lost = sum(stats["lost"].values())
    return done


def _count(done: Outcome, stats: Mapping[str, Any]) -> None:
    done.sent, done.met = sum(stats["posts"].values()), stats["met"]
    done.most_under_way = stats["most_under_way"]
    done.paid_twice = sum(count > 1 for count in stats["whole"].values())


def _reported(ledger: Ledger) -> Mapping[str, int]:
    """Attempts that the ledger says may have been paid without a reply, by the request's text."""
    lost, texts = defaultdict[str, int](int), dict[str, str]()
    for line in ledger.lines():
        lost[line["digest"]] += line.get("lost", 0)
        if "request" in line:
            texts[line["digest"]] = line["request"]["messages"][-1]["content"]
    found = defaultdict[str, int](int)
    found.update({texts[digest]: count for digest, count in lost.items() if digest in texts})
    return found


def _stats(url: str) -> dict[str, Any]:
    with urlopen(f"{url}/stats") as reply:  # noqa: S310
        return json.load(reply)


def _chinese(text: str) -> bool:
    return any("一" <= character <= "鿿" for character in text)
