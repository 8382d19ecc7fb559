"""What an edit of a set changes: a few rows to decide among those that are kept.

The few are indexed by the rarest of their tokens, as in ``deciding``, and the kept rows are held against that index in
order. Nothing is compared that has no say any more, so rows of one common template cost little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from belle.data.rouge.loops import Longs, alike_rows, count_few, index_few, signatures_of, walk_rows
from belle.data.rouge.packed import Rows

Mask = npt.NDArray[np.bool_]


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
    heads = np.zeros(rows.vocabulary + 2, np.int64)
    count_few(rows.flat, rows.starts, few, threshold, rows.longest, heads)
    np.cumsum(heads, out=heads)
    post_few, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    index_few(rows.flat, rows.starts, few, threshold, rows.longest, heads, post_few, post_rest)
    slots = np.full(len(rows), -1, np.int32)
    slots[few] = np.arange(len(few), dtype=np.int32)
    now, witness = keep.copy(), np.full(len(rows), -1, np.int64)
    walk_rows(
        rows.flat, rows.starts, np.flatnonzero(keep | (slots >= 0)), few, slots, threshold, rows.longest, heads,
        post_few, post_rest, signatures_of(rows.flat, rows.starts), now, witness,
    )  # fmt: skip
    return now, witness


def alike(rows: Rows, some: Longs, others: Longs, threshold: float) -> Mask:
    """Whether the ROUGE-L F1 of each of some rows and that of the others reaches the threshold."""
    return alike_rows(rows.flat, rows.starts, some, others, threshold, rows.longest, rows.vocabulary)
