"""Run the trial; see the package. Exit status 1 where a fault was missed or not healed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from belle.files import atomic_file
from trials.corruption import __doc__ as about
from trials.corruption.trial import trial


def report(results: list[dict[str, object]], seed: int, seconds: float) -> str:
    """The document: a table by place and kind, and the totals."""
    rows: dict[tuple[object, object], list[dict[str, object]]] = {}
    for result in results:
        rows.setdefault((result["place"], result["kind"]), []).append(result)

    def count(some: list[dict[str, object]], what: str) -> int:
        return sum(bool(result[what]) for result in some)

    lines = [
        "# Faults planted in the cache and in remotes",
        "",
        f"`python -m trials.corruption --faults {len(results)} --seed {seed}`: "
        f"{count(results, 'found')} of {len(results)} "
        f"found and named by `belle cache`, {count(results, 'healed')} healed by `--heal`, in {seconds:.0f} s. "
        "ssh is a real sshd; S3's protocol is moto's server. Each fault was planted alone.",
        "",
        "| place | damage | planted | found | healed |",
        "|---|---|--:|--:|--:|",
        *(
            f"| {place} | {kind} | {len(some)} | {count(some, 'found')} | {count(some, 'healed')} |"
            for (place, kind), some in sorted(rows.items(), key=str)
        ),
        f"| all | | {len(results)} | {count(results, 'found')} | {count(results, 'healed')} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the trial; 1 where a fault was missed or not healed."""
    parser = argparse.ArgumentParser(
        prog="python -m trials.corruption", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    begin = time.monotonic()
    results = trial(args.faults, args.seed, args.seconds)
    text = report(results, args.seed, time.monotonic() - begin)
    print(text)
    if args.out and results:
        with atomic_file(args.out) as file:
            file.write(text)
    return 0 if results and all(result["found"] and result["healed"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
