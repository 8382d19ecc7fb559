"""Which texts of a sequence are near-duplicates of one that was kept before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from belle.data.minhash import searching
from belle.data.minhash.searching import Briefs
from belle.data.minhash.signing import blocks, signatures
from belle.data.minhash.similarity import Similarity
from belle.data.minhash.sketching import Longs, Signatures
from belle.data.minhash.table import Table


class NearDuplicates:
    """Keep a text unless one kept before it is similar to it.

    Decides as a comparison of its signature with that of every kept text would. Takes about 1.5 KB of memory for
    each kept text, however long it is.

    Args:
        similarity: What counts as similar.
        threads: As in ``signatures``.
    """

    def __init__(self, similarity: Similarity, threads: int | None = None) -> None:
        self._similarity, self._threads = similarity, threads
        self._table = Table(similarity.bands)
        self._samples: Signatures = np.empty((0, similarity.sample), np.uint32)
        self._briefs: Briefs = np.empty((0, searching.BRIEF), np.uint64)
        self._positions: Longs = np.empty(0, np.int64)
        self._entered = 0  # of the three above: kept texts that have a letter
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
        for (first, last), signed in self._signed(texts):
            rivals[first:last] = self.keep_signed(signed)
            done(last - first)
        return rivals

    def _signed(self, texts: Sequence[str]) -> Iterator[tuple[tuple[int, int], Signatures]]:
        """Runs of texts with their signatures, the next ones made while those are decided on."""

        def sign(run: tuple[int, int]) -> Signatures:
            return signatures(texts[slice(*run)], self._similarity, self._threads)

        runs = list(blocks(texts))
        if len(runs) < 2 or self._threads == 1:
            yield from zip(runs, map(sign, runs), strict=True)
            return
        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(sign, runs[0])
            for number, run in enumerate(runs):
                signed = following.result()
                if number + 1 < len(runs):
                    following = ahead.submit(sign, runs[number + 1])
                yield run, signed

    def keep_signed(self, signed: Signatures) -> Longs:
        """Decide on the next texts by what ``signatures`` gave for them, with the same settings."""
        if signed.ndim != 2 or signed.shape[1] != self._similarity.width:
            raise ValueError(f"signatures of {self._similarity.width} values are needed, found an array {signed.shape}")
        most = self._entered + len(signed)
        if most > len(self._samples):
            room = most + most // 16
            self._samples.resize((room, self._similarity.sample), refcheck=False)
            self._briefs.resize((room, searching.BRIEF), refcheck=False)
            self._positions.resize(room, refcheck=False)
        self._table.reserve(most)
        rivals = np.empty(len(signed), np.int64)
        self._entered = searching.keep(
            np.ascontiguousarray(signed, np.uint32), self._given, self._samples, self._briefs, self._positions,
            self._entered, self._table.slots, self._table.rings, self._similarity.bands,
            float(self._similarity.threshold), rivals,
        )  # fmt: skip
        self._given += len(signed)
        return rivals
