"""Which 16-byte keys are the same: within one sequence, and between two."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
"""128-bit hashes as two words each [n, 2]."""
Index = npt.NDArray[np.int64]


def keys_of(raw: bytes | bytearray | memoryview) -> Keys:
    """16-byte hashes, end to end, as [n, 2]."""
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


def first_seen(keys: Keys) -> Index:
    """For each key, the index of the first that equals it (its own where it is the first) [n]."""
    order = _sorted(keys)
    ranked = keys[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    # equal keys stand in their order, so a group begins with its first
    group = np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))
    found = np.empty(len(keys), np.int64)
    found[order] = order[group]
    return found


def matched(keys: Keys, known: Keys) -> Index:
    """For each key, the index of the first of ``known`` that equals it, -1 where none does [n]."""
    if not len(known):
        return np.full(len(keys), -1, np.int64)
    first = first_seen(np.concatenate([known, keys]))[len(known) :]
    return np.where(first < len(known), first, -1)


def _sorted(keys: Keys) -> Index:
    """The order of keys by value, equal ones in their own order."""
    order = np.argsort(keys[:, 0], kind="stable")
    high = keys[order, 0]
    same = np.flatnonzero(high[1:] == high[:-1])
    low = keys[order, 1]
    if len(same) and (low[same] != low[same + 1]).any():  # two different keys with one first word: hardly ever
        return np.lexsort((keys[:, 1], keys[:, 0]))
    return order
