"""Intervals of a mean by Student's t, for a handful of seeds."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from belle.errors import InputError


def within(t: float, degrees: int) -> float:
    """The probability that Student's t with so many degrees of freedom lies within ±``t``.

    By the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4, which are exact for whole degrees of freedom.
    """
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * step / (step + 1)
    if odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total


def quantile(share: float, degrees: int) -> float:
    """The t that a share of Student's t with so many degrees of freedom lies within: 4.303 for 0.95 and 2."""
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        below = within(math.sqrt(degrees) * math.tan(middle), degrees) < share
        low, high = (middle, high) if below else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def interval(differences: Sequence[float], share: float = 0.95) -> tuple[float, float, float]:
    """The mean of paired differences, and the ends of its interval.

    Raises:
        InputError: fewer than two differences, which have no spread.
    """
    n = len(differences)
    if n < 2:
        raise InputError(
            f"{n} difference{'s' * (n != 1)}: an interval needs two at least",
            where="directions", fix="name models of several seeds",
        )  # fmt: skip
    mean = fmean(differences)
    half = quantile(share, n - 1) * stdev(differences) / math.sqrt(n)
    return mean, mean - half, mean + half
