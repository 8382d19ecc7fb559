"""Tell which rows are new: ROUGE-L below a threshold against a pool and all kept before. For JSON Lines of anybody's.

Every row of the three files has an ``instruction``, or is a line for one: OUT has a line for each candidate, in order,
with ``keep``, ``max_rouge_l`` and ``most_similar``. Exact, as a comparison with each row would be.
"""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("pool", type=Path, metavar="POOL.jsonl")
    parser.add_argument("candidates", type=Path, metavar="CANDIDATES.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    parser.add_argument("--threshold", type=float, default=0.7, help="ROUGE-L F1, over 0 (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Write OUT and say how many were kept."""
    from belle.data.rouge.report import novelty

    counts = novelty(pool=args.pool, candidates=args.candidates, out=args.out, threshold=args.threshold)
    print(f"{counts['kept']} of {counts['candidates']} are new", file=sys.stderr)
