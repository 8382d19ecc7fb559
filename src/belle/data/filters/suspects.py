"""Which of many rows a filter must look at, where telling that is cheaper than to ask it of each.

What tells is necessary for the filter to drop a row, never sufficient: the filter has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from belle.data.filters.columns import FIELDS, OUTPUT, Columns, Index, Places, Table, table_of

_AMONG = 8


class Signs:
    """Rows that hold one of some words or characters: of a word, its first two characters tell.

    Args:
        words: They are looked for.
        chars: A pattern of single characters that are looked for.
        fields: In which texts.
        within: So many code units from a text's beginning; None for anywhere.
    """

    def __init__(
        self, *words: str, chars: str | re.Pattern[str] = "(?!)", fields: Iterable[int] = FIELDS,
        within: int | None = None,
    ) -> None:  # fmt: skip
        pairs = [np.frombuffer(word.encode("utf-16-le"), np.uint16)[:2] for word in words]
        self._alone = table_of(chars).copy()
        self._alone[[int(pair[0]) for pair in pairs if len(pair) == 1]] = True
        self._pairs = np.array([int(pair[0]) << 16 | int(pair[1]) for pair in pairs if len(pair) == 2], np.uint32)
        self.wanted: Table = self._alone.copy()
        self.wanted[self._pairs >> 16] = True
        if self.wanted[0]:
            raise ValueError("U+0000 is between texts and in none")
        self._fields = np.isin(FIELDS, list(fields))
        self._within = within

    def rows(self, places: Places) -> Index:
        """The rows, rising; some come twice."""
        here = self._alone[places.pairs >> 16] | np.isin(places.pairs, self._pairs)
        if not self._fields.all():
            here &= self._fields[places.fields]
        if self._within is not None:
            here &= places.offsets < self._within
        return places.rows[here]


Shape = Callable[[Columns], Index]
"""Tells rows by something else than signs; in any order."""


@dataclass(frozen=True)
class Suspects:
    """The rows that a filter may drop: those with any of some signs, and those of some shape."""

    signs: tuple[Signs, ...] = ()
    shapes: tuple[Shape, ...] = ()


class Searching:
    """Searches rows for the signs of several filters in one pass."""

    def __init__(self, of: Sequence[Suspects | None]) -> None:
        self._of = of
        self._wanted = np.zeros(1 << 16, np.bool_)
        for some in of:
            for sign in some.signs if some else ():
                self._wanted |= sign.wanted

    def rows(self, columns: Columns) -> list[Iterable[int]]:
        """Those that each filter must look at, rising."""
        places = columns.places(self._wanted)
        return [range(len(columns)) if some is None else _rows(some, columns, places) for some in self._of]


def _rows(some: Suspects, columns: Columns, places: Places) -> list[int]:
    found = [*(sign.rows(places) for sign in some.signs), *(shape(columns) for shape in some.shapes)]
    return list(map(int, np.unique(np.concatenate(found)))) if found else []


def begins(chars: str | re.Pattern[str]) -> Shape:
    """Outputs whose first character matches a pattern, and empty ones."""
    table = table_of(chars).copy()
    table[0] = True
    return lambda columns: np.flatnonzero(table[columns.units[columns.starts[:, OUTPUT]]])


def without_soon(chars: str | re.Pattern[str]) -> Shape:
    """Outputs with none of some characters near their beginning."""
    table = table_of(chars).copy()
    table[0] = False  # behind a text

    def rows(columns: Columns) -> Index:
        starts, ends = columns.starts[:, OUTPUT], columns.ends[:, OUTPUT]
        found: npt.NDArray[np.bool_] = np.zeros(len(columns), np.bool_)
        for after in range(_AMONG):
            found |= table[columns.units[np.minimum(starts + after, ends)]]
        return np.flatnonzero(~found)

    return rows


def shorter(at: int, chars: int) -> Suspects:
    """Texts of a field with fewer characters, outer white space aside."""

    white = table_of(r"\s")

    def rows(columns: Columns) -> Index:
        starts, ends = columns.starts[:, at], columns.ends[:, at]
        outer = white[columns.units[starts]] | white[columns.units[np.maximum(starts, ends - 1)]]
        return np.flatnonzero((columns.chars[:, at] < chars) | outer)

    return Suspects(shapes=(rows,))


def longer(at: int, chars: int) -> Suspects:
    """Texts of a field with more characters."""
    return Suspects(shapes=(lambda columns: np.flatnonzero(columns.chars[:, at] > chars),))
