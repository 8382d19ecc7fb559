"""When two signatures count as similar, and the table that finds those that are.

Two are similar when they agree in a share of their values, the estimated Jaccard similarity of the two sets of
shingles, that reaches the threshold, and in all values of at least one band. A band is a run of values; bands are
those of Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from belle.data.minhash.compiled import Rings, Slots, rehash

_CAUGHT = 0.9
"""The share of the pairs exactly at the threshold that agree in a band."""
_MOST = (1 << 32) - 2
"""Entries that have a number in a slot."""


class Similar(NamedTuple):
    """A threshold in terms of signatures.

    Attributes:
        bands, rows: How many bands there are, and how many values each has.
        need: The least number of equal values.
    """

    bands: int
    rows: int
    need: int


def similar_at(threshold: float, permutations: int) -> Similar:
    """Choose bands for a threshold.

    The longest by which nine in ten of the pairs at the threshold itself agree in one: two signatures of similarity s
    agree in one of b bands of r values with a probability of 1 - (1 - s**r)**b.

    Raises:
        ValueError: a threshold that is not over 0 and up to 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a threshold of similarity must be over 0 and at most 1, found {threshold}")
    rows = 1
    for length in range(2, permutations + 1):
        if 1 - (1 - threshold**length) ** (permutations // length) >= _CAUGHT:
            rows = length
    need = next(count for count in range(permutations + 1) if count / permutations >= threshold)
    return Similar(permutations // rows, rows, need)


class Table:
    """Signatures by their bands. Open addressing, with a slot for each different hash of a band; grows as asked.

    Bands whose hashes are equal share a slot: what is found there must be compared.

    Attributes:
        slots, rings: As ``compiled`` says.
    """

    def __init__(self, bands: int) -> None:
        self._bands = bands
        self.slots: Slots = np.zeros(1 << 10, np.uint64)
        self.rings: Rings = np.empty(0, np.uint32)

    def reserve(self, rows: int) -> None:
        """Make room for this many signatures, those that are in it included."""
        entries = rows * self._bands
        if entries > _MOST:
            raise ValueError(f"{rows} signatures of {self._bands} bands each; {_MOST} bands are the most")
        if entries > len(self.rings):
            self.rings.resize(entries + entries // 16, refcheck=False)
        size = len(self.slots)
        while 2 * size < 3 * entries:
            size *= 2
        if size > len(self.slots):
            slots = np.zeros(size, np.uint64)
            rehash(self.slots, slots)
            self.slots = slots
