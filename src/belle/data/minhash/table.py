"""Signatures by the hashes of their bands."""

from __future__ import annotations

import numpy as np

from belle.data.minhash.searching import Rings, Slots, rehash

_MOST = (1 << 32) - 2
"""Entries that have a number in a slot."""


class Table:
    """Open addressing, a slot for each different hash; what has a hash is a ring of entries. Grows as asked.

    Attributes:
        slots, rings: As ``searching`` says. Bands of other numbers may share a slot.
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
