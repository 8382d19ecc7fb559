"""Filters of what is there at all, and how much of it."""

import re

from belle.data.filters.row import Filter
from belle.data.filters.suspects import Suspects, begins
from belle.jsonl import Row

_MENDS = re.compile(r"改正|修改|修正|纠|润色|检查|校对|错|病句|语病|标点|排序|排列")
_TAKES = re.compile(r"提取|抽取|找出|摘|译")
_A_WORD = 6
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_EXAMPLE = ("示例", "例子")
MIN_INSTRUCTION_CHARS = 4
MAX_INSTRUCTION_CHARS, MAX_INSTRUCTION_CHARS_WITH_EXAMPLE = 99, 149


def instruction_empty(row: Row) -> str | None:
    """Drop a row that asks nothing."""
    return None if row["instruction"].strip() else "instruction_empty"


def output_empty(row: Row) -> str | None:
    """Drop a row without an answer."""
    return None if row["output"].strip() else "output_empty"


def output_empty_suspects() -> Suspects:
    """Rows whose answer is empty, or begins with white space."""
    return Suspects(shapes=(begins(r"\s"),))


def output_equals_input(row: Row) -> str | None:
    """Drop an answer that only repeats what was given.

    An answer that equals the input stays where nothing may have been left to do: the task is to mend or sort, and
    some inputs have no fault; or it is to extract from a word, or to translate a name.
    """
    output = row["output"].strip()
    if not output:
        return None
    instruction = row["instruction"].strip()
    if output == instruction or (len(output) > 2 and output == instruction.rstrip("。.！!？?：:")):
        return "output_equals_input"
    if output != row["input"].strip():
        return None
    takes = _TAKES.search(instruction)
    if takes and len(output) <= _A_WORD and (takes.group() != "译" or output.isascii()):
        return None
    return None if _MENDS.search(instruction) else "output_equals_input"


def instruction_length(row: Row) -> str | None:
    """Drop an instruction outside BELLE's bounds: under 4 characters; with an input over 99, or 149 with an example."""
    instruction = row["instruction"].strip()
    chars = len(instruction)
    if chars < MIN_INSTRUCTION_CHARS:
        return "instruction_length"
    if chars <= MAX_INSTRUCTION_CHARS or not row["input"].strip():
        return None
    has_example = any(word in instruction for word in _EXAMPLE)
    longest = MAX_INSTRUCTION_CHARS_WITH_EXAMPLE if has_example else MAX_INSTRUCTION_CHARS
    return "instruction_length" if chars > longest else None


def not_utf8(row: Row) -> str | None:
    """Drop a row with half of a surrogate pair (as by ``\\ud83d`` alone): no UTF-8 file can hold it."""
    return "not_utf8" if any(_SURROGATE.search(value) for value in row.values() if isinstance(value, str)) else None


def too_short(field: str, min_chars: int) -> Filter:
    """Make the filter ``FIELD_too_short``: fewer than ``min_chars`` characters, outer white space aside."""
    name = f"{field}_too_short"
    return lambda row: name if len(row[field].strip()) < min_chars else None


def too_long(field: str, max_chars: int) -> Filter:
    """Make the filter ``FIELD_too_long``: more than ``max_chars`` characters, outer white space aside."""
    name = f"{field}_too_long"
    return lambda row: name if len(row[field].strip()) > max_chars else None


def output_too_short(min_chars: int) -> Filter:
    """Make the filter that drops answers of fewer than ``min_chars`` characters, outer white space aside."""
    return too_short("output", min_chars)


def output_too_long(max_chars: int) -> Filter:
    """Make the filter that drops answers of more than ``max_chars`` characters, outer white space aside."""
    return too_long("output", max_chars)
