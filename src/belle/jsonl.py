"""JSON Lines, one object a line, UTF-8. Reading names the line at fault; writing is whole or not at all."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from belle.errors import InputError
from belle.files import atomic_file, require_file

Row = dict[str, Any]


def read(path: Path, what: str = "rows") -> Iterator[Row]:
    """Yield the objects of a JSON Lines file in order; blank lines are passed over.

    Raises:
        InputError: the file is missing, is not UTF-8, or a line is not a JSON object.
    """
    with open(require_file(path, what), "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = parse(line)
            except InputError as error:
                raise InputError(error.what, where=f"{path}:{number}", cause=error.cause, fix=error.fix) from None
            yield row


def parse(line: bytes) -> Row:
    """The object of one line.

    Raises:
        InputError: it is not UTF-8, or not a JSON object; the place is left to the caller.
    """
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", fix="convert the file to UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg} at column {error.colno}",
            cause="the file is not JSON Lines, or a copy of it was cut off",
            fix="write one JSON object a line",
        ) from None
    if not isinstance(row, dict):
        raise InputError(
            f"a {type(row).__name__} where an object was expected",
            cause="one JSON array instead of JSON Lines",
            fix="write one JSON object a line",
        )
    return row


def dumps(row: Any) -> str:
    """One line of JSON, Chinese left readable, keys in the order they were put."""
    return json.dumps(row, ensure_ascii=False, separators=(", ", ": "))


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value that is hashed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def write(path: Path, rows: Iterable[Row]) -> int:
    """Write ``rows`` and return how many there were."""
    count = 0
    with atomic_file(path) as file:
        for row in rows:
            file.write(dumps(row) + "\n")
            count += 1
    return count
