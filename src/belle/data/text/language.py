"""Which language a text is in, as far as its characters tell."""

from __future__ import annotations

import re
from collections import Counter

_CLASSES = (
    ("ideograph", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"),
    ("kana", "\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d"),
    ("hangul", "\u1100-\u11ff\uac00-\ud7a3"),
    ("latin", "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ"),
    ("cyrillic", "\u0400-\u052f"),
    ("arabic", "\u0600-\u06ff\u0750-\u077f"),
    ("thai", "\u0e01-\u0e4e"),
    ("devanagari", "\u0900-\u097f"),
    ("greek", "\u0370-\u03ff"),
)
_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in _CLASSES}

# A word of Latin or Cyrillic letters is five of them or so; an ideograph is most of a word.
_LETTERS_A_WORD = {"latin": 5, "cyrillic": 5, "arabic": 4, "thai": 4, "devanagari": 4, "greek": 5, "hangul": 2}
_KANA_IN_JAPANESE = 0.2

LANGUAGES = ("zh", "ja", "ko", "latin", "cyrillic", "arabic", "thai", "devanagari", "greek", "none")
"""What a text can be told to be in: Chinese, Japanese, Korean, another language by its script, or none."""


def language(text: str) -> str:
    """One of ``LANGUAGES``: that which most of the text's words are in, an ideograph counting as two thirds of one.

    Japanese is told from Chinese by its kana: more than one letter in five, which a Chinese text about Japan does not
    come to.
    """
    counts = Counter({name: len(pattern.findall(text)) for name, pattern in _LETTERS.items()})
    han, kana = counts.pop("ideograph"), counts.pop("kana")
    words = {name: count / _LETTERS_A_WORD[name] for name, count in counts.items()}
    japanese = kana > _KANA_IN_JAPANESE * (han + kana)
    words["ja" if japanese else "zh"] = (han + kana) / 1.5
    words["ko"] = words.pop("hangul")
    best = max(words, key=lambda name: (words[name], name))
    return best if words[best] else "none"
