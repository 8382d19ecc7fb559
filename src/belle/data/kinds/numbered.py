"""Replies of numbered items, ``1. 题目：…`` and ``1. 解答：…``, items separated by ``###``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

REASONS = ("cut_off", "format", "empty")
"""Why an item cannot be used, in the order in which it is looked at."""

_SEPARATOR = re.compile(r"^[ \t]*#{3,}[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Numbered:
    """One item: ``fields`` in the order of their names where ``reason`` is empty, else nothing."""

    number: int
    reason: str
    fields: tuple[str, ...] = ()


def _mark(name: str, *, bare: bool) -> str:
    number = r"" if bare else r"\d+[ \t]*[.．、][ \t]*"
    return rf"^[ \t]*\**{number}{name}\**[ \t]*[:：]\**"


def parse(reply: str, names: Sequence[str], finish_reason: str) -> list[Numbered]:
    """Turn a reply into items with the fields ``names``, or reasons.

    The first field's number opens an item even where the separator was forgotten. Words before the first item are an
    item without a form; ``finish_reason`` ``length`` drops the last item, unless ``###`` closed it.
    """
    reply = reply.replace("\r\n", "\n")
    title = re.compile(_mark(names[0], bare=False), re.MULTILINE)
    pieces = _SEPARATOR.split(title.sub(lambda found: "\n###\n" + found.group(), reply))
    open_end = bool(pieces[-1].strip())
    pieces = [piece.strip() for piece in pieces if piece.strip()]
    items = []
    for number, piece in enumerate(pieces, 1):
        if number == len(pieces) and open_end and finish_reason == "length":
            items.append(Numbered(number, "cut_off"))
        else:
            items.append(_item(number, piece, names))
    return items


def _item(number: int, piece: str, names: Sequence[str]) -> Numbered:
    # Fields go by their numbers; only where those are left out do bare names count, which a text may hold too.
    for bare in (False, True):
        marks = [re.compile(_mark(f"({name})", bare=bare), re.MULTILINE) for name in names]
        parts = re.split("|".join(mark.pattern for mark in marks), piece, flags=re.MULTILINE)
        found = [part for part in parts[1:] if part is not None]
        if not parts[0].strip() and found[::2] == list(names):
            fields = tuple(text.strip() for text in found[1::2])
            return Numbered(number, "", fields) if all(fields) else Numbered(number, "empty")
    return Numbered(number, "format")
