"""The keys of many texts at once: ``belle.data.normalise.key`` as arrays of code points."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from belle.data import normalise

Codes = npt.NDArray[np.uint32]

END = 0x3FFFF
"""Stands between two texts; no character of a key."""

_SEVERAL = 1  # for a character of which several letters are left
_PLANES = 0x40000  # all letters are below
_IDENTICAL = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xAC00, 0xD7A4), range(0x20000, 0x2F800))
_REST = (*map(range, (0, 0x4DC0, 0xA000, 0xD7A4, 0x2F800), (0x3400, 0x4E00, 0xAC00, 0x20000, 0x32400)),)
_PASSED_OVER = range(0xD800, 0xF900)


@dataclass(frozen=True)
class Keys:
    """The keys of some texts, end to end.

    Attributes:
        codes: Code points, with ``END`` after each key [C].
        ends: Where the END of each text stands in ``codes`` [N].
    """

    codes: Codes
    ends: npt.NDArray[np.int64]

    def start(self, number: int) -> int:
        """Where the key of a text begins in ``codes``."""
        return int(self.ends[number - 1]) + 1 if number else 0

    def key(self, number: int) -> str:
        """The key of a text."""
        return self.codes[self.start(number) : self.ends[number]].tobytes().decode("utf-32-le")


@cache
def _table() -> tuple[Codes, dict[int, str]]:
    """Code point → what is left of it as one code point (0: nothing), and what is left of those with several."""
    table = np.zeros(_PLANES, np.uint32)
    several: dict[int, str] = {}
    for block in _IDENTICAL:
        same = (code if chr(code).isalnum() else 0 for code in block)
        table[block.start : block.stop] = np.fromiter(same, np.uint32, len(block))
    for code in (code for block in _REST for code in block):
        character = chr(code)
        if code in _PASSED_OVER or not (character.isalnum() or unicodedata.category(character)[0] == "S"):
            continue
        left = normalise.letters(character)
        if len(left) == 1:
            table[code] = ord(left)
        elif left:
            table[code], several[code] = _SEVERAL, left
    for variant, form in normalise.SIMPLIFIED.items():
        table[ord(variant)] = ord(form)
    return table, several


def keys(texts: Sequence[str]) -> Keys:
    """Make the keys of texts, a few nanoseconds a character."""
    table, several = _table()
    left = _left(texts, table)
    if (left == _SEVERAL).any():
        texts = [text.translate(several) for text in texts]
        left = _left(texts, table)
    left[np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1) - 1] = END
    # A word's first and last character are marked before anything is taken out: what stood between two words counts.
    words = np.flatnonzero((left - np.uint32(ord("0"))) <= np.uint32(ord("z") - ord("0")))
    apart = np.concatenate([[True], np.diff(words) != 1, [True]])
    first, last = apart[:-1], apart[1:]
    marks = first * np.uint32(normalise.FIRST) + last * np.uint32(normalise.LAST)
    marks[first & last] = normalise.ONLY
    left[words] += marks[: len(words)]
    codes = left[left != 0]
    return Keys(codes, np.flatnonzero(codes == END))


def _left(texts: Sequence[str], table: Codes) -> Codes:
    points = np.frombuffer(("\0".join(texts) + "\0").encode("utf-32-le", "surrogatepass"), np.uint32)
    return table.take(points, mode="clip")
