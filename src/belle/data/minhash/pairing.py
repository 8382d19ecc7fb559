"""All pairs of similar signatures: what ``NearDuplicates`` takes for similar, whether kept or not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from belle.data.minhash import compiled
from belle.data.minhash.banding import Table, similar_at
from belle.data.minhash.compiled import Longs, Signatures

_PART = 1 << 16
"""Rows that a thread goes through at a time."""


def pairs(index: Signatures, queries: Signatures, threshold: float, threads: int | None = None) -> tuple[Longs, Longs]:
    """Find every pair of a query and a row of the index that are similar, as ``banding`` defines it.

    The queries go into a table, and the index is read once from end to end. Texts without a letter are in no pair.

    Args:
        index, queries: Signatures [N, P] and [M, P], made with the same settings.
        threads: How many work at once; without it, as many as there are cores.

    Returns:
        The pairs' queries and their rows, sorted by query, then by row.

    Raises:
        ValueError: signatures of different lengths, or a threshold out of range.
    """
    if index.ndim != 2 or queries.ndim != 2 or index.shape[1] != queries.shape[1]:
        raise ValueError(f"signatures must have one number of values, found arrays {index.shape} and {queries.shape}")
    similar = similar_at(threshold, queries.shape[1])
    queries = np.ascontiguousarray(queries, np.uint32)
    table = Table(similar.bands)
    table.reserve(len(queries))
    compiled.enter_all(table.slots, table.rings, queries, similar.bands, similar.rows)

    def work(start: int) -> tuple[Longs, Longs]:
        part = np.ascontiguousarray(index[start : start + _PART], np.uint32)
        whom, where = compiled.pairs(part, queries, table.slots, table.rings, *similar)
        return whom, where + start

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as workers:
        parts = list(workers.map(work, range(0, len(index), _PART)))
    nothing = np.empty(0, np.int64)
    whom = np.concatenate([nothing, *(part[0] for part in parts)])
    where = np.concatenate([nothing, *(part[1] for part in parts)])
    order = np.lexsort((where, whom))
    return whom[order], where[order]
