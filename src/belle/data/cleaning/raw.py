"""A raw file's rows as they were seen: looked at anew, or known from the last time."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_digest

from belle import jsonl
from belle.data.cleaning.crew import Span, View, blocks_of, look
from belle.data.cleaning.looked import Looked, RowFault
from belle.data.cleaning.looking import Looker, Looking
from belle.data.cleaning.same import Index, Keys, first_seen, keys_of, matched
from belle.data.cleaning.seen import Ints, Seen, empty, gathered, taken
from belle.errors import InputError
from belle.files import open_input

WORTH = 0.25
"""The share of unknown rows from which on looking at everything anew is quicker."""
_SEGMENT = 32 << 20
_TOGETHER = 2048
"""Rows from anywhere that are looked at together."""
_END = b"\n"
_WHITE = np.frombuffer(b" \t\r\x0b\x0c", np.uint8)


@contextmanager
def mapped(path: Path) -> Iterator[View]:
    """A file's bytes, read as they are asked for."""
    with open_input(path, "raw rows") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield view


def rows_of(path: Path, view: View, looking: Looking, known: Seen | None, workers: int) -> Seen:
    """See every row of a file; rows that are known are not looked at again.

    Raises:
        InputError: a line that is no row, or an id that comes twice; the message names the place.
    """
    seen = None
    if known is not None and len(known):
        starts, sizes, keys = lines_of(view)
        at = matched(keys, known.keys)
        new = np.flatnonzero(at < 0)
        if len(new) <= WORTH * len(at):
            fresh = _looked_at_some(path, view, looking, starts, sizes, new)
            at[new] = len(known) + np.arange(len(new))
            seen = taken(known, fresh, at)
            seen.starts, seen.sizes = starts, sizes
    if seen is None:
        seen = _looked_at(path, view, looking, list(blocks_of(view, 0, len(view), path)), workers)
    _check_ids(path, view, seen)
    return seen


def lines_of(view: View) -> tuple[Index, Ints, Keys]:
    """Where each line that is not blank begins, its bytes without outer white space, and the hash of these."""
    ends: list[Index] = [np.empty(0, np.int64)]
    for start in range(0, len(view), _SEGMENT):
        part = np.frombuffer(view, np.uint8, min(_SEGMENT, len(view) - start), start)
        ends.append(np.flatnonzero(part == 10) + start)
        del part
    stops = np.concatenate(ends)
    if len(view) and (not len(stops) or stops[-1] != len(view) - 1):
        stops = np.append(stops, len(view))
    starts = np.concatenate([[0], stops[:-1] + 1]).astype(np.int64) if len(stops) else stops
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    if len(starts):
        whole = np.frombuffer(view, np.uint8)
        outer = np.isin(whole[starts], _WHITE) | np.isin(whole[stops - 1], _WHITE)
        del whole
        for row in np.flatnonzero(outer).tolist():
            line = view[int(starts[row]) : int(stops[row])]
            stripped = line.strip()
            starts[row] += line.index(stripped) if stripped else 0
            stops[row] = starts[row] + len(stripped)
        filled = stops > starts
        starts, stops = starts[filled], stops[filled]
    with memoryview(view) as bytes_:
        digests = b"".join([xxh3_128_digest(bytes_[a:b]) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)])
    return starts, (stops - starts).astype(np.int32), keys_of(digests)


def _looked_at(path: Path, view: View, looking: Looking, spans: list[Span], workers: int) -> Seen:
    def blocks() -> Iterator[tuple[int, Looked, npt.NDArray[np.uint32]]]:
        number = 0
        try:
            for number, seen in enumerate(look(path, looking, spans, workers), 1):
                yield spans[number - 1][0], seen, _signatures(looking, seen)
        except RowFault as fault:
            raise placed(path, view, spans[number][0], fault) from None

    return gathered(blocks())


def _looked_at_some(path: Path, view: View, looking: Looking, starts: Index, sizes: Ints, rows: Index) -> Seen:
    """See a few rows, which may stand anywhere in the file. Where they stand is left to the caller."""

    def blocks() -> Iterator[tuple[int, Looked, npt.NDArray[np.uint32]]]:
        for first in range(0, len(rows), _TOGETHER):
            part = rows[first : first + _TOGETHER].tolist()
            block = _END.join([view[int(starts[row]) : int(starts[row]) + int(sizes[row])] for row in part])
            try:
                seen = looker.look(block)
            except RowFault as fault:
                row = part[fault.number - 1]
                line = view[: int(starts[row])].count(_END) + 1
                where = f"{path}:{line}" if fault.of == "line" else f"{path}, row {row + 1}"
                raise InputError(fault.what, where=where, cause=fault.cause, fix=fault.fix) from None
            yield 0, seen, _signatures(looking, seen)

    if not len(rows):
        return empty()
    looker = Looker(looking)
    return gathered(blocks())


def _signatures(looking: Looking, seen: Looked) -> npt.NDArray[np.uint32]:
    if looking.near_duplicate_threshold > 1:
        return np.zeros((0, 0), np.uint32)
    from belle.data.minhash.signing import signatures
    from belle.data.minhash.similarity import Similarity

    texts, at = [], 0
    for length in seen.text_lengths:
        texts.append(seen.texts[at : at + length].decode())
        at += length
    return signatures(texts, Similarity(looking.near_duplicate_threshold))


def placed(path: Path, view: View, start: int, fault: RowFault) -> InputError:
    """The fault of a row in the block that begins at ``start``, with its place in the file."""
    before = view[:start]
    if fault.of == "line":
        where = f"{path}:{before.count(_END) + fault.number}"
    else:
        where = f"{path}, row {sum(1 for line in before.split(_END) if line.strip()) + fault.number}"
    return InputError(fault.what, where=where, cause=fault.cause, fix=fault.fix)


def _check_ids(path: Path, view: View, seen: Seen) -> None:
    first = first_seen(seen.ids)
    twice = np.flatnonzero(first != np.arange(len(first)))
    if not len(twice):
        return
    row = int(twice[0])
    line = view[int(seen.starts[row]) : int(seen.starts[row] + seen.sizes[row])]
    raise InputError(
        f"the id {jsonl.parse(line, '')['id']!r} comes twice",
        where=f"{path}, row {row + 1}",
        cause=f"two raw files put together, or one put in twice; it was first in row {int(first[row]) + 1}",
        fix="give every row its own id",
    )
