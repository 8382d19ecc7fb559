"""When two vectors count as the same in meaning, and which are compared at all."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.int8]
"""[n, dimensions], at most 1,024 of them: then the sum of the products of two fits into a float32's 24 bits."""
Codes = npt.NDArray[np.uint32]
"""For each band a hash [n, bands]."""

BANDS = 64
_CAUGHT = 0.95
"""The share of the pairs exactly at the threshold that are compared at all."""
_MOST_BITS = 30
_BLOCK = 1 << 14


@dataclass(frozen=True)
class Semantic:
    """The cosine of two vectors, from a threshold on.

    Two are compared when they lie on the same side of all planes of one band at least (Charikar 2002): then what is
    similar is a matter of the two alone, whoever else is there. Vectors of whole numbers make both decisions exact.

    Attributes:
        threshold: Over 0 and up to 1.
    """

    threshold: float

    @cached_property
    def bits(self) -> int:
        """Planes in a band: the most by which at least 95% of the pairs at the threshold itself are compared.

        Two vectors at an angle a lie on the same side of a plane with a probability of 1 - a / pi.
        """
        side = 1 - math.acos(min(self.threshold, 1.0)) / math.pi
        found = 1
        for bits in range(2, _MOST_BITS + 1):
            if 1 - (1 - side**bits) ** BANDS >= _CAUGHT:
                found = bits
        return found

    def codes(self, vectors: Vectors) -> Codes:
        """The hash of each band of each vector."""
        planes = _planes(vectors.shape[1], BANDS * self.bits)
        weights = (1 << np.arange(self.bits, dtype=np.uint32)).astype(np.uint32)
        found = np.empty((len(vectors), BANDS), np.uint32)
        for start in range(0, len(vectors), _BLOCK):
            # whole numbers below 2^24: a float32 holds every sum of them exactly, in any order
            sides = vectors[start : start + _BLOCK].astype(np.float32) @ planes > 0
            found[start : start + _BLOCK] = sides.reshape(-1, BANDS, self.bits) @ weights
        return found


def _planes(dimensions: int, count: int) -> npt.NDArray[np.float32]:
    """Planes whose normals are signs drawn by a hash [dimensions, count]."""
    drawn = hashlib.shake_256(f"belle planes {dimensions}".encode()).digest(-(-dimensions * count // 8))
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8))[: dimensions * count]
    return np.ascontiguousarray(bits.reshape(count, dimensions).T * np.float32(2) - np.float32(1))
