"""Rows out of files: JSON, JSON Lines, CSV, Parquet, plain text, one after another."""

import csv
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

import pyarrow
import pyarrow.parquet

from belle import jsonl
from belle.data.importing import jsontext, streams
from belle.data.importing.sources import Source
from belle.errors import InputError, shown
from belle.files import decoded

PARQUET_ROWS = 16
"""Rows of a Parquet file that are unpacked at once; one may be as long as ``jsonl.LONGEST_ROW``."""


class Found(NamedTuple):
    """A row as its file has it, with the file's name, its number there (from 1), and its place for messages."""

    source: str
    number: int
    where: str
    row: jsonl.Row


def rows(sources: Iterable[Source], form: str) -> Iterator[Found]:
    """Yield the rows of all sources in order.

    Args:
        form: the format that was asked for; it says how a ``.txt`` is read.

    Raises:
        InputError: a file is at fault; the message names it with the line or row.
    """
    for source in sources:
        if source.container == "parquet":
            for number, where, row in _parquet(source):
                yield Found(source.name, number, where, row)
            continue
        with streams.opened(source) as members:
            for name, container, file in members:
                at = f"{source.path}{name.removeprefix(source.name)}"
                for number, where, row in _READERS[container](file, at) if container != "txt" else _txt(file, at, form):
                    yield Found(name, number, where, row)


def _json_lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    for count, (number, line) in enumerate(jsonl.lines(file, name), 1):
        where = f"{name}:{number}"
        yield count, where, jsonl.parse(line, where)


def _txt(file: IO[bytes], name: str, form: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    if form == "text-lines":
        for count, (number, line) in enumerate(jsonl.lines(file, name), 1):
            where = f"{name}:{number}"
            yield count, where, {"text": decoded(line, where).strip()}
    elif form == "text-files":
        data = file.read(jsonl.LONGEST_ROW + 1)
        if len(data) > jsonl.LONGEST_ROW:
            raise jsonl.too_long(name)
        yield 1, name, {"text": decoded(data, name).strip()}
    else:
        raise InputError(
            f"plain text, where the format is {form}",
            where=name,
            cause="text has no fields to tell by whether a line or a file is a document",
            fix="write `format: text-lines` or `format: text-files` in params.yaml",
        )


# --- CSV --------------------------------------------------------------------------------------------------------


def _csv(file: IO[bytes], name: str, delimiter: str = ",") -> Iterator[tuple[int, str, jsonl.Row]]:
    reader = csv.reader(_decoded_lines(file, name), delimiter=delimiter, strict=True)
    header = _cells(reader, name)
    if header is None:
        return
    _check_header(header, f"{name}:1", delimiter)
    number, start = 0, reader.line_num + 1
    while (cells := _cells(reader, name)) is not None:
        where, start = f"{name}:{start}", reader.line_num + 1
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(
                f"{len(cells)} cells, the header has {len(header)} columns: {', '.join(header)[:100]}",
                where=where,
                cause="a text with a comma or a line end that is not in quotes",
                fix='put such texts in quotes, and a quote in them twice: "…""…"',
            )
        number += 1
        yield number, where, dict(zip(header, cells, strict=True))


def _cells(reader: Any, name: str) -> list[str] | None:
    """The next row; None at the end. The limit of the module csv is everybody's, so it is put back."""
    start = reader.line_num + 1
    before = csv.field_size_limit(jsonl.LONGEST_ROW)
    try:
        return next(reader, None)
    except csv.Error as error:
        raise InputError(
            f"no CSV: {error}",
            where=f"{name}:{start}",
            cause="a quote that is not closed, or one in a text that is not doubled",
            fix='close the quote in the row that begins there, and write a quote in a text twice: "…""…"',
        ) from None
    finally:
        csv.field_size_limit(before)


def _check_header(header: list[str], where: str, delimiter: str) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    nameless = [number for number, name in enumerate(header, 1) if not name.strip()]
    if twice or nameless:
        raise InputError(
            f"the column {shown(twice[0])} comes twice" if twice else f"column {nameless[0]} has no name",
            where=where,
            cause="a file without a header line, or a table pasted beside itself",
            fix="begin the file with one line of column names, each once",
        )
    if len(header) == 1 and any(mark in header[0] for mark in {",", "\t", ";"} - {delimiter}):
        raise InputError(
            f"one column, {shown(header[0])}",
            where=where,
            cause=f"another character than {delimiter!r} between the cells",
            fix="write commas in a .csv and tabs in a .tsv",
        )


def _decoded_lines(file: IO[bytes], name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(jsonl.LONGEST_ROW + 1):
        number += 1
        if len(line) > jsonl.LONGEST_ROW:
            raise jsonl.too_long(f"{name}:{number}")
        yield decoded(line, f"{name}:{number}")


def _tsv(file: IO[bytes], name: str) -> Iterator[tuple[int, str, jsonl.Row]]:
    return _csv(file, name, "\t")


_READERS: dict[str, Any] = {"jsonl": _json_lines, "json": jsontext.rows, "csv": _csv, "tsv": _tsv}


# --- Parquet ----------------------------------------------------------------------------------------------------


def _parquet(source: Source) -> Iterator[tuple[int, str, jsonl.Row]]:
    where, size = str(source.path), os.path.getsize(source.path)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(source.path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            for name in names:
                if names.count(name) > 1:
                    raise InputError(
                        f"the column {shown(name)} comes twice",
                        where=where,
                        cause="two tables joined",
                        fix="rename one of them",
                    )
            growth = streams.Growth(where, lambda: size)
            for group in range(file.metadata.num_row_groups):
                growth.add(file.metadata.row_group(group).total_byte_size)
            growth.out = 0  # a text that comes often stands once in a page, so what is unpacked counts again
            for batch in file.iter_batches(PARQUET_ROWS, use_threads=False):
                growth.add(batch.nbytes)
                for row in batch.to_pylist():
                    number += 1
                    yield number, f"{where}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(
            f"no Parquet after row {number}: {lines[0]}",
            where=where,
            cause="a download that was not finished, or another kind of file under this ending",
            fix="fetch it again and compare its size",
        ) from None
