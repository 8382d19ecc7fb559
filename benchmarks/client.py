"""What asking costs: requests a second and CPU a request of ``belle.api.client``, beside openai's client in a loop.

The server is a process of its own that answers every chat completion after 200 ms over real HTTP and is no part of any
figure. Ours are two processes, the one that asks and the one that sends, from their start to their end: CPU is user and
system time of both, start-up, ledger and waiting for the disk included; requests a second are counted on the clock from
``ask`` to its return, the sender's start included. The peer is openai's client as its documentation shows it, one
request after the other, sampled: each of its requests takes the latency, so that more of them would say the same.

    python benchmarks/client.py --out benchmarks/results/client.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import device

LATENCY_S = 0.2
PROMPT = "请把下面这句话改写得更正式一些,不要改变原意:今天第{}号客人来得有点早,大家还没准备好。"
TEXT = "第一位客人提前到达,工作人员尚未完成全部准备事项,敬请谅解。" * 4


class Answering(asyncio.Protocol):
    """HTTP/1.1 as far as this benchmark speaks it: a POST with Content-Length, answered with one fixed completion."""

    BODY = json.dumps({
        "id": "c", "object": "chat.completion", "created": 0, "model": "stub",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 120, "total_tokens": 180},
    }).encode()  # fmt: skip
    REPLY = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)) + BODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self.transport, self.seen = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request after the latency."""
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            head, _, rest = self.seen.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(rest) < length:
                return
            self.seen = rest[length:]
            asyncio.get_running_loop().call_later(LATENCY_S, self.answer)

    def answer(self) -> None:
        """Send the reply if anybody still listens."""
        with suppress(OSError):
            self.transport.write(self.REPLY)  # type: ignore[attr-defined]


async def serve() -> None:
    """Serve until the parent closes standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def ask_ours(url: str, count: int, in_flight: int) -> None:
    """Ask ``count`` requests into a fresh ledger and print the seconds that it took."""
    from belle.api.client import Request, ask
    from belle.api.ledger import Ledger

    requests = [
        Request("stub", [{"role": "user", "content": PROMPT.format(number)}], {"temperature": 1.0, "max_tokens": 512})
        for number in range(count)
    ]
    with tempfile.TemporaryDirectory(prefix="belle-client-") as folder, Ledger(Path(folder)) as ledger:
        begin = time.perf_counter()
        replies = ask(
            requests, ledger=ledger, base_url=url, endpoint="bench", api_key="none", in_flight=in_flight, timeout_s=60
        )
        seconds = time.perf_counter() - begin
        if [reply.text for reply in replies] != [TEXT] * count:
            raise SystemExit("not every reply came")
    print(seconds)


def ask_openai(url: str, count: int) -> None:
    """Ask by openai's client, one after the other, and print the seconds that it took after its start."""
    import openai

    client = openai.OpenAI(api_key="none", base_url=url)
    begin = time.perf_counter()
    for number in range(count):
        completion = client.chat.completions.create(
            model="stub", messages=[{"role": "user", "content": PROMPT.format(number)}], temperature=1.0, max_tokens=512
        )
        if completion.choices[0].message.content != TEXT:
            raise SystemExit("a wrong reply")
    print(time.perf_counter() - begin)


def timed(*words: str) -> tuple[float, float]:
    """Seconds that a child says it took, and its CPU seconds with those of its own children."""
    process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return float(said), usage.ru_utime + usage.ru_stime


def row(name: str, ours: list[float], peer: list[float], unit: str, **more: Any) -> dict[str, Any]:
    """One row: medians, their ratio, n and the spread; ``peer`` may be empty."""
    found: dict[str, Any] = {"name": name, "ours": round(statistics.median(ours), 3), "unit": unit}
    spread = {"ours": [round(min(ours), 3), round(max(ours), 3)]}
    if peer:
        found |= {
            "peer": round(statistics.median(peer), 3),
            "ratio": round(statistics.median(ours) / statistics.median(peer), 1),
        }
        spread["peer"] = [round(min(peer), 3), round(max(peer), 3)]
    when = datetime.now(UTC).date().isoformat()
    return {**found, "n": len(ours), "spread": spread, "device": device(), "date": when, **more}


def main() -> None:
    """Serve, ask in turns, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="of ours, each time (default: %(default)s)")
    parser.add_argument("--sampled", type=int, default=40, help="of the peer's, each time (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        part, *words = args.part
        if part == "serve":
            asyncio.run(serve())
        elif part == "ours":
            ask_ours(words[0], int(words[1]), int(words[2]))
        else:
            ask_openai(words[0], int(words[1]))
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--part", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    speeds, cpus, peers, load = [], [], [], round(os.getloadavg()[0], 2)
    try:
        for _ in range(args.repeats):
            seconds, cpu = timed("--part", "ours", url, str(args.requests), str(args.in_flight))
            speeds.append(args.requests / seconds)
            cpus.append(cpu / args.requests * 1000)
            if args.sampled:
                peers.append(args.sampled / timed("--part", "openai", url, str(args.sampled))[0])
    finally:
        server.stdin.close()
        server.wait()
    more = {"in_flight": args.in_flight, "requests": args.requests, "latency_s": LATENCY_S, "load": load}
    found = [
        row("client_vs_sync_loop", speeds, peers, "requests/s", **more),
        row("client_cpu", cpus, [], "ms CPU/request", **more),
    ]
    for item in found:
        print(json.dumps(item))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
