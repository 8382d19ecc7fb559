"""The compiled loops that make signatures of texts.

They stand in one file, and call none in another, because numba keeps what it compiled by the file of the function that
was called: a change in another file would not reach it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Longs = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Points = npt.NDArray[np.uint32]
"""Code points."""
Folds = npt.NDArray[np.int32]
"""For each code point what it is folded to: 0 for nothing, ``NOT_ALONE``, or a code point, with ``LETTER`` if it is."""
Hashes = npt.NDArray[np.uint32]
Signatures = npt.NDArray[np.uint32]
"""For each text the hashes of its bands, then its sample: hashes of shingles, ascending, ``NONE`` behind them."""

NOT_ALONE = -1
LETTER = 1 << 21
"""Above all code points."""
NONE = np.uint32(0xFFFFFFFF)
"""No hash. The whole signature of a text without a letter."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FEW = 1024
"""Hashes up to which ``_sort`` is quick even if few different ones come many times."""
_HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def note_pages(points: Points, used: Bools) -> None:
    """Note the pages of 256 that code points are on."""
    for point in points:
        used[point >> np.uint32(8)] = True


@njit(cache=True, nogil=True)
def _fold(points: Points, start: int, end: int, folds: Folds, out: Points) -> int:
    """Write what a text is folded to.

    Returns:
        How many code points that is: 0 for a text without a letter, ``NOT_ALONE`` if the table does not do.
    """
    found, letters = 0, 0
    for at in range(start, end):
        fold = folds[points[at]]
        if fold < 0:
            return NOT_ALONE
        out[found] = fold & (LETTER - 1)
        found += fold != 0
        letters |= fold
    return found if letters & LETTER else 0


@njit(cache=True, nogil=True, inline="always")
def _mix(word: np.uint64) -> np.uint64:
    """Let every bit of a word depend on all (MurmurHash3's finalizer)."""
    word ^= word >> np.uint64(33)
    word *= np.uint64(0xFF51AFD7ED558CCD)
    word ^= word >> np.uint64(33)
    word *= np.uint64(0xC4CEB9FE1A85EC53)
    return word ^ (word >> np.uint64(33))


@njit(cache=True, nogil=True)
def _hash_shingles(text: Points, length: int, shingle: int, out: Hashes) -> int:
    """Write the hash of every run of ``shingle`` characters, or of a shorter text; returns how many there are."""
    width = min(shingle, length)
    leaving = np.uint64(1)
    for _ in range(width - 1):
        leaving *= _GOLDEN
    # a polynomial of the window's characters; none of them is 0, so that windows of other widths differ
    window = np.uint64(0)
    for at in range(width - 1):
        window = window * _GOLDEN + np.uint64(text[at])
    count = length - width + 1
    for at in range(count):
        window = window * _GOLDEN + np.uint64(text[at + width - 1])
        out[at] = min(np.uint32(_mix(window) >> _HALF), np.uint32(NONE - 1))
        window -= leaving * np.uint64(text[at])
    return count


@njit(cache=True, nogil=True)
def _least(hashes: Hashes, count: int, scale: Hashes, shift: Hashes, out: Hashes) -> None:
    """Write the MinHash values of ``count`` hashes; changes up to three behind them."""
    out[:] = NONE
    hashes[count : count + 3] = hashes[count - 1]
    # four at once, so that the values are read and written once for them
    for at in range(0, count, 4):
        first, second, third, fourth = hashes[at], hashes[at + 1], hashes[at + 2], hashes[at + 3]
        for number in range(len(out)):
            a, b = scale[number], shift[number]
            one = min(np.uint32(a * first + b), np.uint32(a * second + b))
            other = min(np.uint32(a * third + b), np.uint32(a * fourth + b))
            out[number] = min(out[number], min(one, other))


@njit(cache=True, nogil=True)
def _band_hash(least: Hashes, start: int, end: int) -> np.uint32:
    factor = np.uint64(2 * start + 1) * _GOLDEN
    found = factor
    for at in range(start, end):
        found += np.uint64(least[at]) * factor
        factor += np.uint64(0xD1B54A32D192ED02)
    return np.uint32(_mix(found) >> _HALF)


@njit(cache=True, nogil=True)
def _sort(values: Hashes, count: int, most: np.uint64, counts: Longs, out: Hashes) -> None:
    """Sort values that are spread evenly from 0 to ``most``: into 256 spans, then each to its place."""
    scale = (np.uint64(256) << _HALF) // (most + np.uint64(1))
    counts[:] = 0
    for at in range(count):
        counts[((np.uint64(values[at]) * scale) >> _HALF) + np.uint64(1)] += 1
    for span in range(256):
        counts[span + 1] += counts[span]
    for at in range(count):
        span = (np.uint64(values[at]) * scale) >> _HALF  # type: ignore[assignment]
        out[counts[span]] = values[at]
        counts[span] += 1
    for at in range(1, count):
        value, to = out[at], at
        while to > 0 and out[to - 1] > value:
            out[to] = out[to - 1]
            to -= 1
        out[to] = value


@njit(cache=True, nogil=True)
def _sample(hashes: Hashes, count: int, some: Hashes, sorted_: Hashes, counts: Longs, out: Hashes) -> None:
    """Write the least of the different hashes, as many as there is room for."""
    size = len(out)
    out[:] = NONE
    # hashes are spread evenly: the least are looked for below where half as many again as needed should be
    most = np.uint64(NONE - 1)
    if count > 2 * size:
        most = max((np.uint64(3 * size // 2 + 8) << _HALF) // np.uint64(count), np.uint64(1 << 16))
    while True:
        below = 0
        for at in range(count):
            some[below] = hashes[at]
            below += np.uint64(hashes[at]) <= most  # type: ignore[assignment]
        if below <= _FEW:
            _sort(some, below, most, counts, sorted_)
        else:
            sorted_[:below] = some[:below]
            sorted_[:below].sort()
        found = 0
        for at in range(below):
            if found < size and (at == 0 or sorted_[at] != sorted_[at - 1]):
                out[found] = sorted_[at]
                found += 1
        if found == size or most >= np.uint64(NONE - 1):
            break
        most = min(most * np.uint64(4), np.uint64(NONE - 1))


@njit(cache=True, nogil=True)
def sign(
    points: Points, starts: Longs, folds: Folds, folded: bool, shingle: int, scale: Hashes, shift: Hashes,
    bands: int, rows: int, out: Signatures, odd: Bools,
) -> None:  # fmt: skip
    """Write the signatures of texts.

    Args:
        points, starts: Code points, and where in them each text begins, and the last ends [texts + 1].
        folded: Whether the texts are folded; else ``folds`` does it.
        scale, shift: Of each permutation.
        odd: Set for texts that ``folds`` does not do for; their signatures are to be made from folded texts.
    """
    longest = 0
    for number in range(len(out)):
        longest = max(longest, starts[number + 1] - starts[number])
    text, hashes = np.empty(longest, np.uint32), np.empty(longest + 3, np.uint32)
    some, sorted_ = np.empty(longest + 1, np.uint32), np.empty(longest, np.uint32)
    least, counts = np.empty(len(scale), np.uint32), np.empty(257, np.int64)
    for number in range(len(out)):
        start, end = starts[number], starts[number + 1]
        length = end - start
        if folded:
            text[:length] = points[start:end]
        else:
            length = _fold(points, start, end, folds, text)
        if length <= 0:
            out[number] = NONE
            odd[number] = length < 0
            continue
        count = _hash_shingles(text, length, shingle, hashes)
        _least(hashes, count, scale, shift, least)
        for band in range(bands):
            out[number, band] = _band_hash(least, band * rows, (band + 1) * rows)
        _sample(hashes, count, some, sorted_, counts, out[number, bands:])
