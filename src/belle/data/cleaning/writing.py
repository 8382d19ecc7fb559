"""What cleaning leaves: the rows that stay, the rows that go with their reasons, and the report of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from belle import jsonl
from belle.data.cleaning.chain import SAMPLED
from belle.data.cleaning.keepfirst import Mask
from belle.data.cleaning.looking import CONTAMINATED
from belle.data.cleaning.raw import View
from belle.data.cleaning.same import Index
from belle.data.cleaning.seen import Seen
from belle.data.contamination.tally import Tally
from belle.data.filters.columns import NAMES
from belle.files import atomic_file

_CHARS = 300
"""Characters of a text in a sample."""
_JOIN = 4096
"""Rejects that are written together."""
_SLABS = 64
"""The most rows of a slab, and the slabs that are written together."""

EDGES = (0, 1, *(edge for power in range(1, 40) for edge in (2**power, 3 * 2 ** (power - 1))))
"""Where the bins of a histogram of lengths begin, in characters; equal in every set, so that sets can be compared."""


def write_rows(path: Path, view: View, seen: Seen, keep: Mask) -> int:
    """Write the rows to keep as they stand in the raw file, and return how many there are."""
    rows = np.flatnonzero(keep)
    with atomic_file(path, "wb") as file:
        for slabs in _slabs(view, seen, rows):
            file.write(b"".join(slabs))
    return len(rows)


def write_rejects(
    path: Path, view: View, seen: Seen, reasons: npt.NDArray[np.uint8], names: list[str], said: dict[int, bytes]
) -> None:
    """Write every dropped row with ``reason`` as its first key, and then what else is ``said`` of it."""
    heads = [b'{"reason": "%s", ' % name.encode() for name in ["", *names]]
    whole = np.flatnonzero(reasons)
    with atomic_file(path, "wb") as file:
        for rows in (whole[first : first + _JOIN] for first in range(0, len(whole), _JOIN)):
            pieces = [b""] * (2 * len(rows))
            pieces[0::2] = [heads[reason] for reason in reasons[rows].tolist()]
            if said:
                pieces[0::2] = [
                    head + said.get(row, b"") for head, row in zip(pieces[0::2], rows.tolist(), strict=True)
                ]
            pieces[1::2] = _lines(view, seen.starts[rows] + 1, seen.starts[rows] + seen.sizes[rows])
            file.write(b"".join(pieces))


def _slabs(view: View, seen: Seen, rows: Index) -> Iterator[list[bytes]]:
    """The rows' lines; those that stand one behind the other in the file in one piece; many pieces together."""
    if not len(rows):
        return
    starts, ends = seen.starts[rows], seen.starts[rows] + seen.sizes[rows]
    apart = starts[1:] != ends[:-1] + 1
    if seen.mended:
        changed = np.isin(rows, list(seen.mended))
        apart |= changed[1:] | changed[:-1]
    apart[_SLABS - 1 :: _SLABS] = True  # however many rows are kept, few are in memory
    breaks = np.flatnonzero(apart) + 1
    firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks - 1, [len(rows) - 1]])
    for at in range(0, len(firsts), _SLABS):
        slabs = _lines(view, starts[firsts[at : at + _SLABS]], ends[lasts[at : at + _SLABS]])
        if seen.mended:
            for place, row in enumerate(rows[firsts[at : at + _SLABS]].tolist()):
                if row in seen.mended:
                    slabs[place] = seen.mended[row] + b"\n"
        yield slabs


def _lines(view: View, starts: Index, ends: Index) -> list[bytes]:
    """Some ranges of the file, each with the line's end that follows it, or one of its own."""
    stops = ends.tolist()
    lines = [view[start : stop + 1] for start, stop in zip(starts.tolist(), stops, strict=True)]
    return [
        line if line.endswith(b"\n") else view[start:stop] + b"\n"
        for line, start, stop in zip(lines, starts.tolist(), stops, strict=True)
    ]


def report(
    view: View, seen: Seen, reasons: npt.NDArray[np.uint8], rivals: Index, names: list[str], evals: list[str]
) -> dict[str, Any]:
    """What became of every row: counts by reason, lengths and classes before and after, and some of the rejects."""
    keep = reasons == 0
    counts = np.bincount(reasons, minlength=len(names) + 1)
    samples = {}
    for number, name in enumerate(names, 1):
        rows = np.flatnonzero(reasons == number)[:SAMPLED].tolist() if counts[number] else list[int]()
        samples[name] = [_sample(view, seen, row, int(rivals[row])) for row in rows]
    return {
        "rows_in": len(seen),
        "rows_out": int(keep.sum()),
        "reasons": {name: int(count) for name, count in zip(names, counts[1:].tolist(), strict=True)},
        "samples": samples,
        "chars": {
            when: {field: lengths_of(seen.chars[which, at]) for at, field in enumerate(NAMES)}
            for when, which in (("before", slice(None)), ("after", keep))
        },
        **({"contamination": _contamination(view, seen, names, evals)} if evals else {}),
        "classes": {"before": _classes(seen, seen.kinds), "after": _classes(seen, seen.kinds[keep])},
    }


def _sample(view: View, seen: Seen, row: int, rival: int) -> dict[str, Any]:
    start = int(seen.starts[row])
    found = _texts(view[start : start + int(seen.sizes[row])])
    if rival >= 0:
        begin = int(seen.starts[rival])
        found["rival"] = _texts(view[begin : begin + int(seen.sizes[rival])])["id"]
    return found


def _texts(line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = jsonl.parse(line, "")  # half of a surrogate pair, which no report can hold
        row = {key: _whole(value) if isinstance(value, str) else value for key, value in row.items()}
    if "conversations" in row:
        turns = row["conversations"]
        row["instruction"], row["output"] = turns[0]["value"], turns[-1]["value"]
    return {"id": row["id"], **{name: str(row.get(name, ""))[:_CHARS] for name in NAMES}}


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def lengths_of(values: npt.NDArray[np.uint32]) -> dict[str, Any]:
    """Give ``min, mean, median`` (the lower one), ``p95, max`` and a ``histogram`` whose bins end with the longest.

    Bin i has the texts of ``edges[i]`` to under ``edges[i + 1]`` characters. Without texts all are 0, without a bin.
    """
    if not len(values):
        return {"min": 0, "mean": 0.0, "median": 0, "p95": 0, "max": 0, "histogram": {"edges": [0], "counts": []}}
    counts = np.bincount(np.searchsorted(EDGES, values, side="right") - 1).tolist()
    histogram = {"edges": list(EDGES[: len(counts) + 1]), "counts": counts}
    places = [(len(values) - 1) // 2, (95 * len(values) + 99) // 100 - 1]
    median, p95 = np.partition(values, places)[places].tolist()
    return {
        "min": int(values.min()),
        "mean": round(float(values.sum(dtype=np.int64)) / len(values), 2),
        "median": median,
        "p95": p95,
        "max": int(values.max()),
        "histogram": histogram,
    }


def _contamination(view: View, seen: Seen, names: list[str], evals: list[str]) -> dict[str, Any]:
    """What the rows that pass the filters have in common with the evaluation sets."""
    tally = Tally()
    for row, overlap in seen.overlaps.items():
        start = int(seen.starts[row])
        tally.add(_texts(view[start : start + int(seen.sizes[row])])["id"], overlap)
    filtered = (seen.reasons > 0) & (seen.reasons != 1 + names.index(CONTAMINATED))
    return {"checked": evals, **tally.as_json(), "rows": len(seen) - int(filtered.sum())}


def _classes(seen: Seen, kinds: npt.NDArray[np.uint16]) -> dict[str, int]:
    counts = np.bincount(kinds, minlength=len(seen.kind_names)).tolist()
    return {name: count for name, count in sorted(zip(seen.kind_names, counts, strict=True)) if name and count}
