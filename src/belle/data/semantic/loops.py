"""The compiled loops that compare vectors. In one file, for the reason that ``belle.data.minhash.sketching`` gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Longs = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _similar(one: npt.NDArray[np.int8], other: npt.NDArray[np.int8], lengths: float, threshold: float) -> bool:
    """Whether the cosine reaches the threshold; ``lengths`` is the product of the squared lengths."""
    total = np.int32(0)
    for place in range(len(one)):
        total += np.int32(one[place]) * np.int32(other[place])
    return bool(total > 0 and float(total) >= threshold * np.sqrt(lengths))


@njit(cache=True, nogil=True)
def squares(vectors: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """The squared length of each vector [n]."""
    found = np.empty(len(vectors), np.float64)
    for row in range(len(vectors)):
        total = np.int32(0)
        for place in range(vectors.shape[1]):
            total += np.int32(vectors[row, place]) * np.int32(vectors[row, place])
        found[row] = total
    return found


@njit(cache=True, nogil=True)
def keep(
    vectors: npt.NDArray[np.int8], lengths: npt.NDArray[np.float64], slots: npt.NDArray[np.int32], threshold: float,
    heads: npt.NDArray[np.int32], tails: npt.NDArray[np.int32], following: npt.NDArray[np.int32], rivals: Longs,
) -> None:  # fmt: skip
    """Decide in order: a row is kept unless one kept before it, that shares a slot with it, is similar.

    Args:
        slots: For each band the number of the row's slot; no two bands share one [n, bands].
        heads, tails: By slot, the first and the last kept row in it, -1 for none.
        following: By row and band, the next kept row of that slot, -1 for none [n, bands].
        rivals: Written: -1 for rows that are kept, else the first kept row that is similar [n].
    """
    seen = np.full(len(vectors), -1, np.int32)
    for row in range(len(vectors)):
        rivals[row] = -1
        if lengths[row] == 0:
            continue
        first = row
        for band in range(slots.shape[1]):
            other = heads[slots[row, band]]
            # rows of a slot are in order: beyond the first that is similar there is nothing to find
            while 0 <= other < first:
                if seen[other] != row:
                    seen[other] = row
                    if _similar(vectors[row], vectors[other], lengths[row] * lengths[other], threshold):
                        first = other
                other = following[other, band]
        if first < row:
            rivals[row] = first
            continue
        for band in range(slots.shape[1]):
            slot = slots[row, band]
            if heads[slot] < 0:
                heads[slot] = row
            else:
                following[tails[slot], band] = row
            tails[slot] = row


@njit(cache=True, nogil=True)
def compare(
    vectors: npt.NDArray[np.int8], lengths: npt.NDArray[np.float64], left: Longs, right: Longs, threshold: float
) -> npt.NDArray[np.bool_]:
    """Which pairs of rows are similar [pairs]."""
    found = np.zeros(len(left), np.bool_)
    for pair in range(len(left)):
        one, other = left[pair], right[pair]
        if lengths[one] > 0 and lengths[other] > 0:
            found[pair] = _similar(vectors[one], vectors[other], lengths[one] * lengths[other], threshold)
    return found
