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
    order, begins = _sorted(keys)
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


def _sorted(keys: Keys) -> tuple[Index, npt.NDArray[np.bool_]]:
    """The order of keys by value, equal ones in their own order, and where in it another value begins [n]."""
    # Indexes in the place of the last bits: a sort by value is many times faster than one of indexes, and stable here.
    places = np.uint64((1 << len(keys).bit_length()) - 1)
    ranked = np.sort((keys[:, 0] & ~places) | np.arange(len(keys), dtype=np.uint64))
    order = (ranked & places).astype(np.int64)
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = (ranked[1:] & ~places) != (ranked[:-1] & ~places)
    if _differ(keys, order, begins).any():  # two that begin alike are different: hardly ever
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        begins[:] = False
        begins[1:] = _differ(keys, order, begins)
        begins[:1] = True
    return order, begins


def _differ(keys: Keys, order: Index, begins: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Of keys in an order, which are not as the one before [n - 1]; False where one ``begins``."""
    words = keys[order]
    return ((words[1:, 0] != words[:-1, 0]) | (words[1:, 1] != words[:-1, 1])) & ~begins[1:]
