"""Which texts of a sequence are near-duplicates of one that was kept before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from belle.data.minhash import compiled
from belle.data.minhash.banding import Table, similar_at
from belle.data.minhash.compiled import Longs, Signatures
from belle.data.minhash.signing import blocks, check, signatures


class NearDuplicates:
    """Keep a text unless one kept before it is similar to it, as ``banding`` defines it.

    Decides as a comparison of signatures with every kept text would. Takes about 1 KB of memory for each kept text at
    128 permutations, however long it is.

    Args:
        threshold: The estimated Jaccard similarity of two texts' shingles from which on the later one goes; over 0
            and up to 1.
        permutations, shingle, threads: As in ``signatures``.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(self, threshold: float, permutations: int = 128, shingle: int = 5, threads: int | None = None) -> None:
        check(permutations, shingle)
        self._similar = similar_at(threshold, permutations)
        self._permutations, self._shingle, self._threads = permutations, shingle, threads
        self._table = Table(self._similar.bands)
        self._kept: Signatures = np.empty((0, permutations), np.uint32)
        self._positions: Longs = np.empty(0, np.int64)
        self._indexed = 0  # of the two above: kept texts that have a letter
        self._given = 0

    def keep(self, texts: Sequence[str], done: Callable[[int], object] = lambda count: None) -> Longs:
        """Decide on the next texts; how they are spread over calls makes no difference.

        A text without a letter is kept, and nothing is similar to it.

        Args:
            done: Called with how many texts more are decided on.

        Returns:
            For each text -1 if it is kept, else the position (from 0, over all texts given so far) of the first kept
            text that it is similar to.
        """
        rivals = np.empty(len(texts), np.int64)
        for first, last in blocks(texts):
            signed = signatures(texts[first:last], self._permutations, self._shingle, self._threads)
            rivals[first:last] = self.keep_signed(signed)
            done(last - first)
        return rivals

    def keep_signed(self, signed: Signatures) -> Longs:
        """Decide on the next texts by what ``signatures`` gave for them, with the same settings."""
        if signed.ndim != 2 or signed.shape[1] != self._permutations:
            raise ValueError(f"signatures of {self._permutations} values are needed, found an array {signed.shape}")
        most = self._indexed + len(signed)
        if most > len(self._kept):
            room = most + most // 16
            self._kept.resize((room, self._permutations), refcheck=False)
            self._positions.resize(room, refcheck=False)
        self._table.reserve(most)
        rivals = np.empty(len(signed), np.int64)
        self._indexed = compiled.keep(
            np.ascontiguousarray(signed, np.uint32), self._given, self._kept, self._positions, self._indexed,
            self._table.slots, self._table.rings, *self._similar, rivals,
        )  # fmt: skip
        self._given += len(signed)
        return rivals
