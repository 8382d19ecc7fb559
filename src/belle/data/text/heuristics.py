"""Filters for a whole document, after its lines were cleaned: each returns the reason to drop it, or None."""

from __future__ import annotations

import re
from collections.abc import Callable

from belle.data.text.lines import SENTENCE_ENDS

DocumentFilter = Callable[[str], str | None]

STOP_CHARACTERS = "的了是在和有不人这我他也就都而及与着或之为以到说要"
"""Characters that Chinese prose of any kind is full of, and lists of words are not."""

_IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W_]")
_STOP = re.compile(f"[{STOP_CHARACTERS}]")
_PUNCTUATION = re.compile(r"[\s，。、；：？！“”‘’（）《》【】「」『』—…·,.;:?!\"'()\[\]{}%/+=<>*#`~^&|\\@$_-]")
_GRAM = 10
_LONG_ENOUGH = 60


def too_short(min_chars: int) -> DocumentFilter:
    """Make the filter that drops a document of fewer characters, white space aside."""
    return lambda text: "too_short" if len("".join(text.split())) < min_chars else None


def too_long(max_chars: int) -> DocumentFilter:
    """Make the filter that drops a document of more characters."""
    return lambda text: "too_long" if len(text) > max_chars else None


def few_ideographs(min_share: float) -> DocumentFilter:
    """Make the filter that drops a document whose letters and digits are ideographs for less than this share."""

    def filter_(text: str) -> str | None:
        letters = len(_LETTER.findall(text))
        return "few_ideographs" if len(_IDEOGRAPH.findall(text)) < min_share * letters else None

    return filter_


def many_symbols(max_share: float) -> DocumentFilter:
    """Make the filter that drops a document with more of what is neither letter, digit, punctuation nor white space.

    Symbols of mathematics and of code that a keyboard has are punctuation here; stars, arrows and boxes are not.
    """

    def filter_(text: str) -> str | None:
        others = len(text) - len(_LETTER.findall(text)) - len(_PUNCTUATION.findall(text))
        return "many_symbols" if others > max_share * len(text) else None

    return filter_


def repetition(max_share: float) -> DocumentFilter:
    """Make the filter that drops a document whose runs of 10 letters are repeats of earlier ones for more than that.

    A document of fewer than 60 letters stays.
    """

    def filter_(text: str) -> str | None:
        letters = "".join(_LETTER.findall(text))
        grams = len(letters) - _GRAM + 1
        if len(letters) < _LONG_ENOUGH:
            return None
        distinct = len({letters[start : start + _GRAM] for start in range(grams)})
        return "repetition" if grams - distinct > max_share * grams else None

    return filter_


def few_stop_characters(min_share: float) -> DocumentFilter:
    """Make the filter that drops a document whose ideographs are ``STOP_CHARACTERS`` for less than this share."""

    def filter_(text: str) -> str | None:
        return "few_stop_characters" if len(_STOP.findall(text)) < min_share * len(_IDEOGRAPH.findall(text)) else None

    return filter_


def few_sentence_ends(min_share: float) -> DocumentFilter:
    """Make the filter that drops a document of which fewer lines end with punctuation."""

    def filter_(text: str) -> str | None:
        lines = [line.rstrip() for line in text.split("\n") if line.strip()]
        ended = sum(line[-1] in SENTENCE_ENDS for line in lines)
        return "few_sentence_ends" if ended < min_share * len(lines) else None

    return filter_
