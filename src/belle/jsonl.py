"""JSON Lines, one object a line, UTF-8. Reading names the line at fault; writing is whole or not at all."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from belle.errors import InputError, shown
from belle.files import atomic_file, decoded, open_input

Row = dict[str, Any]

LONGEST_ROW = 16 << 20
"""Bytes that a line may have, its end included; what a reader holds in memory grows with the line, not the file."""

_AGAIN = "a copy of the file was cut off, or it is not JSON Lines"


class _Refused(ValueError):
    """What JSON's grammar, or Python's reading of it, lets pass and a row must not hold."""


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"the key {shown(key)} comes twice in one object")
            seen.add(key)
    return row


def _number(text: str) -> int:
    if len(text) > 300:
        raise _Refused(f"a number of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {shown(text)} is larger than any float")
    return value


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_number, parse_float=_float, parse_constant=_constant)


def read(path: Path, what: str = "rows") -> Iterator[Row]:
    """Yield the objects of a JSON Lines file in order; blank lines are passed over.

    Raises:
        InputError: the file is missing or cannot be read, is not UTF-8, a line is over ``LONGEST_ROW`` bytes, or is
            not a JSON object; NaN, a key that comes twice and nesting beyond reason are refused, too.
    """
    with open_input(path, what) as file:
        for number, line in lines(file, str(path)):
            yield parse(line, f"{path}:{number}")


def lines(file: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers, from 1.

    Raises:
        InputError: a line is over ``LONGEST_ROW`` bytes; no more than that is read of it.
    """
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            raise too_long(f"{name}:{number}")
        if not line.isspace():
            yield number, line


def too_long(where: str, longest: int = LONGEST_ROW) -> InputError:
    """The fault of a row, or of another value, that is over ``longest`` bytes."""
    return InputError(
        f"a row of over {longest} bytes",
        where=where,
        cause="line ends that were lost, or a file that is not JSON Lines",
        fix="write one row a line, and cut texts that are longer",
    )


def parse(line: bytes, where: str) -> Row:
    """The object of one line.

    Raises:
        InputError: it is none.
    """
    text = decoded(line, where)
    try:
        start = len(text) - len(text.lstrip(_SPACE))
        row, end = scan(text, start, where)
        if text[end:].strip(_SPACE):
            raise json.JSONDecodeError("Extra data", text, end)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg} at column {error.colno}",
            where=where,
            cause=_AGAIN,
            fix="write one JSON object a line",
        ) from None
    return mapping(row, where)


_SPACE = " \t\r\n"


def scan(text: str, at: int, where: str) -> tuple[Any, int]:
    """Read the JSON value that begins at ``at``; returns it and where it ends.

    Raises:
        InputError: it is JSON, but no row may hold it.
        json.JSONDecodeError: it is not JSON, or its end is not in ``text``.
    """
    try:
        return _DECODER.raw_decode(text, at)
    except _Refused as refused:
        raise InputError(
            str(refused), where=where, cause="a program that writes what other readers refuse", fix="mend that row"
        ) from None
    except RecursionError:
        raise InputError(
            "nested too deep",
            where=where,
            cause="no row of text, or one made to break its readers",
            fix="take that row out",
        ) from None


def mapping(row: Any, where: str) -> Row:
    """``row`` if it is an object, or ``InputError``."""
    if not isinstance(row, dict):
        raise InputError(
            f"a {type(row).__name__} where an object was expected, found {shown(row)}",
            where=where,
            cause="one JSON array instead of JSON Lines" if isinstance(row, list) else "a file of other values",
            fix="write one JSON object a line",
        )
    return row


_LINE = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": "))
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def dumps(row: Any) -> str:
    """One line of JSON, Chinese left readable, keys in the order they were put."""
    return _LINE.encode(row)


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value that is hashed: sorted keys, no spaces, UTF-8."""
    return _CANONICAL.encode(value).encode()


def write(path: Path, rows: Iterable[Row]) -> int:
    """Write ``rows`` and return how many there were."""
    count = 0
    with atomic_file(path) as file:
        for row in rows:
            file.write(dumps(row) + "\n")
            count += 1
    return count
