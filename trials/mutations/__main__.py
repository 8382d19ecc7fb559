"""Run the matrix; see the package. Exit status 1 when anything was missed, needless or failed."""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from trials.forkserver import Forkserver
from trials.mutations import __doc__ as about
from trials.mutations.matrix import Matrix, Verdict
from trials.mutations.report import table
from trials.worlds import built_miniature


def main(argv: list[str] | None = None) -> int:
    """Run the matrix; the exit status is 1 when anything was missed, needless or failed."""
    parser = argparse.ArgumentParser(prog="python -m trials.mutations", description=(about or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0, help="stop starting after this long (default: run all)")
    parser.add_argument("--seed", type=int, default=0, help="order and choices (default: %(default)s)")
    parser.add_argument("--only", default="", help="only mutations whose kind or name matches this pattern")
    parser.add_argument("--jobs", type=int, default=2, help="mutations at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the table here")
    parser.add_argument(
        "--log",
        type=Path,
        help="a line of JSON for each mutation; those in it already are counted, not tried again: a run can go on",
    )
    args = parser.parse_args(argv)
    with Forkserver() as server, tempfile.TemporaryDirectory(prefix="belle-mutations-") as scratch:
        matrix = Matrix(server, built_miniature(), Path(scratch))
        whole = [m for m in matrix.mutations(args.seed) if re.search(args.only, f"{m.kind}: {m.name}")]
        order = random.Random(args.seed).sample(whole, len(whole)) if args.seconds else whole
        verdicts = _earlier(args.log)
        tried = {(verdict.kind, verdict.name) for verdict in verdicts}
        order = [mutation for mutation in order if (mutation.kind, mutation.name) not in tried]
        started = time.monotonic()  # the world is built: it takes as long as it takes
        with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(order), unit="mutation") as bar:

            def run(number: int) -> None:
                if args.seconds and time.monotonic() - started > args.seconds:
                    return
                verdict = matrix.verdict(order[number], number)
                verdicts.append(verdict)
                bar.update()
                if not verdict.right:
                    said = f"missed {verdict.missed} needless {verdict.needless} {verdict.fault}"
                    tqdm.write(f"{verdict.kind}: {verdict.name}: {said}")
                if args.log:
                    with open(args.log, "a", encoding="utf-8") as log:
                        log.write(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")

            list(pool.map(run, range(len(order))))
    text = table(verdicts, len(whole), sum(verdict.seconds for verdict in verdicts) / args.jobs, args.seed)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text.partition("\n| mutation |")[0])
    return 0 if verdicts and all(verdict.right for verdict in verdicts) else 1


def _earlier(log: Path | None) -> list[Verdict]:
    """The verdicts of runs before this one."""
    lines = log.read_text(encoding="utf-8").splitlines() if log and log.exists() else []
    found = []
    for line in map(json.loads, lines):
        found.append(
            Verdict(**{key: tuple(value) if isinstance(value, list) else value for key, value in line.items()})
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
