"""A number that is not known yet: what to expect, and the bounds that it will lie between, we think."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

Z95 = 1.96


@dataclass(frozen=True)
class Interval:
    """Expected, low and high. Sums and products of bounds: wider than independent errors would be, never narrower."""

    mean: float
    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """A number that is known."""
        return cls(value, value, value)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.mean + other.mean, self.low + other.low, self.high + other.high)

    def __mul__(self, other: Interval | float) -> Interval:
        if not isinstance(other, Interval):
            other = Interval.exactly(other)
        return Interval(self.mean * other.mean, self.low * other.low, self.high * other.high)

    def __truediv__(self, other: Interval) -> Interval:
        return Interval(self.mean / other.mean, self.low / other.high, self.high / other.low)

    @property
    def exact(self) -> bool:
        """Whether it is known."""
        return self.low == self.high

    def as_json(self, digits: int = 0) -> dict[str, float]:
        """``expected``, ``low``, ``high``, rounded."""
        values = {"expected": self.mean, "low": self.low, "high": self.high}
        return {name: round(value, digits) if digits else round(value) for name, value in values.items()}


NOTHING = Interval(0.0, 0.0, 0.0)


def mean_of(sample: Sequence[float], count: float) -> Interval:
    """The mean of ``count`` more draws, judged by a sample (95%): both the sample and the draws scatter."""
    middle = fmean(sample)
    if len(sample) < 2 or count <= 0:
        return Interval(middle, 0.5 * middle, 2 * middle) if len(sample) < 2 else Interval.exactly(middle)
    half = Z95 * stdev(sample) * math.sqrt(1 / count + 1 / len(sample))
    return Interval(middle, max(0.0, middle - half), middle + half)


def total(parts: Sequence[Interval]) -> Interval:
    """The sum of several."""
    return sum(parts, NOTHING)
