"""Which rows mean what a row kept before them means; and all pairs that a few rows are in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from belle.data.semantic import loops
from belle.data.semantic.loops import Longs
from belle.data.semantic.similarity import BANDS, Codes, Semantic, Vectors

_TOGETHER = 1 << 20
"""Pairs that are compared together."""


def keep_first(vectors: Vectors, similarity: Semantic) -> Longs:
    """Keep a row unless one kept before it is similar: -1 for those kept, else the first kept row that is [n].

    A row of zeros is kept, and nothing is similar to it. Takes about 800 bytes a row besides the vectors.
    """
    vectors = np.ascontiguousarray(vectors, np.int8)
    slots, count = _slots(similarity.codes(vectors))
    rivals = np.empty(len(vectors), np.int64)
    loops.keep(
        vectors, loops.squares(vectors), slots, float(similarity.threshold), np.full(count, -1, np.int32),
        np.full(count, -1, np.int32), np.full((len(vectors), BANDS), -1, np.int32), rivals,
    )  # fmt: skip
    return rivals


def pairs(vectors: Vectors, few: Longs, among: Longs, similarity: Semantic) -> tuple[Longs, Longs]:
    """Find every pair of a row of ``few`` and another of ``among`` that ``keep_first`` takes for similar.

    Returns:
        The pairs' rows of ``few`` and those of ``among``, sorted by both; each pair once.
    """
    vectors = np.ascontiguousarray(vectors, np.int8)
    lengths = loops.squares(vectors)
    theirs, ours = similarity.codes(vectors[among]), similarity.codes(vectors[few])
    found = np.zeros(0, np.int64)
    for band in range(BANDS):
        order = np.argsort(theirs[:, band], kind="stable")
        ordered = theirs[order, band]
        starts = np.searchsorted(ordered, ours[:, band], side="left")
        counts = np.searchsorted(ordered, ours[:, band], side="right") - starts
        for first, last in _parts(counts):
            part = counts[first:last]
            whom = np.repeat(np.arange(first, last), part)
            inner = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
            where = order[np.repeat(starts[first:last], part) + inner]
            left, right = few[whom], among[where]
            similar = loops.compare(vectors, lengths, left, right, float(similarity.threshold)) & (left != right)
            found = np.union1d(found, whom[similar] * len(among) + where[similar])
    return few[found // max(1, len(among))], among[found % max(1, len(among))]


def _slots(codes: Codes) -> tuple[npt.NDArray[np.int32], int]:
    """Bands' hashes as numbers from 0 on, other ones in each band, and how many there are."""
    slots = np.empty(codes.shape, np.int32)
    count = 0
    for band in range(codes.shape[1]):
        known, places = np.unique(codes[:, band], return_inverse=True)
        slots[:, band] = places + count
        count += len(known)
    return slots, count


def _parts(counts: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of queries whose pairs fit together into memory."""
    found, start, total = list[tuple[int, int]](), 0, 0
    for place, count in enumerate(counts.tolist()):
        if total and total + count > _TOGETHER:
            found.append((start, place))
            start, total = place, 0
        total += count
    return [*found, (start, len(counts))] if total else found
