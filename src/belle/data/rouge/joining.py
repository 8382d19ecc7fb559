"""What an edit of a set changes: a few rows to decide among those that are kept.

The kept rows are held against the few in order: against their signatures where rows are short, else against an index of
the rarest of their tokens, as in ``deciding``. Nothing is compared that has no say any more, so rows of one common
template cost little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from belle.data.rouge.loops import Longs, alike_rows, count_few, index_few, signatures_of, walk_rows, walk_short_rows
from belle.data.rouge.packed import Rows

Mask = npt.NDArray[np.bool_]
SHORT = 40
"""Tokens of a row on average up to which signatures tell most rows apart, and an index is not worth its making."""


def walk(rows: Rows, few: Longs, keep: Mask, threshold: float) -> tuple[Mask, Longs]:
    """Decide a few rows beside rows that are kept so far, in order, as ``deciding.decide`` would.

    Exact. Takes time for each kept row, and little more for each of the few.

    Args:
        few: Indexes of the rows to decide, rising.
        keep: The rows that are kept so far, none of the few among them [N].

    Returns:
        Which of all these are kept [N], and for each that is not the first kept row before it whose ROUGE-L F1 with it
        reaches the threshold (of a row that was kept so far: any such row of the few), -1 elsewhere [N].
    """
    slots = np.full(len(rows), -1, np.int32)
    slots[few] = np.arange(len(few), dtype=np.int32)
    now, witness = keep.copy(), np.full(len(rows), -1, np.int64)
    among, signatures = np.flatnonzero(keep | (slots >= 0)), signatures_of(rows.flat, rows.starts)
    if len(rows.flat) <= SHORT * len(rows):
        walk_short_rows(
            rows.flat, rows.starts, among, few, slots, threshold, rows.longest, rows.vocabulary, signatures, now,
            witness,
        )  # fmt: skip
        return now, witness
    heads = np.zeros(rows.vocabulary + 2, np.int64)
    count_few(rows.flat, rows.starts, few, threshold, rows.longest, heads)
    np.cumsum(heads, out=heads)
    post_few, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    index_few(rows.flat, rows.starts, few, threshold, rows.longest, heads, post_few, post_rest)
    walk_rows(
        rows.flat, rows.starts, among, few, slots, threshold, rows.longest, heads, post_few, post_rest, signatures, now,
        witness,
    )  # fmt: skip
    return now, witness


def alike(rows: Rows, some: Longs, others: Longs, threshold: float) -> Mask:
    """Whether the ROUGE-L F1 of each of some rows and that of the others reaches the threshold."""
    return alike_rows(rows.flat, rows.starts, some, others, threshold, rows.longest, rows.vocabulary)
