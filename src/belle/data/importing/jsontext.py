"""JSON that is not one object a line: arrays, objects of arrays, objects by id; read piece by piece.

An array may be of any length: no more than one element is in memory. An object of arrays is held whole, so its size has
a limit (``LARGEST_OBJECT``).
"""

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from belle import jsonl
from belle.data.importing.formats import recognised
from belle.errors import InputError, shown
from belle.files import decoded

LARGEST_OBJECT = 64 << 20
"""Bytes of a file that holds one object of arrays."""

_BLOCK = 1 << 20
_NEAR = 16
"""A fault so near the end of what was read may be the end's: no token but a string is longer."""


class Text:
    """The text of a stream, decoded block by block; values are taken from its front.

    Args:
        longest: how many characters one value may have.
        first: what was read of the stream already.
    """

    def __init__(self, file: IO[bytes], name: str, longest: int = jsonl.LONGEST_ROW, first: bytes = b"") -> None:
        self.file, self.name, self.longest, self.first = file, name, longest, first
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.ended = "", 0, False
        self.line, self.counted = 1, 0

    def where(self, at: int | None = None) -> str:
        """The file and line of a place, by default the present one."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return f"{self.name}:{self.line + self.text.count(chr(10), self.at, at or self.at)}"

    def grow(self) -> bool:
        """Read on; as much again as is held, so that reading a long value again and again costs twice its length."""
        if self.ended:
            return False
        self.line += self.text.count("\n", self.counted, self.at)
        self.text, self.at, self.counted = self.text[self.at :], 0, 0
        block = self.first or self.file.read(max(_BLOCK, len(self.text)))
        self.first = b""
        self.ended = not block
        try:
            more = self.decoder.decode(block, self.ended)
        except UnicodeDecodeError as error:
            data = error.object
            line = self.line + self.text.count("\n") + data.count(b"\n", 0, error.start)
            start = data.rfind(b"\n", 0, error.start) + 1
            end = data.find(b"\n", error.start)
            decoded(data[start : end if end >= 0 else start + _BLOCK], f"{self.name}:{line}")
            raise
        if "\0" in more:
            line = self.line + self.text.count("\n") + more.count("\n", 0, more.index("\0"))
            decoded(more[max(0, more.index("\0") - 40) :][:200].encode(), f"{self.name}:{line}")
        self.text += more
        return bool(block)

    def next(self) -> str:
        """Pass over white space; returns the character that follows, ``""`` at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.grow():
                return ""

    def take(self, wanted: str, what: str) -> str:
        """Pass over one of the characters ``wanted``, and return it.

        Raises:
            InputError: another stands there; ``what`` says where in the JSON that is.
        """
        found = self.next()
        if not found or found not in wanted:
            raise InputError(
                f"not JSON: {'the file ends' if not found else repr(found) + ' stands'} where"
                f" {' or '.join(map(repr, wanted))} is due, {what}",
                where=self.where(),
                cause="a copy of the file was cut off" if not found else "an edit by hand, or two files in one",
                fix="copy or make the file again",
            )
        self.at += 1
        return found

    def value(self, where: str) -> Any:
        """Take the value that comes next; ``where`` names it in messages.

        Raises:
            InputError: it is not JSON, or longer than ``longest``.
        """
        if not self.next():
            self.take("{", where)
        while True:
            try:
                value, end = jsonl.scan(self.text, self.at, where)
            except json.JSONDecodeError as error:
                held = len(self.text) - self.at
                open_end = error.pos >= len(self.text) - _NEAR or error.msg.startswith("Unterminated string")
                if open_end and held > self.longest:
                    raise jsonl.too_long(where, self.longest) from None
                if open_end and self.grow():
                    continue
                raise InputError(
                    f"not JSON: {error.msg} at {self.where(error.pos)}",
                    where=where,
                    cause="a copy of the file was cut off" if self.ended else "an edit by hand, or a damaged file",
                    fix="copy or make the file again",
                ) from None
            if end == len(self.text) and self.grow():
                continue  # a number may go on
            if end - self.at > self.longest:
                raise jsonl.too_long(where, self.longest)
            self.at = end
            return value

    def finish(self) -> None:
        """Make sure that nothing follows.

        Raises:
            InputError: something does.
        """
        if self.next():
            raise InputError(
                f"not JSON: {self.text[self.at : self.at + 20]!r} stands after the end",
                where=self.where(),
                cause="two files put together",
                fix="split them, and name the folder that they lie in",
            )


def rows(file: IO[bytes], name: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    """Yield (number, place, row) of a .json file: an array, JSON Lines under that name, or an object of arrays.

    Raises:
        InputError: it is none of these; the message names the row or the line.
    """
    text = Text(file, name)
    start = text.next()
    if start == "[":
        yield from _array(text, name)
    elif start:
        yield from _lines_or_object(text, name)


def _lines_or_object(text: Text, name: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    """Rows one after another, as JSON Lines has them, where a second follows the first; else what the object holds."""
    text.longest = LARGEST_OBJECT
    first = jsonl.mapping(text.value(f"{name}:1"), f"{name}:1")
    if not text.next():
        yield from _of_object(first, name)
        return
    number = 1
    yield number, f"{name}:1", first
    text.longest = jsonl.LONGEST_ROW
    while text.next():
        number += 1
        where = text.where()
        yield number, where, jsonl.mapping(text.value(where), where)


def _array(text: Text, name: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    text.take("[", "at the start")
    if text.next() == "]":
        text.take("]", "")
        text.finish()
        return
    number = 0
    while True:
        number += 1
        where = f"{name}, row {number}"
        yield number, where, jsonl.mapping(text.value(where), where)
        if text.take(",]", f"after row {number}") == "]":
            text.finish()
            return


def _of_object(row: jsonl.Row, name: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    """One row, a list of rows under a key, or columns of one length."""
    lists = {key: value for key, value in row.items() if isinstance(value, list)}
    of_rows = [key for key, items in lists.items() if all(isinstance(item, dict) for item in items)]
    if lists and len(lists) == len(row) and len(of_rows) < len(lists):
        key = next(iter(lists))
        for other, column in lists.items():
            if len(column) != len(lists[key]):
                raise InputError(
                    f"`{key}` has {len(lists[key])} items, `{other}` has {len(column)}",
                    where=name,
                    cause="a column that was cut off, or columns of different tables",
                    fix="write one array of rows",
                )
        for number, values in enumerate(zip(*lists.values(), strict=True), 1):
            yield number, f"{name}, row {number}", dict(zip(lists, values, strict=True))
    elif recognised(row):
        yield 1, f"{name}:1", row
    elif len(of_rows) == 1:
        for number, item in enumerate(lists[of_rows[0]], 1):
            yield number, f"{name}, `{of_rows[0]}` {number}", item
    else:
        raise InputError(
            f"one object with {shown(', '.join(row))}, which is no row, no columns and no list of rows",
            where=f"{name}:1",
            cause="settings, or rows by id" if len(of_rows) < 2 else "several lists of rows",
            fix="write one array of rows, or one row a line",
        )
