"""All pairs of similar texts: what ``NearDuplicates`` takes for similar, whether kept or not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from belle.data.minhash import searching
from belle.data.minhash.similarity import Similarity
from belle.data.minhash.sketching import Longs, Signatures
from belle.data.minhash.table import Table

_PART = 1 << 16
"""Rows that a thread goes through at a time."""
_LEAST_MARKS, _MARKS = 1 << 15, 8
"""Bits that say which hashes are not in the table: at least, and for each hash."""


def pairs(
    index: Signatures, queries: Signatures, similarity: Similarity, threads: int | None = None
) -> tuple[Longs, Longs]:
    """Find every pair of a query and a row of the index that are similar.

    The queries go into a table, and the index is read once from end to end. Texts without a letter are in no pair.

    Args:
        index, queries: Signatures [N, width] and [M, width], made with this similarity.
        threads: How many work at once; without it, as many as there are cores.

    Returns:
        The pairs' queries and their rows, sorted by query, then by row.

    Raises:
        ValueError: signatures of another width.
    """
    for side in (index, queries):
        if side.ndim != 2 or side.shape[1] != similarity.width:
            raise ValueError(f"signatures of {similarity.width} values are needed, found an array {side.shape}")
    queries = np.ascontiguousarray(queries, np.uint32)
    table = Table(similarity.bands)
    table.reserve(len(queries))
    briefs = np.empty((len(queries), searching.BRIEF), np.uint64)
    searching.enter_all(table.slots, table.rings, queries, briefs, similarity.bands)
    bits = 1 << min(32, max(_LEAST_MARKS, _MARKS * len(queries) * similarity.bands).bit_length())
    marks = np.zeros(bits // 64, np.uint64)
    searching.mark_all(marks, queries, similarity.bands)

    def work(start: int) -> tuple[Longs, Longs]:
        part = np.ascontiguousarray(index[start : start + _PART], np.uint32).view()
        part.flags.writeable = False  # as one in a file is: compiled once for both
        whom, where = searching.pairs(
            part, queries, briefs, marks, table.slots, table.rings, similarity.bands, float(similarity.threshold)
        )  # fmt: skip
        return whom, where + start

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as workers:
        parts = list(workers.map(work, range(0, len(index), _PART)))
    nothing = np.empty(0, np.int64)
    whom = np.concatenate([nothing, *(part[0] for part in parts)])
    where = np.concatenate([nothing, *(part[1] for part in parts)])
    order = np.lexsort((where, whom))
    return whom[order], where[order]
