"""All rows that are too close to one of a few: what an edit of a set can reach.

The few are indexed by the rarest of their tokens, as in ``deciding``, and every row is held against that index.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from belle.data.rouge.deciding import MANY, MOST, rare_first, signatures_of
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

_PART = 1 << 16
"""Rows that one thread looks at."""


def join(rows: Rows, few: Longs, threshold: float) -> tuple[Longs, Longs]:
    """Every pair of one of the ``few`` (indexes of rows) and another row whose ROUGE-L F1 reaches the threshold.

    Exact. Takes time for each row, and little more for each of the few.

    Returns:
        The pairs as two arrays of indexes, ordered by the second; a pair of two of the few comes both ways round.
    """
    heads = np.zeros(rows.vocabulary + 2, np.int64)
    _count_few(rows.flat, rows.starts, few, threshold, rows.longest, heads)
    np.cumsum(heads, out=heads)
    post_few, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    _index_few(rows.flat, rows.starts, few, threshold, rows.longest, heads, post_few, post_rest)
    signatures = signatures_of(rows.flat, rows.starts)

    def part(start: int) -> tuple[Ints, Ints]:
        end = min(start + _PART, len(rows))
        return _join(
            rows.flat, rows.starts, start, end, few, threshold, rows.longest, heads, post_few, post_rest, signatures
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = list(threads.map(part, range(0, len(rows), _PART)))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    slots = np.concatenate([slots for slots, _ in found])
    return few[slots], np.concatenate([others for _, others in found]).astype(np.int64)


@njit(cache=True, nogil=True)
def _count_few(flat: Ints, starts: Longs, few: Longs, threshold: float, longest: int, heads: Longs) -> None:
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    for row in few:
        start, end = starts[row], starts[row + 1]
        least, _, _ = fill_needs(threshold, end - start, needs)
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            if groups[index] > end - start - least:
                break
            heads[tokens[index] + 1] += 1


@njit(cache=True, nogil=True)
def _index_few(
    flat: Ints, starts: Longs, few: Longs, threshold: float, longest: int, heads: Longs, post_few: Ints,
    post_rest: Words,
) -> None:  # fmt: skip
    ends = heads[:-1].copy()
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    for slot in range(len(few)):
        start, end = starts[few[slot]], starts[few[slot] + 1]
        m = end - start
        least, _, _ = fill_needs(threshold, m, needs)
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            if groups[index] > m - least:
                break
            at = ends[tokens[index]]
            post_few[at] = slot
            post_rest[at] = np.uint64(m | np.int64(groups[index]) << 16 | np.int64(places[index] + 1) << 32)
            ends[tokens[index]] = at + 1


@njit(cache=True, nogil=True)
def _join(
    flat: Ints, starts: Longs, first_row: int, last_row: int, few: Longs, threshold: float, longest: int,
    heads: Longs, post_few: Ints, post_rest: Words, signatures: Words,
) -> tuple[Ints, Ints]:  # fmt: skip
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    least_of = np.full(longest + 1, -1, np.int64)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    seen, candidates = np.full(len(few), -1, np.int32), np.empty(len(few), np.int32)
    local = np.full(len(heads), -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    open_ = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    slots: Ints = np.empty(1024, np.int32)
    others: Ints = np.empty(1024, np.int32)
    pairs = 0
    for row in range(first_row, last_row):
        start, end = starts[row], starts[row + 1]
        m = end - start
        if m == 0:
            continue
        first, last = 0, -1
        if least_of[m] < 0:
            least_of[m], first, last = fill_needs(threshold, m, needs)
        least = least_of[m]
        different = rare_first(flat, start, end, sorted_, tokens, groups, places)
        found = 0
        for index in range(different):
            group, place, token = groups[index], places[index], tokens[index]
            if group > m - least:
                break
            if heads[token] == heads[token + 1]:
                continue
            if last < first:
                _, first, last = fill_needs(threshold, m, needs)
            for at in range(heads[token], heads[token + 1]):
                rest = np.int64(post_rest[at])
                n = rest & MOST
                need = needs[n]
                if group > m - need or (rest >> 16) & MOST > n - need:
                    continue
                theirs = (rest >> 32) - 1
                through = min(place, theirs) + 1 + min(m - 1 - place, n - 1 - theirs)
                if place != MANY and theirs != MANY and through < need:
                    continue
                slot = post_few[at]
                if seen[slot] == row:
                    continue
                seen[slot] = row
                other = few[slot]
                mine, its = signatures[row], signatures[other]
                near = bit_count(mine & ~its) <= m - need and bit_count(its & ~mine) <= n - need
                if near and other != row:
                    candidates[found] = slot
                    found += 1
        if found:
            set_places(flat, start, end, local, lines)
            for index in range(found):
                slot = candidates[index]
                begin, stop = starts[few[slot]], starts[few[slot] + 1]
                if lcs(m, local, lines, flat, begin, stop, open_) >= needs[stop - begin]:
                    if pairs == len(slots):
                        slots = np.concatenate((slots, np.empty(pairs, np.int32)))
                        others = np.concatenate((others, np.empty(pairs, np.int32)))
                    slots[pairs], others[pairs] = slot, row
                    pairs += 1
            clear_places(flat, start, end, local)
        for length in range(first, last + 1):
            needs[length] = UNREACHABLE
    return slots[:pairs], others[:pairs]
