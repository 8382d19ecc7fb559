"""Which rows of a sequence are novel: farther than a threshold from every row that was kept before them.

A rare-first prefix index (Bayardo, Ma and Srikant 2007; Xiao et al. 2008), on multisets of tokens: two rows whose LCS
reaches t share a token among the m - t + 1 rarest of the one and the n - t + 1 rarest of the other. Of the pairs that
it brings together, most fall to the places of that token in the two texts, and to signatures of 64 bits; the LCS
decides the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from belle.data.rouge.packed import (
    BITS,
    UNREACHABLE,
    Ints,
    Longs,
    Rows,
    Words,
    bit_count,
    clear_places,
    fill_needs,
    lcs,
    set_places,
)  # fmt: skip

_FEW = 48
"""Tokens up to which an insertion sort is the fastest."""
MOST = (1 << 16) - 1
"""The most tokens of a row: length, group and place share a word with which one read of memory brings them all."""
MANY = -1
"""In the place of a token that stands more than once in its row."""


def decide(rows: Rows, pool: int, threshold: float) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Go through the rows in order, the first ``pool`` of them kept whatever they are.

    Exact: decides as a comparison with every kept row would.

    Args:
        threshold: ROUGE-L F1 over 0 from which on a row is not novel.

    Returns:
        For each row whether it is kept, and the index of a kept row that reaches the threshold with it, else -1.
    """
    if not threshold > 0:
        raise ValueError(f"a novelty threshold must be over 0, found {threshold}")
    if rows.longest > MOST:
        raise ValueError(f"a row of {rows.longest} tokens; {MOST} are the most that can be compared")
    capacity = np.zeros(rows.vocabulary + 1, np.int64)
    _count(rows.flat, rows.starts, threshold, rows.longest, capacity)
    heads = np.zeros(rows.vocabulary + 1, np.int64)
    np.cumsum(capacity[:-1], out=heads[1:])
    keep, rivals = np.zeros(len(rows), np.bool_), np.full(len(rows), -1, np.int32)
    _decide(rows.flat, rows.starts, pool, threshold, rows.longest, heads, keep, rivals)
    return keep, rivals


@njit(cache=True, nogil=True)
def rare_first(flat: Ints, start: int, end: int, sorted_: Longs, tokens: Ints, groups: Ints, places: Ints) -> int:
    """The different tokens of a row, the rarest first.

    Writes each token's id, where its group begins in the row sorted by rarity, and its place in the text (``MANY`` if
    it has several); returns how many there are.
    """
    length = end - start
    if length <= _FEW:
        for at in range(length):
            value = (np.int64(flat[start + at]) << 32) | at
            to = at
            while to > 0 and sorted_[to - 1] > value:
                sorted_[to] = sorted_[to - 1]
                to -= 1
            sorted_[to] = value
    else:
        for at in range(length):
            sorted_[at] = (np.int64(flat[start + at]) << 32) | at
        sorted_[:length].sort()
    found = 0
    for at in range(length):
        token = np.int32(sorted_[at] >> 32)
        if found and tokens[found - 1] == token:
            places[found - 1] = MANY
        else:
            tokens[found], groups[found], places[found] = token, at, np.int32(sorted_[at] & 0x7FFFFFFF)
            found += 1
    return found


@njit(cache=True, nogil=True)
def _count(flat: Ints, starts: Longs, threshold: float, longest: int, capacity: Longs) -> None:
    """How many rows have each token among their rarest, as far as the index holds them."""
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    least_of = np.full(longest + 1, -1, np.int64)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    for row in range(len(starts) - 1):
        start, end = starts[row], starts[row + 1]
        length = end - start
        if least_of[length] < 0:
            least, _, _ = fill_needs(threshold, length, needs)
            least_of[length] = least
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            if groups[index] > length - least_of[length]:
                break
            capacity[tokens[index]] += 1


@njit(cache=True, nogil=True)
def signatures_of(flat: Ints, starts: Longs) -> Words:
    """64 bits for each row, one of them set for each of its tokens."""
    found = np.zeros(len(starts) - 1, np.uint64)
    for row in range(len(found)):
        for at in range(starts[row], starts[row + 1]):
            bit = (np.uint64(flat[at]) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(58)
            found[row] |= np.uint64(1) << bit
    return found


@njit(cache=True, nogil=True)
def _decide(
    flat: Ints, starts: Longs, pool: int, threshold: float, longest: int, heads: Longs,
    keep: npt.NDArray[np.bool_], rivals: Ints,
) -> None:  # fmt: skip
    count = len(starts) - 1
    signatures = signatures_of(flat, starts)
    ends = heads[:-1].copy()  # of each token's list; it begins at its head
    post_row, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    seen, candidates = np.full(count, -1, np.int32), np.empty(count, np.int32)
    local = np.full(len(heads), -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    open_ = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    for row in range(count):
        start, end = starts[row], starts[row + 1]
        m = end - start
        if m == 0:
            keep[row] = True
            continue
        least, first, last = fill_needs(threshold, m, needs)
        different = rare_first(flat, start, end, sorted_, tokens, groups, places)
        rival = -1
        if row >= pool:
            found = 0
            for index in range(different):
                group, place, token = groups[index], places[index], tokens[index]
                if group > m - least:
                    break
                for at in range(heads[token], ends[token]):
                    rest = np.int64(post_rest[at])
                    n = rest & MOST
                    need = needs[n]
                    if group > m - need or (rest >> 16) & MOST > n - need:
                        continue
                    theirs = (rest >> 32) - 1
                    # a token that stands once in both: whatever LCS goes through it is no longer than this
                    through = min(place, theirs) + 1 + min(m - 1 - place, n - 1 - theirs)
                    if place != MANY and theirs != MANY and through < need:
                        continue
                    other = post_row[at]
                    if seen[other] == row:
                        continue
                    seen[other] = row
                    mine, its = signatures[row], signatures[other]
                    if bit_count(mine & ~its) <= m - need and bit_count(its & ~mine) <= n - need:
                        candidates[found] = other
                        found += 1
            if found:
                set_places(flat, start, end, local, lines)
                # rows of one origin stand together: the last is the likeliest
                for index in range(found - 1, -1, -1):
                    other = candidates[index]
                    begin, stop = starts[other], starts[other + 1]
                    if lcs(m, local, lines, flat, begin, stop, open_) >= needs[stop - begin]:
                        rival = other
                        break
                clear_places(flat, start, end, local)
        for length in range(first, last + 1):
            needs[length] = UNREACHABLE
        rivals[row] = rival
        keep[row] = rival < 0
        if rival < 0:
            for index in range(different):
                if groups[index] > m - least:
                    break
                at = ends[tokens[index]]
                post_row[at] = row
                post_rest[at] = np.uint64(m | np.int64(groups[index]) << 16 | np.int64(places[index] + 1) << 32)
                ends[tokens[index]] = at + 1
