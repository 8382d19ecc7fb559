"""Signatures of texts: what decides whether two are similar, in a few hundred bytes however long they are.

Shingles are hashed to 32 bits. MinHash value k is the least of ``scale[k] * hash + shift[k]`` (mod 2**32) over a
text's shingles, one to one for each k since scale[k] is odd; of the values, a hash for each band is kept. The sample is
the least of the hashes themselves, different ones only (bottom-k: Broder 1997, Cohen and Kaplan 2007).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from belle.data.minhash.folding import fold_table, folded, points_of
from belle.data.minhash.similarity import Similarity
from belle.data.minhash.sketching import Hashes, Longs, Signatures, sign

_BLOCK = 1 << 20
"""Code points that are taken up together."""
_WORTH_THREADS = 1 << 16
"""Code points from which on several threads are quicker than one."""


def signatures(texts: Sequence[str], similarity: Similarity, threads: int | None = None) -> Signatures:
    """Sign texts; a signature is a function of its text and ``similarity`` alone.

    What counts of a text, and which texts are nothing, ``folding.folded`` says.

    Args:
        threads: How many work at once; without it, as many as there are cores.

    Returns:
        Signatures [rows, similarity.width]: hashes of the bands, then the sample, ascending, filled up with 2**32 - 1.
        Those of texts that are nothing are 2**32 - 1 throughout.
    """
    out = np.empty((len(texts), similarity.width), np.uint32)
    for first, last in blocks(texts):
        _sign_block(texts[first:last], similarity, threads or os.cpu_count() or 1, out[first:last])
    return out


def blocks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut texts into runs of about a million code points, each of one text or more."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    first = 0
    while first < len(texts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        yield first, last
        first = last


def _sign_block(texts: Sequence[str], similarity: Similarity, threads: int, out: Signatures) -> None:
    points, starts = points_of(texts), _starts(texts)
    table = fold_table()
    table.learn(points)
    odd = np.zeros(len(texts), np.bool_)
    settings = (
        similarity.shingle, *_permutations(similarity.permutations), similarity.bands, similarity.rows
    )  # fmt: skip

    def work(first: int, last: int) -> None:
        part = slice(first, last)
        sign(points, starts[first : last + 1], table.folds, False, *settings, out[part], odd[part])

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
        sign(points_of(by_hand), _starts(by_hand), table.folds, True, *settings, signed, odd[: len(rest)])
        out[rest] = signed


def _starts(texts: Sequence[str]) -> Longs:
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
    return starts


@cache
def _permutations(count: int) -> tuple[Hashes, Hashes]:
    """Factors, all odd, and summands [count] each; part of what a signature is, so they never change."""
    values = np.frombuffer(hashlib.shake_256(b"belle minhash").digest(8 * count), "<u4").astype(np.uint32)
    return values[0::2] | np.uint32(1), values[1::2].copy()
