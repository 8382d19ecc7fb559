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

from belle.data.rouge.loops import Floats, Ints, Longs, Words, entries_of, rank_rows
from belle.data.rouge.packed import Rows

_PART = 2048
"""Rows that one thread compares before the next report of progress."""


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
        rank_rows(
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
    tokens, slots, words = entries_of(rows.flat, rows.starts, kept, rows.vocabulary)
    order = np.argsort(tokens, kind="stable")
    return np.searchsorted(tokens[order], np.arange(rows.vocabulary + 1)), slots[order], words[order]
