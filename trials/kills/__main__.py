"""Run the trial; see the package. Exit status 1 where a kill shows a fault."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trials.kills import __doc__ as about
from trials.kills.kill import Kill, drawn, faults
from trials.kills.report import render
from trials.kills.toll import Gate
from trials.kills.trial import Trial


def main() -> int:
    """Run the trial; returns 1 when a kill shows a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m trials.kills", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sender-kills", type=int, default=10, help="kill -9 of the process that sends, besides")
    parser.add_argument("--whole", type=int, default=10, help="of every hundred, in a world with nothing built")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--seconds", type=float, default=0, help="start no kill after so many; 0 has no limit")
    parser.add_argument("--workers", type=int, default=1, help="worlds at once")
    parser.add_argument("--world", type=Path, help="a built miniature world; without it one is built")
    parser.add_argument("--work", type=Path, help="a folder to keep, from which a run that was cut off goes on")
    parser.add_argument("--out", type=Path, help="write the report here")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background shell, and inherited
    if shutil.which("snakemake") is None:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    work = args.work or Path(tempfile.mkdtemp(prefix="belle-kills-"))
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    try:
        with Gate(_port(work)) as gate:
            (work / "port").write_text(str(gate.port))
            trial = Trial(work, args.world, gate)
            _go(trial, args)
        done = sorted(trial.done(), key=lambda kill: kill.number)
    finally:
        if not args.work:
            shutil.rmtree(work, ignore_errors=True)
    text = render(done, faults, args.kills)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(faults(kill) for kill in done) or not done else 0


def _port(work: Path) -> int:
    """The port that the reference was built with, or any free one: the URL is part of every request's digest."""
    if (work / "port").exists():
        return int((work / "port").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _go(trial: Trial, args: argparse.Namespace) -> None:
    over = time.monotonic() + args.seconds if args.seconds else float("inf")
    known = {kill.number for kill in trial.done()}
    todo = drawn(args.seed, args.kills, args.whole, args.sender_kills, sorted(trial.stages))
    todo.sort(key=lambda kill: kill.number % args.kills)  # a run that is cut off has some of both

    def one(kill: Kill) -> None:
        if time.monotonic() < over and kill.number not in known:
            done = trial.run(kill)
            verdict = "; ".join(faults(done)) or "same bytes"
            print(
                f"{done.number:3} {done.stage:28} {'whole ' if done.whole else ''}{done.process} {done.signal} at "
                f"{done.hit_after_s:.2f} s: {verdict}; gone in {done.gone_after_s} s, again {done.recovered_in_s} s, "
                f"in flight {done.in_flight}, lost {done.lost}, reported {done.reported}",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(one, todo))


if __name__ == "__main__":
    sys.exit(main())
