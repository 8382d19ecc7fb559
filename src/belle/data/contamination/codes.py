"""The keys of many texts at once: ``belle.data.normalise.key`` as arrays of code points."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from belle.data import normalise

Codes = npt.NDArray[np.uint16]

END = 0xFFFF
"""Stands between two texts; no character of a key."""

_SEVERAL = 1  # for a character of which several letters are left
_PLANE = 0x10000
_IDENTICAL = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xAC00, 0xD7A4))
_REST = (range(0x3400), range(0x4DC0, 0x4E00), range(0xA000, 0xAC00), range(0xD7A4, 0xD800), range(0xF900, _PLANE))
_BEYOND = re.compile(f"[{chr(_PLANE)}-{chr(sys.maxunicode)}]")


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
        return self.codes[self.start(number) : self.ends[number]].tobytes().decode("utf-16-le")


@cache
def _table() -> tuple[Codes, dict[int, str]]:
    """Code point → what is left of it as one code point (0: nothing), and what is left of those with several."""
    table = np.zeros(_PLANE, np.uint16)
    several: dict[int, str] = {}
    for block in _IDENTICAL:
        same = (code if chr(code).isalnum() else 0 for code in block)
        table[block.start : block.stop] = np.fromiter(same, np.uint16, len(block))
    for code in (code for block in _REST for code in block):
        character = chr(code)
        if not (character.isalnum() or unicodedata.category(character)[0] == "S"):
            continue
        left = normalise.letters(character)
        if len(left) == 1:
            table[code] = ord(left)
        elif left:
            table[code], several[code] = _SEVERAL, left
    for variant, form in normalise.SIMPLIFIED.items():
        if ord(variant) < _PLANE:
            table[ord(variant)] = ord(normalise.letters(form))
    return table, several


def keys(texts: Sequence[str]) -> Keys:
    """Make the keys of texts, a few nanoseconds a character."""
    table, several = _table()
    left, ends = _left(texts, table)
    if (left == _SEVERAL).any():
        texts = list(texts)
        for number in np.unique(np.searchsorted(ends, np.flatnonzero(left == _SEVERAL))).tolist():
            texts[number] = texts[number].translate(several)
        left, ends = _left(texts, table)
    left[ends] = END
    # A word's first and last character are marked before anything is taken out: what stood between two words counts.
    words = np.flatnonzero((left - np.uint16(ord("0"))) <= np.uint16(ord("z") - ord("0")))
    apart = np.concatenate([[True], np.diff(words) != 1, [True]])
    first, last = apart[: len(words)], apart[1 : len(words) + 1]
    step = np.uint16(normalise.LAST - normalise.FIRST)  # and from the last of a word to the only one
    marks = (first | last) * np.uint16(normalise.FIRST) + last * step + (first & last) * step
    left[words] += marks
    codes = left[left != 0]
    return Keys(codes, np.flatnonzero(codes == END))


def _left(texts: Sequence[str], table: Codes) -> tuple[Codes, npt.NDArray[np.int64]]:
    """What is left of each character of the texts, 0 where nothing is, with a place after each; and those places."""
    joined = "\0".join(texts) + "\0"
    units = joined.encode("utf-16-le", "surrogatepass")
    if len(units) > 2 * len(joined):
        texts = [_BEYOND.sub(lambda found: normalise.letters(found.group()) or " ", text) for text in texts]
        return _left(texts, table)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1) - 1
    return table.take(np.frombuffer(units, np.uint16)), ends
