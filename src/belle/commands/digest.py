"""Say what a model's weights are by one digest over its tensors, or where two models' weights first differ.

Names, types, shapes and values count; files do not: a .pth, a .bin and safetensors of the same weights, in one file or
in many, have one digest. With two paths the exit status is 1 where they differ.
"""

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("path", type=Path, metavar="FOLDER|FILE")
    parser.add_argument("other", type=Path, nargs="?", metavar="OTHER", help="compare with the weights there")
    parser.add_argument("--tensors", action="store_true", help="list every tensor with its own digest")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the digest, or the comparison.

    Raises:
        InputError: no weights there, or damaged ones.
        BelleError: the two differ; the first tensor that does is named.
    """
    from belle.errors import BelleError
    from belle.weights.digest import digest_of, first_difference, largest_distance

    found = digest_of(args.path)
    other = digest_of(args.other) if args.other else None
    differs = first_difference(found, other) if other else None
    if args.json:
        value: dict[str, Any] = {"sha256": found.sha256, "tensors": len(found.tensors), "bytes": found.bytes}
        if args.tensors:
            value["each"] = {item.name: [str(item.spec), item.sha256] for item in found.tensors}
        if other:
            value["other_sha256"] = other.sha256
            value["first_difference"] = list(differs) if differs else None
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        for item in found.tensors if args.tensors else ():
            print(item)
        print(f"{found.sha256}  {args.path}  ({len(found.tensors)} tensors, {found.bytes:,} bytes)")
        if other:
            print(f"{other.sha256}  {args.other}  ({len(other.tensors)} tensors, {other.bytes:,} bytes)")
    if differs:
        name, here, there = differs
        apart = ""
        if here.rpartition(" ")[0] == there.rpartition(" ")[0] and "]" in here.rpartition(" ")[0]:
            apart = f"; their values are up to {largest_distance(args.path, args.other, name):.3g} apart"
        raise BelleError(
            f"first tensor that differs: {name}: {here}, there {there}{apart}",
            where=f"{args.path} and {args.other}",
            cause="other weights, another precision, or a tensor that one side left out",
            fix="`belle digest --tensors` lists each side's tensors",
        )
