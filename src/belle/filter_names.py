"""The names of filters as params.yaml writes them, some with values: ``refusal``, ``input_too_long:500``.

One text for a filter and its value, because a list of texts is what a command line and DVC's ``${key}`` can carry. What
the filters do is in ``belle.data.filters``; this says what can be named, so that params.yaml can be checked whole.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

PLAIN = (
    "instruction_empty", "output_empty", "output_equals_input", "instruction_length", "blacklist", "gpt_self_reference",
    "refusal", "asks_back", "unanswerable", "input_missing", "not_chinese", "foreign_input", "mixed_script",
    "traditional", "mojibake", "repetition", "markup_left", "truncated", "personal_data",
)  # fmt: skip
"""Filters that need no value."""
LIMITS = ("instruction_too_short", "instruction_too_long", "input_too_long")
"""Filters whose value is a number of characters; outputs have their limits in every recipe."""
WORDS = ("blacklist",)
"""Filters whose value is a list of words, divided by commas."""

_MOST_CHARS = 1 << 24
_WORD = re.compile(r"[^\s,\x00-\x1f\x7f](?:[^,\x00-\x1f\x7f]*[^\s,\x00-\x1f\x7f])?")


class Spec(NamedTuple):
    """A filter and its value: a number of characters, words, or None."""

    name: str
    chars: int | None = None
    words: tuple[str, ...] | None = None


def parse(text: str) -> Spec:
    """Read a filter as params.yaml names it.

    Raises:
        ValueError: no such filter, or a value that it cannot have.
    """
    name, colon, value = text.partition(":")
    if name not in (*PLAIN, *LIMITS):
        near = difflib.get_close_matches(name, (*PLAIN, *LIMITS), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join((*PLAIN, *LIMITS))}"
        raise ValueError(f"unknown filter {name!r}{hint}")
    if name in LIMITS:
        if not (value.isascii() and value.isdigit()) or not 0 < int(value[:12]) <= _MOST_CHARS:
            raise ValueError(f"{name} takes a number of characters from 1 on, as {name}:40; found {value!r}")
        return Spec(name, chars=int(value))
    if not colon:
        return Spec(name)
    if name not in WORDS:
        raise ValueError(f"{name} takes no value, found {value!r}")
    words = tuple(value.split(","))
    wrong = [word for word in words if not _WORD.fullmatch(word) or "${" in word]
    if wrong:
        raise ValueError(
            f"{name} takes words divided by commas, as {name}:图片,链接 (no line end and no ${{ in a word, "
            f"no space at its ends); found {wrong[0]!r}"
        )
    return Spec(name, words=tuple(dict.fromkeys(words)))


def checked(text: str) -> str:
    """The text as it is, if it names a filter."""
    parse(text)
    return text


def no_name_twice(texts: list[str]) -> list[str]:
    """The filters as they are, if each is named once: a reason must say which filter it was.

    Raises:
        ValueError: one is named twice.
    """
    names = [text.partition(":")[0] for text in texts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
    return texts
