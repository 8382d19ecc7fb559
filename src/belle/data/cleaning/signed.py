"""The MinHash signatures of rows, a kilobyte each, which are not copied when rows come, go or move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from belle.data.cleaning.same import Index

Signatures = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Signed:
    """Signatures in blocks, and which of them are whose.

    Attributes:
        blocks: Arrays [n, width] that are never written to; signatures of rows that are gone may be among them.
        places: For each row, its signature's number among those of all blocks, end to end [p]; of no two rows the same.
        hashed: What hashed the bytes of the first block, where that one lies in a file.
    """

    blocks: tuple[Signatures, ...]
    places: Index
    hashed: Any = None

    @classmethod
    def of(cls, signatures: Signatures) -> Signed:
        """One block, a row for each of its signatures."""
        return cls((signatures,), np.arange(len(signatures)))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def size(self) -> int:
        """How many signatures lie in the blocks."""
        return sum(len(block) for block in self.blocks)

    @property
    def width(self) -> int:
        """Numbers in a signature; 0 without any."""
        return max((block.shape[1] for block in self.blocks if len(block)), default=0)

    def placed(self) -> Iterator[tuple[int, Signatures]]:
        """The blocks, each with the number of its first signature."""
        start = 0
        for block in self.blocks:
            if len(block):
                yield start, block
            start += len(block)

    def at(self, rows: Index) -> Signatures:
        """The signatures of some rows, copied."""
        places = self.places[rows]
        found = np.empty((len(rows), self.width), np.uint32)
        for start, block in self.placed():
            here = (places >= start) & (places < start + len(block))
            found[here] = block[places[here] - start]
        return found

    def rows(self) -> Index:
        """For each signature in the blocks whose it is, -1 where no row has it any more."""
        found = np.full(self.size, -1, np.int64)
        found[self.places] = np.arange(len(self.places))
        return found

    def behind(self, other: Signed, places: Index) -> Signed:
        """These blocks and another's behind them, with places among all of those."""
        return Signed((*self.blocks, *other.blocks), places, self.hashed)
