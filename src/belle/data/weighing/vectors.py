"""States of a model as small vectors of whole numbers, the same on every machine that gives the same states.

The states of a language model lie in a narrow cone, and a few dimensions outweigh the rest (arXiv 2109.04404): each is
centred and scaled as it is over a reference, question and answer are given their shares, and what is left is rounded,
projected by signs (Achlioptas 2003) and rounded again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.int8]
States = npt.NDArray[np.float64]

LARGEST = 127
_FINE = 1 << 12
"""To which a value is rounded before it is projected: sums of such numbers are exact, in any order."""
_LEAST = 1e-6


class Vectors:
    """Makes a row's vector of its states.

    Args:
        reference: States of reference rows, of questions and of answers [R, 2, hidden].
        answer_weight: The answer's share of a vector, 0 to 1.
        dimensions: Numbers in a vector, where that is fewer than the states of both have.
    """

    def __init__(self, reference: Sequence[States], answer_weight: float, dimensions: int) -> None:
        stacked: npt.NDArray[np.float64] = np.stack(list(reference))
        count, width = len(stacked), 2 * stacked.shape[2]
        self._mean = _sum(stacked) / count
        spread = np.sqrt(_sum((stacked - self._mean) ** 2) / count)
        self._scale = np.maximum(spread, _LEAST * max(1.0, float(spread.max())))
        self._shares = (math.sqrt(1 - answer_weight), math.sqrt(answer_weight))
        self.size = min(dimensions, width)
        self._signs = None if self.size == width else _signs(width, self.size)

    def of(self, states: States) -> Vector:
        """The vector of states [2, hidden]; zeros where a row has neither question nor answer [size]."""
        standard = (states - self._mean) / self._scale
        halves = []
        for share, half, given in zip(self._shares, standard, states, strict=True):
            length = math.sqrt(math.fsum((half * half).tolist())) if given.any() else 0.0
            halves.append(half * (share / length) if length else np.zeros_like(half))
        whole = _rounded(np.concatenate(halves), _FINE)
        if self._signs is not None:
            # whole numbers below 2^53: exact whatever the order of the sums
            whole = _rounded(whole @ self._signs, _FINE)
        return _rounded(whole, LARGEST).astype(np.int8)


def _sum(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums over the first axis, one row after the other."""
    total = np.zeros(values.shape[1:])
    for value in values:
        total += value
    return total


def _rounded(values: npt.NDArray[np.float64], largest: int) -> npt.NDArray[np.float64]:
    """Values as whole numbers, the largest of them ``largest``; zeros stay zeros."""
    most = float(np.abs(values).max(initial=0.0))
    found: npt.NDArray[np.float64] = np.rint(values * (largest / most if most else 0.0))
    return found


def _signs(width: int, size: int) -> npt.NDArray[np.float64]:
    """+1 and -1, drawn by a hash, so that no version of a library has a say in them [width, size]."""
    drawn = hashlib.shake_256(f"belle vectors {width} {size}".encode()).digest(-(-width * size // 8))
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8))[: width * size]
    signs: npt.NDArray[np.float64] = bits.reshape(width, size).astype(np.float64) * 2 - 1
    return signs
