"""How long texts are: exact figures and a histogram, counted as they come."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from typing import Any

EDGES = (0, 1, *(edge for power in range(1, 40) for edge in (2**power, 3 * 2 ** (power - 1))))
"""Lower bounds of the bins: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, … Equal in every set, so that sets can be compared."""


class Lengths:
    """Lengths of many texts, in characters; keeps one number for each length that occurs."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        """Count one text."""
        self._counts[length] += 1

    def merge(self, other: Lengths) -> None:
        """Count what ``other`` has counted, too."""
        self._counts.update(other._counts)

    def as_json(self) -> dict[str, Any]:
        """Give ``min, mean, median, p95, max`` and ``histogram``: ``edges`` and ``counts``.

        Bin i has the texts of ``edges[i]`` to under ``edges[i + 1]`` characters; there is one edge more than counts.
        The bins end with the longest text. Median and p95 are lengths that occur (the lower median). All are 0, and
        there is no bin, where nothing was counted.
        """
        total = self._counts.total()
        if not total:
            zeros: dict[str, Any] = {"min": 0, "mean": 0.0, "median": 0, "p95": 0, "max": 0}
            return {**zeros, "histogram": {"edges": [0], "counts": []}}
        lengths = sorted(self._counts)
        up_to = list(accumulate(self._counts[length] for length in lengths))
        counts = [0] * bisect_right(EDGES, lengths[-1])
        for length in lengths:
            counts[bisect_right(EDGES, length) - 1] += self._counts[length]
        return {
            "min": lengths[0],
            "mean": round(sum(length * count for length, count in self._counts.items()) / total, 2),
            "median": lengths[bisect_right(up_to, (total - 1) // 2)],
            "p95": lengths[bisect_right(up_to, (95 * total + 99) // 100 - 1)],
            "max": lengths[-1],
            "histogram": {"edges": list(EDGES[: len(counts) + 1]), "counts": counts},
        }
