"""The formats that rows come in, how each is told from the others, and who reads it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from belle.data.importing import dialogues, single
from belle.errors import InputError, shown
from belle.jsonl import Row

Read = Callable[[Row, str], Row]
"""(row, place) → the fields of a raw row; raises ``Dropped`` where they cannot hold it."""


@dataclass(frozen=True)
class Format:
    """One format of rows.

    ``fits`` says whether a row is of it: True, False, or None where the row does not tell.
    """

    reads: str
    fits: Callable[[Row], bool | None]
    read: Read


def _never(row: Row) -> bool:
    return False


FORMATS: dict[str, Format] = {
    "instruction": Format("instruction, output (and input)", single.is_instruction, single.instruction),
    "input-target": Format("input, target", single.is_input_target, single.input_target),
    "belle-multiturn": Format(
        "instruction with Human: and Assistant: turns, output", dialogues.is_belle_multiturn, dialogues.belle_multiturn
    ),
    "role-dialogue": Format("instruction with two roles, output with their dialogue", _never, dialogues.role_dialogue),
    "sharegpt": Format("conversations (or items) of from, value", dialogues.is_sharegpt, dialogues.sharegpt),
    "messages": Format("messages (or conversations) of role, content", dialogues.is_messages, dialogues.messages),
    "moss": Format("chat with turn_1: Human, MOSS", dialogues.is_moss, dialogues.moss),
    "moss-text": Format("plain_text with [Human] and [MOSS]", dialogues.is_moss_text, dialogues.moss_text),
    "text": Format("text", single.is_text, single.text_row),
    "text-lines": Format("a .txt file, a document a line", _never, single.text_row),
    "text-files": Format("a .txt file a document", _never, single.text_row),
}
"""Name → format. ``role-dialogue`` looks as ``instruction`` does and is read only where it is named."""

AUTO = "auto"
PEEKED = 20
"""Rows from which the format is told."""


def recognised(row: Row) -> bool:
    """Whether a row is of any format."""
    return any(form.fits(row) for form in FORMATS.values())


def choose(name: str, rows: Sequence[tuple[str, Row]]) -> str:
    """The format of rows.

    Args:
        name: A name in ``FORMATS``, which is taken; or ``auto``.
        rows: The first rows with their places.

    Raises:
        InputError: an unknown name, rows of no format, or rows that could be of several.
    """
    if name in FORMATS:
        return name
    if name != AUTO:
        raise InputError(
            f"there is no format {shown(name)}",
            where="`format` of the dataset",
            cause="a slip of the pen",
            fix=f"choose one of {AUTO}, {', '.join(FORMATS)}",
        )
    votes = [(where, row, [key for key, form in FORMATS.items() if form.fits(row)]) for where, row in rows]
    for where, row, names in votes:
        if not names and not any(form.fits(row) is None for form in FORMATS.values()):
            raise InputError(
                f"no known format has the fields {fields_of(row)}",
                where=where,
                cause="columns under other names, or a file that holds no training rows",
                fix="rename the columns; formats and what they read: "
                + "; ".join(f"{key}: {form.reads}" for key, form in FORMATS.items()),
            )
        if len(names) > 1:
            raise _ambiguous(where, names, f"its fields are {fields_of(row)}")
    told = [(where, names[0]) for where, _, names in votes if names]
    if not told:
        raise InputError(
            f"the first {len(rows)} rows do not tell their format",
            where=rows[0][0] if rows else "",
            cause="conversations without a turn",
            fix="name it under `format:` in params.yaml",
        )
    first = told[0][1]
    for where, other in told:
        if other != first:
            raise _ambiguous(where, [first, other], f"{told[0][0]} looks as {first}, this one as {other}")
    return first


def _ambiguous(where: str, names: list[str], seen: str) -> InputError:
    return InputError(
        f"could be {' or '.join(names)}: {seen}",
        where=where,
        cause="a file that carries the same rows in two shapes, or two files in one",
        fix=f"name the one that is meant in params.yaml, as `format: {names[0]}`",
    )


_ALIKE = ({"instruction", "belle-multiturn", "role-dialogue"}, {"text", "text-lines", "text-files"})
"""Formats of the same fields: which is meant is not told row by row."""


def check_fits(form: str, row: Row, where: str) -> None:
    """Refuse a row that is clearly of another format than the rows before it.

    Raises:
        InputError: it is.
    """
    if FORMATS[form].fits(row):
        return
    other = [key for key, item in FORMATS.items() if item.fits(row)]
    if not other or any({form, *other} <= alike for alike in _ALIKE):
        return
    raise InputError(
        f"a row of the format {other[0]} among rows of the format {form}; its fields are {fields_of(row)}",
        where=where,
        cause="two files put together",
        fix="split them, and import each as a dataset of its own",
    )


def fields_of(row: Row) -> str:
    """The names of a row's fields, for a message."""
    names = [str(key)[:40] for key in row]
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "none"
