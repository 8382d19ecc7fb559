"""When two texts count as near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

_CAUGHT = 0.95
"""The share of the pairs exactly at the threshold that are compared at all."""


@dataclass(frozen=True)
class Similarity:
    """The Jaccard similarity of two texts' sets of shingles, from a threshold on.

    Two are compared when their MinHash values (Broder 1997) agree in all of one band at least: a run of ``rows``
    values, of which there are ``bands`` (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). What
    is compared are samples, the least hashes of each set's shingles: exact where both have fewer than ``sample`` of
    them, else an estimate, with a standard error of 0.5 / sqrt(sample) at most.

    Attributes:
        threshold: Over 0 and up to 1.
        permutations: MinHash values of a text.
        shingle: Characters in a shingle. A text of fewer, after folding, is one shingle as a whole, and so like none
            but the same.
        sample: The most hashes in a sample.

    Raises:
        ValueError: a setting out of range.
    """

    threshold: float
    permutations: int = 128
    shingle: int = 5
    sample: int = 256

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"a threshold of similarity must be over 0 and at most 1, found {self.threshold}")
        for name in ("permutations", "shingle", "sample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, found {getattr(self, name)}")

    @cached_property
    def rows(self) -> int:
        """Values in a band: the most by which at least 95% of the pairs at the threshold itself are compared.

        A pair of similarity s agrees in one of b bands of r values with a probability of 1 - (1 - s**r)**b.
        """
        found = 1
        for rows in range(2, self.permutations + 1):
            if 1 - (1 - self.threshold**rows) ** (self.permutations // rows) >= _CAUGHT:
                found = rows
        return found

    @cached_property
    def bands(self) -> int:
        """How many bands there are."""
        return self.permutations // self.rows

    @property
    def width(self) -> int:
        """Values in a signature."""
        return self.bands + self.sample
