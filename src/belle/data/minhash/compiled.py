"""The loops over code points, signatures and bands that numba compiles.

They stand in one file because numba keeps what it compiled by the file of the function called: a change of a function
in another file would not reach what was compiled with it.
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
Signatures = npt.NDArray[np.uint32]
"""[rows, permutations]"""
Signature = npt.NDArray[np.uint32]
Slots = npt.NDArray[np.uint64]
"""By hash: a band's hash in the upper half, the number of its last entry + 1 in the lower; 0 where nothing is."""
Rings = npt.NDArray[np.uint32]
"""For each entry, ``row * bands + band``, the next one of its slot; after the last comes the first."""

NOT_ALONE = -1
LETTER = 1 << 21
"""Above all code points."""
EMPTY = np.uint32(0xFFFFFFFF)
"""Every value in the signature of a text without a letter."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)


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
def _least(hashes: Points, count: int, scale: Points, shift: Points, signature: Signature) -> None:
    # four at once, so that the signature is read and written once for them
    for at in range(0, count, 4):
        first, second, third, fourth = hashes[at], hashes[at + 1], hashes[at + 2], hashes[at + 3]
        for number in range(len(signature)):
            a, b = scale[number], shift[number]
            one = min(np.uint32(a * first + b), np.uint32(a * second + b))
            other = min(np.uint32(a * third + b), np.uint32(a * fourth + b))
            signature[number] = min(signature[number], min(one, other))


@njit(cache=True, nogil=True)
def sign(
    points: Points, starts: Longs, folds: Folds, folded: bool, shingle: int, scale: Points, shift: Points,
    out: Signatures, odd: Bools,
) -> None:  # fmt: skip
    """Write the signatures of texts.

    Args:
        points, starts: Code points, and where in them each text begins, and the last ends [rows + 1].
        folded: Whether the texts are folded; else ``folds`` does it.
        scale, shift: Of each permutation.
        odd: Set for texts that ``folds`` does not do for; their signatures are to be made from folded texts.
    """
    longest = 0
    for row in range(len(out)):
        longest = max(longest, starts[row + 1] - starts[row])
    text, hashes = np.empty(longest, np.uint32), np.empty(longest + 3, np.uint32)
    for row in range(len(out)):
        signature = out[row]
        signature[:] = EMPTY
        start, end = starts[row], starts[row + 1]
        length = end - start
        if folded:
            text[:length] = points[start:end]
        else:
            length = _fold(points, start, end, folds, text)
        if length <= 0:
            odd[row] = length < 0
            continue
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
            hashes[at] = np.uint32(_mix(window) >> _HALF)
            window -= leaving * np.uint64(text[at])
        hashes[count : count + 3] = hashes[count - 1]
        _least(hashes, count, scale, shift, signature)


@njit(cache=True, nogil=True)
def _empty(signature: Signature) -> bool:
    at = 0
    while at < len(signature) and signature[at] == EMPTY:
        at += 1
    return at == len(signature)


@njit(cache=True, nogil=True)
def _alike(one: Signature, other: Signature, band: int, rows: int, need: int) -> bool:
    """Whether two signatures agree in this band, and in ``need`` values or more."""
    for at in range(band * rows, (band + 1) * rows):
        if one[at] != other[at]:
            return False
    equal, count = 0, len(one)
    for start in range(0, count, 32):
        end = min(start + 32, count)
        for at in range(start, end):
            equal += one[at] == other[at]
        if equal + count - end < need:
            return False
    return True


@njit(cache=True, nogil=True)
def _band_hash(signature: Signature, band: int, rows: int) -> np.uint64:
    """32 bits of a band."""
    factor = np.uint64(2 * band + 1) * _GOLDEN
    found = factor
    for at in range(band * rows, (band + 1) * rows):
        found += np.uint64(signature[at]) * factor
        factor += np.uint64(0xD1B54A32D192ED02)
    return _mix(found) >> _HALF


@njit(cache=True, nogil=True)
def _find(slots: Slots, hash_: np.uint64) -> int:
    """The slot of a hash, or the free one where it belongs."""
    # by its upper bits: slots stay in the order of hashes, and growing goes over both tables from end to end
    place = np.int64((hash_ * np.uint64(len(slots))) >> _HALF)
    while slots[place] and slots[place] >> _HALF != hash_:
        place += 1
        if place == len(slots):
            place = np.int64(0)
    return place  # type: ignore[return-value]


@njit(cache=True, nogil=True, inline="always")
def _last(slot: np.uint64) -> int:
    return np.int64(slot & _LOWER) - 1  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def _enter(slots: Slots, rings: Rings, hash_: np.uint64, entry: int) -> None:
    """Put an entry at the end of its slot's ring."""
    place = _find(slots, hash_)
    if slots[place]:
        last = _last(slots[place])
        rings[entry] = rings[last]
        rings[last] = entry
    else:
        rings[entry] = entry
    slots[place] = (hash_ << _HALF) | np.uint64(entry + 1)


@njit(cache=True, nogil=True)
def rehash(old: Slots, new: Slots) -> None:
    """Put the slots of a table into a larger one."""
    for slot in old:
        if slot:
            new[_find(new, slot >> _HALF)] = slot


@njit(cache=True, nogil=True)
def enter_all(slots: Slots, rings: Rings, signatures: Signatures, bands: int, rows: int) -> None:
    """Enter signatures in order, but for those of texts without a letter."""
    for row in range(len(signatures)):
        if not _empty(signatures[row]):
            for band in range(bands):
                _enter(slots, rings, _band_hash(signatures[row], band, rows), row * bands + band)


@njit(cache=True, nogil=True)
def keep(
    signed: Signatures, given: int, kept: Signatures, positions: Longs, count: int, slots: Slots, rings: Rings,
    bands: int, rows: int, need: int, rivals: Longs,
) -> int:  # fmt: skip
    """Decide which texts are kept, and enter those.

    Args:
        given: The position of the first of them.
        kept, positions: Room for what is kept; ``count`` are there.
        rivals: Written: -1 for those kept, else the position of the first kept text that each is similar to.

    Returns:
        How many are there now.
    """
    hashes, places = np.empty(bands, np.uint64), np.empty(bands, np.int64)
    for row in range(len(signed)):
        signature = signed[row]
        rivals[row] = -1
        if _empty(signature):
            continue
        # all of them before the first is followed: so the reads of memory do not wait for each other
        for band in range(bands):
            hashes[band] = _band_hash(signature, band, rows)
            places[band] = _find(slots, hashes[band])
        first = count
        for band in range(bands):
            slot = slots[places[band]]
            if not slot:
                continue
            last = _last(slot)
            entry = last
            while True:  # the oldest comes first: the first that is similar ends the ring
                entry = np.int64(rings[entry])  # type: ignore[assignment]
                other = entry // bands
                if other >= first:
                    break
                if _alike(signature, kept[other], band, rows, need):
                    first = other  # type: ignore[assignment]
                    break
                if entry == last:
                    break
        if first < count:
            rivals[row] = positions[first]
            continue
        kept[count] = signature
        positions[count] = given + row
        for band in range(bands):
            _enter(slots, rings, hashes[band], count * bands + band)
        count += 1
    return count


@njit(cache=True, nogil=True)
def pairs(
    index: Signatures, queries: Signatures, slots: Slots, rings: Rings, bands: int, rows: int, need: int
) -> tuple[Longs, Longs]:
    """Find the pairs of a query, entered in the table, and a row of the index that are similar, in the rows' order."""
    seen = np.full(len(queries), -1, np.int64)
    whom, where = np.empty(64, np.int64), np.empty(64, np.int64)
    found = 0
    for row in range(len(index)):
        signature = index[row]
        if _empty(signature):
            continue
        for band in range(bands):
            slot = slots[_find(slots, _band_hash(signature, band, rows))]
            if not slot:
                continue
            last = _last(slot)
            entry = last
            while True:
                entry = np.int64(rings[entry])  # type: ignore[assignment]
                query = entry // bands
                if seen[query] != row and _alike(signature, queries[query], band, rows, need):
                    seen[query] = row
                    if found == len(whom):
                        whom, where = np.append(whom, whom), np.append(where, where)  # type: ignore[assignment]
                    whom[found], where[found] = query, row
                    found += 1
                if entry == last:
                    break
    return whom[:found], where[:found]
