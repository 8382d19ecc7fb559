"""Build twice from nothing and say what came out equal; fails when less is equal than was published.

The two builds stand in folders of different names and depths, start at different times and use different numbers of
cores. An output is equal in bytes, equal in tensors (its files differ, the numbers in them do not), alike only in
statistics, or different. The result stands in docs/rebuild.md and docs/rebuild.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from belle.errors import BelleError, InputError

PUBLISHED = Path("docs/rebuild.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--first", type=Path, help="a folder that was built from nothing, instead of the first build")
    parser.add_argument("--cores", type=int, nargs=2, default=(os.cpu_count() or 1, 1), metavar="N",
                        help="of the first and the second build (default: all, 1)")  # fmt: skip
    parser.add_argument("--publish", action="store_true", help=f"write {PUBLISHED} and the page beside it")
    parser.add_argument("--keep", type=Path, help="build in this folder and leave it there")


def run(args: argparse.Namespace) -> None:
    """Build, compare, print the classes.

    Raises:
        BelleError: a build failed, or an output is less alike than published.
    """
    from belle.build import twice

    if args.first and not (args.first / "dvc.yaml").exists():
        raise InputError("no checkout: it has no dvc.yaml", where=str(args.first))
    with tempfile.TemporaryDirectory(prefix="belle-rebuild-") as temporary:
        scratch = args.keep or Path(temporary)
        first, second = args.first or scratch / "one", scratch / "a-longer-name" / "two"
        for folder, cores in ((first, args.cores[0]), (second, args.cores[1])):
            if folder != args.first:
                folder.mkdir(parents=True)
                twice.checkout_of(Path(), folder)
                twice.build(folder, cores)
        found = twice.compare(first.absolute(), second.absolute(), alike)
    rows = [item.row() for item in found]
    text = page(rows, "the checkout's own build" if args.first else f"{args.cores[0]} cores", args.cores[1])
    print(text)
    before = json.loads(PUBLISHED.read_text(encoding="utf-8")) if PUBLISHED.exists() else []
    faults = twice.worse(found, before)
    if args.publish:
        from belle.files import atomic_file

        for path, content in ((PUBLISHED, json.dumps(rows, indent=1) + "\n"), (PUBLISHED.with_suffix(".md"), text)):
            with atomic_file(path) as file:
                file.write(content)
    elif faults:
        raise BelleError("less equal than published:\n  " + "\n  ".join(faults), where=str(PUBLISHED),
                         cause="a package, a machine or the code brought chance into a stage",
                         fix="find it; or, where it must be so, `belle rebuild-check --publish`")  # fmt: skip


def alike(first: Path, second: Path) -> tuple[str, str]:
    """The class of two files that differ in bytes, and what differs."""
    if first.suffix == ".safetensors":
        import torch
        from safetensors.torch import load_file

        ours, theirs = load_file(first), load_file(second)
        if {k: (v.shape, v.dtype) for k, v in ours.items()} != {k: (v.shape, v.dtype) for k, v in theirs.items()}:
            return "different", "other tensors"
        if all(torch.equal(ours[name], theirs[name]) for name in ours):
            return "tensors", "only the file's header differs"
        furthest = max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)
        return "statistics", f"largest difference {furthest:.2g}"
    ours_text, theirs_text = first.read_bytes().splitlines(), second.read_bytes().splitlines()
    if len(ours_text) == len(theirs_text):
        return "statistics", f"{sum(a != b for a, b in zip(ours_text, theirs_text, strict=True))} lines differ"
    return "different", f"{len(ours_text)} and {len(theirs_text)} lines"


def page(rows: list[dict[str, Any]], first: str, cores: int) -> str:
    """The classes as Markdown."""
    counts = ", ".join(
        f"{sum(row['alike'] == name for row in rows)} {text}"
        for name, text in (("bytes", "equal in bytes"), ("tensors", "equal in tensors"),
                           ("statistics", "alike only in statistics"), ("different", "different"))
    )  # fmt: skip
    lines = [
        "# Two builds from nothing", "",
        "Written by `belle rebuild-check --publish`; do not edit. Two builds of the default targets in folders of",
        f"other names, at different times, with different numbers of cores ({first}; {cores}): {counts}.", "",
        "| output | files | class | what differs |", "|---|--:|---|---|",
        *(f"| {row['output']} | {row['files']} | {row['alike']} | {row['note']} |" for row in rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
