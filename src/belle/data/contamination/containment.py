"""Which rows of one set lie in a row of another: a share of their n-grams does, by an exact join.

A row with n distinct n-grams of which at least a share s lies in another row has at most (1 - s) n that do not. So
that other row has one of any (1 - s) n + 1 of them, and it is enough to look up the rarest (prefix filtering, Chaudhuri
et al. 2006).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from belle.data.contamination import codes
from belle.data.contamination.grams import Hashes, Longs, hashes

Packed = npt.NDArray[np.uint64]
"""Row number in the upper half of 64 bits, the hash of an n-gram in the lower."""

Floats = npt.NDArray[np.float64]

_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)
_MIX = np.uint32(0xC2B2AE35)
_AT_ONCE = 2_000_000


def packed(texts: Sequence[str], first: int, gram: int, every: int = 1) -> Packed:
    """The distinct n-grams of the keys of texts, by row, each row's ascending.

    Args:
        texts: What the rows say.
        first: The number of the first row.
        gram: The n.
        every: Take about one n-gram in so many, chosen by its hash: the same ones in every set.
    """
    if not texts:
        return np.zeros(0, np.uint64)
    keys = codes.keys(texts)
    found = hashes(keys.codes, gram)
    places = np.arange(len(found))
    rows = np.searchsorted(keys.ends, places)
    whole = places + gram <= keys.ends[rows]
    if every > 1:
        whole &= (found * _MIX) % np.uint32(every) == 0
    return np.unique(((rows[whole] + first).astype(np.uint64) << _HALF) | found[whole].astype(np.uint64))


@dataclass(frozen=True)
class Match:
    """Row ``row`` lies in row ``other`` with ``share`` of its n-grams."""

    row: int
    other: int
    share: float


class Containment:
    """An index of a set's rows, 16 bytes an n-gram.

    Args:
        rows: Their n-grams, as ``packed`` gives them; parts of a set end to end.
    """

    def __init__(self, rows: Packed) -> None:
        self._packed = rows
        lower = (rows & _LOWER).astype(np.uint32)
        order = np.argsort(lower, kind="stable")
        self._hashes: Hashes = lower[order]
        self._rows = (rows >> _HALF).astype(np.int32)[order]

    def find(self, asked: Packed, share: float) -> Iterator[Match]:
        """The row that holds most of each asked row's n-grams, the first of several; none where it is below ``share``.

        Rows without an n-gram lie nowhere. Matches come by row.
        """
        if not len(asked):
            return
        numbers, row = np.unique((asked >> _HALF).astype(np.int64), return_inverse=True)
        values = (asked & _LOWER).astype(np.uint32)
        sizes = np.bincount(row)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        begin = np.searchsorted(self._hashes, values, "left")
        often = np.searchsorted(self._hashes, values, "right") - begin
        rarest = np.lexsort((often, row))
        enough = np.array([size - _needed(size, share) + 1 for size in sizes.tolist()])
        rank = np.arange(len(asked)) - starts[row]  # lexsort leaves the rows where they are
        chosen = rarest[(rank < enough[row]) & (often[rarest] > 0)]
        best_share, best_other = np.zeros(len(sizes)), np.zeros(len(sizes), np.int64)
        for part in _portions(often[chosen]):
            grams = chosen[part]
            counts = often[grams]
            places = np.repeat(begin[grams] - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
            pairs = np.unique((np.repeat(row[grams], counts) << 32) | self._rows[places])
            self._weigh(pairs >> 32, pairs & 0xFFFFFFFF, values, starts, best_share, best_other)
        for place in np.flatnonzero((best_share > 0) & (best_share >= share)).tolist():
            yield Match(int(numbers[place]), int(best_other[place]), float(best_share[place]))

    def _weigh(
        self, row: Longs, other: Longs, values: Hashes, starts: Longs, best_share: Floats, best_other: Longs
    ) -> None:
        """Note for each row the pair with the largest share, in ``best_share`` and ``best_other``."""
        sizes = np.diff(starts)[row]
        for part in _portions(sizes):
            mine, theirs, counts = row[part], other[part], sizes[part]
            ends = np.cumsum(counts)
            places = np.repeat(starts[mine] - ends + counts, counts) + np.arange(ends[-1])
            wanted = (np.repeat(theirs, counts).astype(np.uint64) << _HALF) | values[places].astype(np.uint64)
            found = np.minimum(np.searchsorted(self._packed, wanted), len(self._packed) - 1)
            shares = np.add.reduceat((self._packed[found] == wanted).astype(np.int64), ends - counts) / counts
            order = np.lexsort((theirs, -shares, mine))
            first = order[np.concatenate([[True], np.diff(mine[order]) != 0])]
            now, more = mine[first], shares[first]
            better = (more > best_share[now]) | ((more == best_share[now]) & (theirs[first] < best_other[now]))
            best_share[now[better]], best_other[now[better]] = more[better], theirs[first][better]


def _needed(size: int, share: float) -> int:
    """The least count of a row's n-grams whose share is large enough, at least 1."""
    return max(
        1, next(count for count in range(max(0, math.floor(share * size) - 1), size + 1) if count / size >= share)
    )


def _portions(sizes: Longs) -> Iterator[slice]:
    """Slices of what has these sizes, as many at once as memory is to be taken for."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(ends):
        limit = (int(ends[begin - 1]) if begin else 0) + _AT_ONCE
        end = max(begin + 1, int(np.searchsorted(ends, limit, "right")))
        yield slice(begin, end)
        begin = end
