"""What an edit of a set changes: a few rows to decide among those that are kept.

All are gone through in order, a part at a time: first what is similar is found for each row of the part, by several
threads and an index of the rarest tokens of the few, as in ``deciding``; then the rows are decided one after the other.
What is dropped is not compared in later parts, so rows of one common template cost little.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from belle.data.rouge.loops import (
    Ints,
    Longs,
    alike_rows,
    count_few,
    index_few,
    near_rows,
    only_similar,
    settle_rows,
)  # fmt: skip
from belle.data.rouge.packed import Rows

Mask = npt.NDArray[np.bool_]
FIRST_PART = 64
"""Rows of the first part; each has twice as many as the one before, as long as its room allows it."""
ROOM = 1 << 22
"""Pairs of a row and one of the few that a part has room for."""

_Similar = Callable[[Longs, Ints, Ints], None]
"""Writes what is similar to each row of a part: numbers of the few, and how many."""


def walk(rows: Rows, few: Longs, keep: Mask, threshold: float, threads: int | None = None) -> tuple[Mask, Longs]:
    """Decide a few rows beside rows that are kept so far, in order, as ``deciding.decide`` would.

    Exact. Takes time for each kept row, and little more for each of the few.

    Args:
        few: Indexes of the rows to decide, rising.
        keep: The rows that are kept so far, none of the few among them [N].
        threads: How many work at once; without it, as many as there are cores. No outcome depends on it.

    Returns:
        Which of all these are kept [N], and for each that is not the first kept row before it whose ROUGE-L F1 with it
        reaches the threshold (of a row that was kept so far: any such row of the few), -1 elsewhere [N].
    """
    asked = np.zeros(len(rows), np.bool_)
    asked[few] = True
    now, witness = keep.copy(), np.full(len(rows), -1, np.int64)
    among, lengths = np.flatnonzero(keep | asked), np.diff(rows.starts)
    threads = threads or os.cpu_count() or 1
    left, similar = few, _finder(rows, few, threshold, witness)
    dropped, at, size = 0, 0, FIRST_PART
    room = np.empty(max(ROOM, len(few)), np.int32)
    with ThreadPoolExecutor(threads) as workers:
        while at < len(among):
            if 8 * dropped > len(left):
                left, dropped = left[witness[left] < 0], 0
                similar = _finder(rows, left, threshold, witness)
            size = max(1, min(size, ROOM // max(1, len(left))))
            part = among[at : at + size]
            at, size = at + size, 2 * size
            part = part[np.argsort(lengths[part], kind="stable")]
            near, counts = room[: len(part) * len(left)], np.zeros(len(part), np.int32)
            each = near.reshape(len(part), len(left))
            edges = [len(part) * worker // threads for worker in range(threads + 1)]
            shares = [slice(begin, end) for begin, end in pairwise(edges)]
            list(workers.map(lambda share: similar(part[share], each[share].ravel(), counts[share]), shares))  # noqa: B023
            dropped += settle_rows(part, np.argsort(part), left, asked, near, counts, now, witness)
    return now, witness


def _finder(rows: Rows, few: Longs, threshold: float, witness: Longs) -> _Similar:
    heads = np.zeros(rows.vocabulary + 2, np.int64)
    count_few(rows.flat, rows.starts, few, threshold, rows.longest, heads)
    np.cumsum(heads, out=heads)
    post_few, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    index_few(rows.flat, rows.starts, few, threshold, rows.longest, heads, post_few, post_rest)

    def similar(part: Longs, near: Ints, counts: Ints) -> None:
        near_rows(
            part, rows.flat, rows.starts, *rows.signatures, threshold, rows.longest, few, heads, post_few, post_rest,
            near, counts,
        )  # fmt: skip
        only_similar(part, rows.flat, rows.starts, threshold, rows.longest, rows.vocabulary, few, witness, near, counts)

    return similar


def alike(rows: Rows, some: Longs, others: Longs, threshold: float) -> Mask:
    """Whether the ROUGE-L F1 of each of some rows and that of the others reaches the threshold."""
    return alike_rows(rows.flat, rows.starts, some, others, threshold, rows.longest, rows.vocabulary)
