"""Run the storm; see the package. Exit status 1 where it shows a fault of ours."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from trials.storm import __doc__ as about
from trials.storm.report import render
from trials.storm.trial import naive, ours, storm


def main() -> int:
    """Run the trial; returns 1 when our client shows a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m trials.storm", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer-calls", type=int, help="the naive client's, which takes minutes (default: as many)")
    parser.add_argument("--in-flight", type=int, default=512)
    parser.add_argument("--out", type=Path, help="write the report here")
    args = parser.parse_args()
    with storm(args.seed) as url, tempfile.TemporaryDirectory(prefix="belle-storm-") as work:
        chat = ours(url, args.calls, Path(work) / "chat", in_flight=args.in_flight)
        batch = ours(url, max(1, args.calls // 10), Path(work) / "batch", mode="batch")
        peer = naive(url, args.calls if args.peer_calls is None else args.peer_calls, args.in_flight)
    text = render(chat, batch, peer, args.seed)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if chat.faults() or batch.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
