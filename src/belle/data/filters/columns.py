"""The texts of many rows as one array, so that a question can be asked of all of them at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Texts = tuple[str, str, str]
"""A row's instruction, input and output."""
INSTRUCTION, INPUT, OUTPUT = range(3)
FIELDS = (INSTRUCTION, INPUT, OUTPUT)
NAMES = ("instruction", "input", "output")

Index = npt.NDArray[np.int64]
Table = npt.NDArray[np.bool_]
"""Yes or no for every UTF-16 code unit [65536]."""


@cache
def table_of(pattern: str | re.Pattern[str]) -> Table:
    """The code units that a pattern of one character matches, as a table; a character past U+FFFF is none."""
    table = np.zeros(1 << 16, np.bool_)
    table[[found.start() for found in re.finditer(pattern, "".join(map(chr, range(1 << 16))))]] = True
    table.flags.writeable = False
    return table


class Columns:
    """The texts of ``n`` rows as UTF-16 code units, row after row, each text with a 0 behind it.

    Attributes:
        texts: The rows' texts [n].
        units: All code units [m].
        starts, ends: Where in ``units`` each text begins, and where its 0 is [n, 3].
        chars: How many characters each text has [n, 3].
    """

    def __init__(self, texts: Sequence[Texts], units: npt.NDArray[np.uint16], ends: Index, wide: bool) -> None:
        self.texts, self.units = texts, units
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1] + 1
        chars = ends - starts
        if wide:  # characters past U+FFFF are two units each
            highs = np.flatnonzero((units & 0xFC00) == 0xD800)
            chars -= np.searchsorted(highs, ends) - np.searchsorted(highs, starts)
        self.starts, self.ends, self.chars = (array.reshape(-1, 3) for array in (starts, ends, chars))

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, texts: Iterable[Texts]) -> Columns | None:
        """Lay texts end to end, or None where that leaves a doubt: a text holds U+0000 or half of a surrogate pair.

        Raises:
            TypeError: what should be a text is none.
        """
        texts = list(texts)
        whole = "\0".join([*chain.from_iterable(texts), ""])
        try:
            units = np.frombuffer(whole.encode("utf-16-le"), np.uint16)
        except UnicodeEncodeError:
            return None
        ends = np.flatnonzero(units == 0)
        return cls(texts, units, ends, len(units) != len(whole)) if len(ends) == 3 * len(texts) else None

    def places(self, wanted: Table) -> Places:
        """Where the wanted units are; 0 must not be among them."""
        at = np.flatnonzero(wanted[self.units])
        text = np.searchsorted(self.ends.ravel(), at)
        pairs = self.units[at].astype(np.uint32) << np.uint32(16)
        pairs |= self.units[at + 1]
        return Places(text // 3, text % 3, at - self.starts.ravel()[text], pairs)


class Places(NamedTuple):
    """Some code units of ``Columns``, in their order [k].

    Attributes:
        rows, fields: In which row, and in which of its texts each is.
        offsets: How far from its text's beginning.
        pairs: The unit in the upper 16 bits, the one after it (0 at a text's end) in the lower.
    """

    rows: Index
    fields: Index
    offsets: Index
    pairs: npt.NDArray[np.uint32]
