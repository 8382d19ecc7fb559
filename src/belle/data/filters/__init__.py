"""Filters for training rows: each looks at one row and returns its name as the reason to drop it, or None.

They are written for Chinese instruction data as ChatGPT and its kin write it. Each errs on the side of
keeping a row: what it looks for must be a fault of the row, not its subject ("写一封道歉信" may say sorry).
A row of any length costs time in proportion to it. How often each is right is in docs/filters.md.
"""

from collections.abc import Callable

from belle.data.filters.columns import NAMES, OUTPUT, Columns
from belle.data.filters.damage import markup_left, mojibake, mojibake_suspects
from belle.data.filters.ending import repetition, truncated
from belle.data.filters.presence import (
    instruction_empty,
    instruction_length,
    not_utf8,
    output_empty,
    output_empty_suspects,
    output_equals_input,
    output_too_long,
    output_too_short,
    too_long,
    too_short,
)
from belle.data.filters.privacy import personal_data
from belle.data.filters.row import Filter
from belle.data.filters.script import foreign_input, mixed_script, not_chinese, not_chinese_suspects, traditional
from belle.data.filters.suspects import Searching, Suspects, longer, shorter
from belle.data.filters.task import blacklist, blacklist_of, blacklist_suspects, input_missing, unanswerable
from belle.data.filters.teacher import (
    asks_back,
    gpt_self_reference,
    gpt_self_reference_suspects,
    refusal,
    refusal_suspects,
)
from belle.filter_names import parse

__all__ = [
    "FILTERS",
    "SUSPECTS",
    "Columns",
    "Filter",
    "Searching",
    "Suspects",
    "blacklist_of",
    "named",
    "not_utf8",
    "output_longer",
    "output_shorter",
    "output_too_long",
    "output_too_short",
    "suspects_of",
    "too_long",
    "too_short",
]

FILTERS: dict[str, Filter] = {
    "instruction_empty": instruction_empty,
    "output_empty": output_empty,
    "output_equals_input": output_equals_input,
    "instruction_length": instruction_length,
    "blacklist": blacklist,
    "gpt_self_reference": gpt_self_reference,
    "refusal": refusal,
    "asks_back": asks_back,
    "unanswerable": unanswerable,
    "input_missing": input_missing,
    "not_chinese": not_chinese,
    "foreign_input": foreign_input,
    "mixed_script": mixed_script,
    "traditional": traditional,
    "mojibake": mojibake,
    "repetition": repetition,
    "markup_left": markup_left,
    "truncated": truncated,
    "personal_data": personal_data,
}
"""The filters that a recipe can name; those of lengths, UTF-8 and duplicates always apply."""

SUSPECTS: dict[str, Callable[[], Suspects]] = {
    "output_empty": output_empty_suspects,
    "blacklist": blacklist_suspects,
    "gpt_self_reference": gpt_self_reference_suspects,
    "refusal": refusal_suspects,
    "not_chinese": not_chinese_suspects,
    "mojibake": mojibake_suspects,
}
"""Of some filters, which of many rows they may drop: they need not be asked of the others."""


def named(text: str) -> Filter:
    """Make the filter that a recipe names, with its value if it has one: ``refusal``, ``input_too_long:500``.

    Raises:
        ValueError: there is none, or its value is none that it can have.
    """
    spec = parse(text)
    if spec.chars is not None:
        field, _, side = spec.name.partition("_too_")
        return (too_short if side == "short" else too_long)(field, spec.chars)
    return blacklist_of(spec.words) if spec.words else FILTERS[spec.name]


def suspects_of(text: str) -> Suspects | None:
    """The rows that a filter as a recipe names it may drop, or None where that takes as long as to ask it."""
    spec = parse(text)
    if spec.chars is not None:
        name, _, side = spec.name.partition("_too_")
        return (shorter if side == "short" else longer)(NAMES.index(name), spec.chars)
    if spec.words:
        return blacklist_suspects(spec.words)
    return SUSPECTS[spec.name]() if spec.name in SUSPECTS else None


def output_shorter(chars: int) -> Suspects:
    """The rows that ``output_too_short`` may drop."""
    return shorter(OUTPUT, chars)


def output_longer(chars: int) -> Suspects:
    """The rows that ``output_too_long`` may drop."""
    return longer(OUTPUT, chars)
