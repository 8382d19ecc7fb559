"""Stage ``mix``: several raw data sets put end to end as one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle import jsonl
from belle.errors import InputError, shown
from belle.files import atomic_file, open_input, read_text, require_file

SET = "set"
"""The key that says which set a row is from."""
_LONGEST_REPORT = 64 << 20


def mix(*, out: Path, report: Path, raws: Sequence[Path], reports: Sequence[Path], names: Sequence[str]) -> None:
    """Write the rows of ``raws`` in their order, each as it stands and with ``set``, the name of its set.

    Args:
        out: JSON Lines.
        report: JSON: ``rows``, and ``sets`` in their order, each with its number of ``rows``, its ``licence``
            (``unknown`` where its report has none) and its own ``report``.
        raws, reports, names: Of each set the raw rows, what their stage reported, and the name.

    Raises:
        InputError: a row is none, has no id, says itself which ``set`` it is from, or has the id of another.
    """
    if not len(raws) == len(reports) == len(names):
        raise InputError(
            f"{len(raws)} files of rows, {len(reports)} reports and {len(names)} names", where="command line"
        )
    cards = [_card(path) for path in reports]
    for path in raws:
        require_file(path, "raw rows")
    origins: dict[str, int] = {}
    counts = []
    total = sum(path.stat().st_size for path in raws)
    bar = tqdm(total=total, desc="mix", unit="B", unit_scale=True, unit_divisor=1024, mininterval=1, delay=1)
    with atomic_file(out, "wb") as file, bar:
        for place, (path, name) in enumerate(zip(raws, names, strict=True)):
            before = len(origins)
            tail = f', "{SET}": {json.dumps(name)}}}\n'.encode()
            with open_input(path, "raw rows") as lines:
                for number, line in jsonl.lines(lines, str(path)):
                    where = f"{path}:{number}"
                    stripped = line.strip()
                    _enter(jsonl.parse(stripped, where), where, origins, place, names)
                    file.write(stripped[:-1].rstrip() + tail)
                    bar.update(len(line))
            counts.append(len(origins) - before)
    summary = {
        "rows": len(origins),
        "sets": {
            name: {"rows": count, "licence": card.get("licence", "unknown"), "report": card}
            for name, count, card in zip(names, counts, cards, strict=True)
        },
    }
    with atomic_file(report) as text:
        text.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def _enter(row: jsonl.Row, where: str, origins: dict[str, int], place: int, names: Sequence[str]) -> None:
    name = row.get("id")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"`id` must be text that is not empty, found {'nothing' if name is None else shown(name)}",
            where=where,
            cause="rows that no stage of this project made",
            fix="import the file as a data set of kind `local`",
        )
    if SET in row:
        raise InputError(
            f"the row says itself that its `{SET}` is {shown(row[SET])}",
            where=where,
            cause="a set that was mixed before",
            fix="name its parts, or give that key another name",
        )
    if name in origins:
        raise InputError(
            f"the id {name!r} comes twice, in {names[place]} and before it in {names[origins[name]]}",
            where=where,
            cause="one set under two names, or rows that were copied from one to the other",
            fix="name each set once, or take the copied rows out",
        )
    origins[name] = place


def _card(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path, "the report of a data set", _LONGEST_REPORT))
    except json.JSONDecodeError as error:
        found, fault = None, str(error)
    else:
        fault = f"a {type(found).__name__}"
    if not isinstance(found, dict):
        raise InputError(
            f"no report of a data set: {fault}", where=str(path), cause="a damaged copy", fix="build it again"
        )
    return found
