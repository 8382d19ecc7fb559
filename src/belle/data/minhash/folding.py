"""What of a text counts when near-duplicates are looked for: its characters without width, case, space, punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

import numpy as np

from belle.data.minhash.sketching import LETTER, NOT_ALONE, Folds, Points, note_pages

_PAGE = 256
_PAGES = 0x110000 // _PAGE
_KEPT = frozenset("LMNS")
_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))
"""Vowels and final consonants, which compose with the Hangul before them by rule."""
_NO_PAIR_ABOVE = 0x30000
"""Where Unicode decomposes nothing into two."""


def folded(text: str) -> str:
    """Fold ``text`` to what is compared.

    NFKC; then each character lower-cased by itself; then only letters, marks, numbers and symbols stay (Unicode's
    categories L, M, N and S): white space, punctuation, controls, surrogates and unassigned code points go. A text
    that is left without a letter (L: ideographs, kana, alphabets) is folded to nothing.
    """
    lower = "".join(map(str.lower, unicodedata.normalize("NFKC", text)))
    kinds = [unicodedata.category(character)[0] for character in lower]
    if "L" not in kinds:
        return ""
    return "".join(character for character, kind in zip(lower, kinds, strict=True) if kind in _KEPT)


def points_of(texts: Iterable[str]) -> Points:
    """The code points of texts, end to end; lone surrogates are among them."""
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32, copy=False)


class FoldTable:
    """``folded`` by code point, where that is a function of each by itself, and one or none for each.

    The others (combining marks, ⑩, ㎡) are ``NOT_ALONE``. Learnt page by page as texts need them.

    Attributes:
        folds: By code point. 4.4 MB, of which the pages in use take memory.
    """

    def __init__(self) -> None:
        self.folds: Folds = np.zeros(_PAGES * _PAGE, np.int32)
        self._known = np.zeros(_PAGES, np.bool_)

    def learn(self, points: Points) -> None:
        """Take in the pages that code points are on."""
        used = np.zeros(_PAGES, np.bool_)
        note_pages(points, used)
        for page in np.flatnonzero(used & ~self._known).tolist():
            first = page * _PAGE
            self.folds[first : first + _PAGE] = [_fold_of(chr(first + at)) for at in range(_PAGE)]
            self._known[page] = True


@cache
def fold_table() -> FoldTable:
    """The table of this process."""
    return FoldTable()


@cache
def _composing() -> frozenset[str]:
    """The characters that NFC may compose with one before them."""
    found = set(map(chr, _JAMO))
    for point in range(_NO_PAIR_ABOVE):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return frozenset(found)


def _fold_of(character: str) -> int:
    first = unicodedata.normalize("NFKD", character)[0]
    if unicodedata.combining(first) or first in _composing():
        return NOT_ALONE
    lower = "".join(map(str.lower, unicodedata.normalize("NFKC", character)))
    kept = [one for one in lower if unicodedata.category(one)[0] in _KEPT]
    if not kept:
        return 0
    if len(kept) > 1:
        return NOT_ALONE
    return ord(kept[0]) | (LETTER if unicodedata.category(kept[0])[0] == "L" else 0)
