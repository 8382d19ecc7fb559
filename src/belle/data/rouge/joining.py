"""All rows that are too close to one of a few: what an edit of a set can reach.

The few are indexed by the rarest of their tokens, as in ``deciding``, and every row is held against that index.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from belle.data.rouge.loops import Ints, Longs, count_few, index_few, join_rows, signatures_of
from belle.data.rouge.packed import Rows

_PART = 1 << 16
"""Rows that one thread looks at."""


def join(rows: Rows, few: Longs, among: Longs, threshold: float) -> tuple[Longs, Longs]:
    """Every pair of one of the ``few`` and another row ``among`` some, whose ROUGE-L F1 reaches the threshold.

    Exact. Takes time for each row among them, and little more for each of the few.

    Args:
        few, among: Indexes of rows.

    Returns:
        The pairs as two arrays of indexes, in the order of ``among``; a pair of two of the few that are both among
        them comes both ways round.
    """
    heads = np.zeros(rows.vocabulary + 2, np.int64)
    count_few(rows.flat, rows.starts, few, threshold, rows.longest, heads)
    np.cumsum(heads, out=heads)
    post_few, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    index_few(rows.flat, rows.starts, few, threshold, rows.longest, heads, post_few, post_rest)
    signatures = signatures_of(rows.flat, rows.starts)

    def joined(start: int) -> tuple[Ints, Ints]:
        part = among[start : start + _PART]
        return join_rows(
            rows.flat, rows.starts, part, few, threshold, rows.longest, heads, post_few, post_rest, signatures
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = list(threads.map(joined, range(0, len(among), _PART)))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    slots = np.concatenate([slots for slots, _ in found])
    return few[slots], np.concatenate([others for _, others in found]).astype(np.int64)
