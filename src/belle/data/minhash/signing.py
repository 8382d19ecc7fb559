"""MinHash signatures of texts (Broder 1997): the share of places in which two agree estimates how alike the texts are.

A text is the set of its character n-grams after folding. Each is hashed to 32 bits; value k of the signature is the
least of ``scale[k] * hash + shift[k]`` (mod 2**32) over them, one to one for each k since scale[k] is odd.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from belle.data.minhash.compiled import Longs, Points, Signatures, sign
from belle.data.minhash.folding import fold_table, folded, points_of

_BLOCK = 1 << 20
"""Code points that are taken up together."""
_WORTH_THREADS = 1 << 16
"""Code points from which on several threads are quicker than one."""


def signatures(
    texts: Sequence[str], permutations: int = 128, shingle: int = 5, threads: int | None = None
) -> Signatures:
    """Sign texts; a signature is a function of its text and the settings alone.

    What counts of a text, and which texts are nothing, ``folding.folded`` says. A text that has fewer characters than
    ``shingle`` then is one shingle as a whole, and so like none but the same.

    Args:
        permutations: Values in a signature; the standard error of an estimate is at most 0.5 / sqrt(permutations).
        shingle: Characters in an n-gram.
        threads: How many work at once; without it, as many as there are cores.

    Returns:
        Signatures [rows, permutations], those of texts that are nothing all 2**32 - 1. With fewer permutations they
        are the first values of those with more.

    Raises:
        ValueError: a setting out of range.
    """
    check(permutations, shingle)
    out = np.empty((len(texts), permutations), np.uint32)
    for first, last in blocks(texts):
        _sign_block(texts[first:last], shingle, threads or os.cpu_count() or 1, out[first:last])
    return out


def check(permutations: int, shingle: int) -> None:
    """Refuse settings out of range with a ValueError."""
    if permutations < 1 or shingle < 1:
        raise ValueError(f"permutations and shingle must be 1 or more, found {permutations} and {shingle}")


def blocks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut texts into runs of about a million code points, each of one text or more."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    first = 0
    while first < len(texts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        yield first, last
        first = last


def _sign_block(texts: Sequence[str], shingle: int, threads: int, out: Signatures) -> None:
    points, starts = points_of(texts), _starts(texts)
    table, (scale, shift) = fold_table(), _permutations(out.shape[1])
    table.learn(points)
    odd = np.zeros(len(texts), np.bool_)

    def work(first: int, last: int) -> None:
        part = slice(first, last)
        sign(points, starts[first : last + 1], table.folds, False, shingle, scale, shift, out[part], odd[part])

    parts = threads if len(points) >= _WORTH_THREADS else 1
    inner = np.searchsorted(starts, np.linspace(0, len(points), parts + 1)[1:-1]).tolist()
    bounds = [0, *inner, len(texts)]
    if parts == 1:
        work(*bounds)
    else:
        with ThreadPoolExecutor(parts) as workers:
            list(workers.map(work, bounds[:-1], bounds[1:]))
    rest = np.flatnonzero(odd)
    if len(rest):
        by_hand = [folded(texts[row]) for row in rest.tolist()]
        signed = np.empty((len(rest), out.shape[1]), np.uint32)
        sign(
            points_of(by_hand), _starts(by_hand), table.folds, True, shingle, scale, shift, signed, odd[: len(rest)]
        )  # fmt: skip
        out[rest] = signed


def _starts(texts: Sequence[str]) -> Longs:
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
    return starts


@cache
def _permutations(count: int) -> tuple[Points, Points]:
    """Factors, all odd, and summands [count] each; part of what a signature is, so they never change."""
    values = np.frombuffer(hashlib.shake_256(b"belle minhash").digest(8 * count), "<u4").astype(np.uint32)
    return values[0::2] | np.uint32(1), values[1::2].copy()
