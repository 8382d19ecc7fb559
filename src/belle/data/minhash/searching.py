"""The compiled loops that find similar signatures. In one file, for the reason that ``sketching`` gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from belle.data.minhash.sketching import Hashes, Longs, Signatures

Slots = npt.NDArray[np.uint64]
"""By hash: a band's hash in the upper half, the number of its last entry + 1 in the lower; 0 where nothing is."""
Rings = npt.NDArray[np.uint32]
"""For each entry, ``row * bands + band``, the next one of its slot; after the last comes the first."""

Brief = npt.NDArray[np.uint64]
"""How many hashes a sample has, and 512 bits: one set for each of them."""
Briefs = npt.NDArray[np.uint64]
"""[rows, BRIEF]"""

BRIEF = 9
_NONE = np.uint32(0xFFFFFFFF)
"""``sketching.NONE``; what is compiled here would not learn of another value there."""
_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def _bit_count(word: np.uint64) -> int:
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def _sum_up(sample: Hashes, brief: Brief) -> None:
    """Write what can be known of a sample at a glance."""
    brief[:] = 0
    size = 0
    while size < len(sample) and sample[size] != _NONE:
        bit = np.uint64(sample[size]) & np.uint64(511)
        brief[1 + np.int64(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))
        size += 1
    brief[0] = size


@njit(cache=True, nogil=True)
def _up_to(sample: Hashes, size: int, end: np.uint32) -> int:
    """How many of ``size`` hashes are no greater than ``end``."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if sample[middle] <= end:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _alike(one: Hashes, brief: Brief, other: Hashes, others_brief: Brief, threshold: float) -> bool:
    """Whether the estimated Jaccard similarity of two sets, of which these are samples, reaches the threshold.

    Up to the least of their ends both samples are the whole sets; a sample that is not full has no end.
    """
    length = len(one)
    size, others_size = np.int64(brief[0]), np.int64(others_brief[0])
    mine, its, end = size, others_size, _NONE
    if size == length:
        end = one[length - 1]
    if others_size == length:
        end = min(end, other[length - 1])
    if end != _NONE:
        mine, its = _up_to(one, size, end), _up_to(other, others_size, end)  # type: ignore[assignment]
    # a bit that only one of them has is at least one hash that the other has not; it may be one beyond the end
    only, others_only = np.int64(mine - size), np.int64(its - others_size)
    for word in range(1, len(brief)):
        only += _bit_count(brief[word] & ~others_brief[word])
        others_only += _bit_count(others_brief[word] & ~brief[word])
    only, others_only = max(only, np.int64(0)), max(others_only, np.int64(0))
    most = min(mine - only, its - others_only)
    if most <= 0 or most / (most + only + others_only) < threshold:
        return False
    # so many may differ at most, if all that can be are common (and one more for rounding)
    spare = np.int64(min(most * (1 - threshold) / threshold, 2.0 * length)) + 1
    at, others_at, common, different = 0, 0, 0, 0
    while at < mine and others_at < its:
        left, right = one[at], other[others_at]
        at += left <= right
        others_at += right <= left
        common += left == right
        different += left != right
        if different > spare:
            return False
    different += mine - at + its - others_at  # type: ignore[assignment]
    return bool(common > 0 and common / (common + different) >= threshold)


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
def enter_all(slots: Slots, rings: Rings, signatures: Signatures, briefs: Briefs, bands: int) -> None:
    """Enter signatures in order, but for those of texts without a letter, and write their briefs."""
    for row in range(len(signatures)):
        if signatures[row, bands] != _NONE:
            _sum_up(signatures[row, bands:], briefs[row])
            for band in range(bands):
                _enter(slots, rings, np.uint64(signatures[row, band]), row * bands + band)


@njit(cache=True, nogil=True)
def keep(
    signed: Signatures, given: int, samples: Signatures, briefs: Briefs, positions: Longs, count: int, slots: Slots,
    rings: Rings, bands: int, threshold: float, rivals: Longs,
) -> int:  # fmt: skip
    """Decide which texts are kept, and enter those.

    Args:
        given: The position of the first of them.
        samples, briefs, positions: Room for those of what is kept; ``count`` are there.
        rivals: Written: -1 for those kept, else the position of the first kept text that each is similar to.

    Returns:
        How many are there now.
    """
    places, brief = np.empty(bands, np.int64), np.empty(BRIEF, np.uint64)
    for row in range(len(signed)):
        sample = signed[row, bands:]
        rivals[row] = -1
        if sample[0] == _NONE:
            continue
        _sum_up(sample, brief)
        # all of them before the first is followed: so the reads of memory do not wait for each other
        for band in range(bands):
            places[band] = _find(slots, np.uint64(signed[row, band]))
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
                if entry % bands == band and _alike(sample, brief, samples[other], briefs[other], threshold):
                    first = other  # type: ignore[assignment]
                    break
                if entry == last:
                    break
        if first < count:
            rivals[row] = positions[first]
            continue
        samples[count], briefs[count] = sample, brief
        positions[count] = given + row
        for band in range(bands):
            _enter(slots, rings, np.uint64(signed[row, band]), count * bands + band)
        count += 1
    return count


@njit(cache=True, nogil=True)
def mark_all(marks: Slots, signatures: Signatures, bands: int) -> None:
    """Set a bit, chosen by a hash's upper bits, for each band of each signature; ``marks`` has a power of two bits."""
    shift = _HALF - np.uint64(np.log2(64 * len(marks)) + 0.5)
    for row in range(len(signatures)):
        for band in range(bands):
            bit = np.uint64(signatures[row, band]) >> shift
            marks[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@njit(cache=True, nogil=True)
def pairs(
    index: Signatures, queries: Signatures, briefs: Briefs, marks: Slots, slots: Slots, rings: Rings, bands: int,
    threshold: float,
) -> tuple[Longs, Longs]:  # fmt: skip
    """Find the pairs of a query, entered in the table, and a row of the index that are similar, in the rows' order.

    What ``mark_all`` made of the queries fits into a core's own memory, and says of nearly every band that the table,
    which does not, has nothing.
    """
    shift = _HALF - np.uint64(np.log2(64 * len(marks)) + 0.5)
    seen = np.full(len(queries), -1, np.int64)
    whom, where = np.empty(64, np.int64), np.empty(64, np.int64)
    brief = np.empty(BRIEF, np.uint64)
    found, briefed = 0, -1
    for row in range(len(index)):
        if index[row, bands] == _NONE:
            continue
        for band in range(bands):
            hash_ = np.uint64(index[row, band])
            bit = hash_ >> shift
            if not (marks[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
                continue
            slot = slots[_find(slots, hash_)]
            if not slot:
                continue
            last = _last(slot)
            entry = last
            while True:
                entry = np.int64(rings[entry])  # type: ignore[assignment]
                query = entry // bands
                if entry % bands == band and seen[query] != row:
                    seen[query] = row
                    if briefed != row:
                        briefed = row
                        _sum_up(index[row, bands:], brief)
                    if _alike(index[row, bands:], brief, queries[query, bands:], briefs[query], threshold):
                        if found == len(whom):
                            whom, where = np.append(whom, whom), np.append(where, where)  # type: ignore[assignment]
                        whom[found], where[found] = query, row
                        found += 1
                if entry == last:
                    break
    return whom[:found], where[:found]
