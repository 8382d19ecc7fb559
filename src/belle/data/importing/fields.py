"""The fields of a foreign row, checked as they are taken."""

from typing import Any

from belle.errors import InputError, shown
from belle.jsonl import Row

REASONS = (
    "empty", "no_turns", "unanswered", "roles_out_of_turn", "unknown_role", "tool_turn", "not_text", "not_utf8",
)  # fmt: skip
"""Why a row whose file is whole has no place in a raw row: a text or turn without characters; a conversation without a
turn; one that ends with a question; two turns of one role in a row, or an answer first; a role that is nobody's;
a turn of or for a tool; a picture or sound; half a character, as a cut emoji leaves."""


class Dropped(Exception):
    """A row that raw rows cannot represent, with its reason in ``REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def missing(row: Row, key: str, where: str) -> InputError:
    """The fault of a field that is not there."""
    names = ", ".join(str(name)[:40] for name in list(row)[:12])
    return InputError(
        f"`{key}` is missing; there are {names or 'no fields'}",
        where=where,
        cause="a column that was renamed, or a row of another format",
        fix=f"give every row a `{key}`, or name the format of the file in params.yaml",
    )


def wrong(key: str, wanted: str, value: Any, where: str) -> InputError:
    """The fault of a field that holds something else than it should."""
    return InputError(
        f"`{key}` must be {wanted}, found {shown(value)}",
        where=where,
        cause="a program that wrote another type, or a row of another format",
        fix=f"write {wanted} there",
    )


def text(row: Row, key: str, where: str, *, optional: bool = False) -> str:
    """The text of a field; empty where it is null, or where it is absent and ``optional``.

    Raises:
        InputError: it is absent, or no text.
    """
    if key not in row:
        if optional:
            return ""
        raise missing(row, key, where)
    value = row[key]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(key, "text", value, where)
    return value


def identity(row: Row) -> str:
    """The id that a row had where it comes from; empty where it had none."""
    for key in ("id", "conversation_id", "uuid"):
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value and value.isprintable() and len(value) <= 200:
            return value
    return ""
