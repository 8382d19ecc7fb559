"""Many rows at once: which of them a filter must look at, where telling that is cheaper than to ask it of each.

What tells is necessary for the filter to drop a row, never sufficient: the filter has the last word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple


class Columns(NamedTuple):
    """The texts of ``n`` rows, field by field."""

    instruction: Sequence[str]
    input: Sequence[str]
    output: Sequence[str]


Suspects = Callable[[Columns], Iterable[int]]
"""The rows that a filter may drop, in any order; some may come twice."""


def rows_of(places: Iterable[int], texts: Sequence[str]) -> Iterator[int]:
    """In which of the texts, joined by one character, each of some places is."""
    ends = list(accumulate(len(text) + 1 for text in texts))
    return (bisect_right(ends, place) for place in places)


def places_of(sign: str, whole: str) -> Iterator[int]:
    """Where a sign stands in a text."""
    at = whole.find(sign)
    while at >= 0:
        yield at
        at = whole.find(sign, at + 1)


def output_shorter(chars: int) -> Suspects:
    """Outputs of fewer characters, outer white space aside."""
    return lambda columns: [at for at, output in enumerate(columns.output) if len(output.strip()) < chars]


def output_longer(chars: int) -> Suspects:
    """Outputs of more characters."""
    return lambda columns: [at for at, output in enumerate(columns.output) if len(output) > chars]
