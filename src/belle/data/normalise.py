"""Keys under which texts are the same: width, case, variant ideographs, punctuation and white space make no difference.

The key of a text is its letters, digits and mathematical signs, each in one form: compatibility decomposition (NFKD, so
full and half width fall together), case folding, simplified ideographs. Marks, punctuation, emoji and white space go.
A run of Latin letters and digits is one word: its first and last character are marked as such, so that ``4，11`` and
``4，1`` or ``3.5`` and ``35`` have different keys, and no number is the beginning of another.
"""

from __future__ import annotations

import re
import unicodedata

from belle.data.variants import SIMPLIFIED

_WORD = re.compile("[0-9a-z]+")
_NO_SIGNS = frozenset("|~")
_FORMS = {**SIMPLIFIED, "+": "＋", "<": "＜", "=": "＝", ">": "＞"}  # no sign among the codes of ASCII's words
_REMEMBERED = 1 << 16

FIRST, LAST = 0xE000, 0xE080
"""Where in Unicode's private area the first and the last character of a word stand, by their ASCII codes."""
ONLY = 0xE100
"""Where the one character of a word of one stands."""


def letters(character: str) -> str:
    """What is left of one character in a key, before words are marked: one form of it, several letters, or nothing."""
    now = character
    while True:
        kept = "".join(
            part
            for part in unicodedata.normalize("NFKD", now)
            if part.isalnum() or (unicodedata.category(part) == "Sm" and part not in _NO_SIGNS)
        )
        then = "".join(_FORMS.get(part, part) for part in unicodedata.normalize("NFC", kept.casefold()))
        if then == now:
            return now
        now = then


class _Letters(dict[int, str]):
    """Code point → what is left of it, a space where nothing is: what ``str.translate`` takes. Filled as needed."""

    def __missing__(self, code: int) -> str:
        left = letters(chr(code)) or " "
        if len(self) < _REMEMBERED:
            self[code] = left
        return left


_LETTERS = _Letters()


def _marked(word: re.Match[str]) -> str:
    text = word.group()
    if len(text) == 1:
        return chr(ONLY + ord(text))
    return f"{chr(FIRST + ord(text[0]))}{text[1:-1]}{chr(LAST + ord(text[-1]))}"


def key(text: str) -> str:
    """The key of a text; empty where it has neither letter nor digit. What is in a key stands for itself."""
    return _WORD.sub(_marked, text.translate(_LETTERS)).replace(" ", "")


def shown(key: str) -> str:
    """A key, or a part of one, as a person reads it: words unmarked and set apart."""
    parts: list[str] = []
    for character in key:
        place = ord(character) - FIRST
        if not 0 <= place < 0x180:
            parts.append(character)
            continue
        kind, letter = divmod(place, LAST - FIRST)
        parts.append({0: f" {chr(letter)}", 1: f"{chr(letter)} ", 2: f" {chr(letter)} "}[kind])
    return re.sub(" +", " ", "".join(parts)).strip()
