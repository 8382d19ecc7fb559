"""The rows most similar to each row, and its mean similarity, among all rows that were kept before it.

Every pair's LCS is computed, many at a time: a word of 64 bits for each kept row, and for each token the list of rows
that have it with the places where it stands, so that one token of a row advances all their recurrences at once. Rows
longer than a word are compared one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from numba import njit

from belle.data.rouge.packed import (
    BITS,
    Ints,
    Longs,
    Rows,
    Words,
    bit_count,
    clear_places,
    lcs,
    score,
    set_places,
)  # fmt: skip

Floats = npt.NDArray[np.float64]

_PART = 2048
"""Rows that one thread compares before the next report of progress."""
_CLOSE = 1 - 1e-12
"""Two ways of computing one score differ by less than this."""


def rank(
    rows: Rows,
    pool: int,
    keep: npt.NDArray[np.bool_],
    top: int = 10,
    threads: int | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> tuple[Floats, Ints, Floats]:
    """Compare each row from ``pool`` on with every kept row before it.

    Exact: scores and order are those of a comparison with each; of equal scores the earlier row comes first.

    Args:
        keep: For each row whether later ones are compared with it.
        threads: How many work at once; without it, as many as there are cores.
        done: Called with how many rows more are finished.

    Returns:
        The ``top`` highest scores of each row [C, top], the indices of the rows that have them (-1 where the score
        is 0), and the mean score over all kept rows [C] (0 where there is none).
    """
    kept = np.flatnonzero(keep).astype(np.int32)
    before = np.searchsorted(kept, np.arange(pool, len(rows)))
    lengths = np.diff(rows.starts)
    heads, post_slot, post_word = _index(rows, kept)
    count = len(rows) - pool
    scores, whom = np.zeros((count, top)), np.full((count, top), -1, np.int32)
    mean = np.zeros(count)

    def work(part: npt.NDArray[np.int64]) -> None:
        _rank(
            part, pool, rows.flat, rows.starts, lengths, kept, before, heads, post_slot, post_word, rows.vocabulary,
            rows.longest, scores, whom, mean,
        )  # fmt: skip
        done(len(part))

    threads = threads or os.cpu_count() or 1
    parts = np.array_split(np.arange(count), max(threads * 8, count // _PART))
    with ThreadPoolExecutor(threads) as workers:
        list(workers.map(work, [part for part in parts if len(part)]))
    return scores, whom, mean


def _index(rows: Rows, kept: Ints) -> tuple[Longs, Ints, Words]:
    """For each token, the slots of kept rows of at most a word's length that have it, and its places in them."""
    tokens, slots, words = _entries(rows.flat, rows.starts, kept, rows.vocabulary)
    order = np.argsort(tokens, kind="stable")
    return np.searchsorted(tokens[order], np.arange(rows.vocabulary + 1)), slots[order], words[order]


@njit(cache=True, nogil=True)
def _entries(flat: Ints, starts: Longs, kept: Ints, vocabulary: int) -> tuple[Ints, Ints, Words]:
    last, found = np.full(vocabulary, -1, np.int64), 0
    tokens, slots = np.empty(len(flat), np.int32), np.empty(len(flat), np.int32)
    words = np.zeros(len(flat), np.uint64)
    for slot in range(len(kept)):
        start, end = starts[kept[slot]], starts[kept[slot] + 1]
        if end - start > BITS:
            continue
        first = found  # of this row's entries; an older one of a token is another row's
        for at in range(start, end):
            token = flat[at]
            if last[token] < first:
                last[token], tokens[found], slots[found] = found, token, slot
                found += 1
            words[last[token]] |= np.uint64(1) << np.uint64(at - start)
    return tokens[:found], slots[:found], words[:found]


@njit(cache=True, nogil=True)
def _rank(
    part: Longs, pool: int, flat: Ints, starts: Longs, lengths: Longs, kept: Ints, before: Longs, heads: Longs,
    post_slot: Ints, post_word: Words, vocabulary: int, longest: int, scores: Floats, whom: Ints, mean: Floats,
) -> None:  # fmt: skip
    full = ~np.uint64(0)
    open_ = np.full(len(kept), full, np.uint64)
    local = np.full(vocabulary, -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    room = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    inverse = np.empty(longest + 1)
    top = scores.shape[1]
    for number in part:
        start, end = starts[pool + number], starts[pool + number + 1]
        m, others = end - start, before[number]
        if m == 0 or others == 0:
            continue
        for at in range(start, end):
            token = flat[at]
            for entry in range(heads[token], heads[token + 1]):
                slot = post_slot[entry]
                if slot >= others:
                    break
                word = open_[slot]
                hit = word & post_word[entry]
                open_[slot] = (word + hit) | (word ^ hit)
        for n in range(longest + 1):
            inverse[n] = 2.0 / (m + n)
        set_places(flat, start, end, local, lines)
        total, low = 0.0, 0.0
        for slot in range(others):
            n = lengths[kept[slot]]
            if n > BITS:
                begin = starts[kept[slot]]
                common = lcs(m, local, lines, flat, begin, begin + n, room)
            else:
                common = bit_count(~open_[slot])
                open_[slot] = full
            near = common * inverse[n]
            total += near
            if near > low * _CLOSE and common > 0:
                found = score(common, m, n)
                if found > low:
                    to = top - 1
                    while to > 0 and scores[number, to - 1] < found:
                        scores[number, to] = scores[number, to - 1]
                        whom[number, to] = whom[number, to - 1]
                        to -= 1
                    scores[number, to], whom[number, to] = found, kept[slot]
                    low = scores[number, top - 1]
        clear_places(flat, start, end, local)
        mean[number] = total / others
