"""A raw row as the model reads it: what was asked and what was answered, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xxhash import xxh3_128_digest

from belle import jsonl
from belle.errors import InputError, shown
from belle.records import turns


class Part(NamedTuple):
    """A piece of a row's text; of an answer its tokens count as the answer's."""

    text: str
    answer: bool


def parts_of(row: jsonl.Row, where: str) -> list[Part]:
    """The row as plain text, in pieces: no prompt format, for a base model has learnt none.

    Raises:
        InputError: another schema than ``instruction, input, output`` or ``conversations``.
    """
    if "conversations" in row:
        said = [(turn.text, turn.role == "assistant") for turn in turns(row, where)]
    else:
        texts = [_text(row, name, where) for name in ("instruction", "input", "output")]
        question = "\n".join(text for text in texts[:2] if text)
        said = [(question, False), (texts[2], True)]
    parts = []
    for number, (text, answer) in enumerate(said):
        before = "\n" if number and not answer else ""
        parts.append(Part(_whole(before + text + ("" if answer else "\n")), answer))
    return parts


def key_of(parts: Sequence[Part]) -> bytes:
    """16 bytes for what the model reads: rows of equal texts are weighed once."""
    return xxh3_128_digest("\0".join(f"{part.answer:d}{part.text}" for part in parts).encode())


def _text(row: jsonl.Row, name: str, where: str) -> str:
    value = row.get(name, "" if name == "input" else None)
    if not isinstance(value, str):
        raise InputError(
            f"`{name}` must be text, found {'nothing' if value is None else shown(value)}",
            where=where,
            cause="another schema than id, instruction, input, output",
            fix=f"give every row a `{name}`",
        )
    return value


def _whole(text: str) -> str:
    """Half of a surrogate pair is no text that a tokenizer takes; ``clean`` drops such rows in any case."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
