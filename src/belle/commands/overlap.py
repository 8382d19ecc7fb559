"""Say how much two data sets overlap: rows that are the same, that read the same, and that lie in each other.

A and B are JSON Lines of any shape that sets have: instruction (input, output), conversations, question or text. A row
is counted once: as exact (the same text), normalised (the same but for width, case, traditional or simplified
characters, punctuation and white space), or near (one row of the other set has most of its character n-grams).
"""

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("a", type=Path, metavar="A.jsonl")
    parser.add_argument("b", type=Path, metavar="B.jsonl")
    parser.add_argument(
        "--part", choices=("question", "row"), default="question",
        help="compare what is asked, or all that a row says (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--gram", type=int, default=5, help="characters of an n-gram (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.8, help="of the n-grams, for near (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the counts both ways, with examples.

    Raises:
        InputError: a file that is missing or broken, or a setting out of range.
    """
    from belle.data.contamination.sets import overlap

    found = overlap(args.a, args.b, part=args.part, gram=args.gram, share=args.share)
    if args.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    for way, here, there in (("a_in_b", args.a, args.b), ("b_in_a", args.b, args.a)):
        print("\n".join(_text(found[way], here, there, found)))
    if found["every"] > 1:
        print(f"near: one n-gram in {found['every']} was looked at, for the sets are large")


def _text(way: dict[str, Any], here: Path, there: Path, found: dict[str, Any]) -> list[str]:
    lines = [
        f"{way['overlapping']} of {way['rows']} rows of {here} ({100 * way['share']:.2f} %) are in {there}: "
        f"{way['exact']} exact, {way['normalised']} normalised, {way['near']} near "
        f"(at least {found['share']:g} of their {found['gram']}-grams)"
    ]
    for kind, examples in way["examples"].items():
        for item in examples:
            said = [" ".join(item[name].split()) for name in ("text", "other_text")]
            lines.append(f"  {kind:<10}  {item['share']:.2f}  row {item['row']}: {said[0]}")
            if kind != "exact":
                lines.append(f"  {'':<10}        row {item['other_row']}: {said[1]}")
    return lines
