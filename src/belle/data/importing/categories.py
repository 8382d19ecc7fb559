"""A file of categories, joined to rows on their id: BELLE-3.5M's come apart from its conversations."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from belle import jsonl
from belle.data.importing import streams
from belle.data.importing.fields import identity, missing, wrong
from belle.data.importing.jsontext import Text
from belle.data.importing.sources import find
from belle.errors import InputError, shown


class Categories:
    """Row id → category. Held in memory: about 150 bytes a row.

    Args:
        path: a JSON object of ``id: category``, or JSON Lines of ``id, category``; may be compressed.

    Raises:
        InputError: it is neither, an id comes twice, or a category is no text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.of: dict[str, str] = {}
        sources, _ = find(path)
        self.sources = sources
        if len(sources) > 1 or sources[0].container not in {"json", "jsonl", ""}:
            raise InputError(
                f"{len(sources)} files, the first of them {sources[0].name}: no file of categories",
                where=str(path),
                cause="the rows' own path",
                fix="name one .json of id: category, or one .jsonl of id, category",
            )
        with streams.opened(sources[0]) as members:
            for name, container, file in members:
                at = f"{sources[0].path}{name.removeprefix(sources[0].name)}"
                pairs = _members(Text(file, at), at) if container == "json" else _lines(file, at)
                for where, key, category in pairs:
                    if not category.strip():
                        raise wrong("category", "text that is not empty", category, where)
                    if key in self.of:
                        raise InputError(
                            f"the id {shown(key)} comes twice: {shown(self.of[key])}, {shown(category)}",
                            where=where,
                            cause="two category files put together",
                            fix="leave one category for each id",
                        )
                    self.of[key] = sys.intern(category.strip())
        if not self.of:
            raise InputError(
                "no categories in it",
                where=str(path),
                cause="a file that was not written to its end",
                fix="fetch it again",
            )

    def category(self, row: jsonl.Row, where: str) -> str:
        """The category of a row.

        Raises:
            InputError: the row has no id, or its id is not in the file.
        """
        key = identity(row)
        if not key:
            raise missing(row, "id", where)
        if key not in self.of:
            raise InputError(
                f"`id`: {shown(key)} is not among the {len(self.of)} ids of {self.path}",
                where=where,
                cause="the categories of another set, or of an older state of this one",
                fix="name the category file that was published with these rows",
            )
        return self.of[key]


def _members(text: Text, name: str) -> Iterator[tuple[str, str, str]]:
    text.take("{", "at the start")
    if text.next() == "}":
        text.take("}", "")
        return
    number = 0
    while True:
        number += 1
        where = f"{name}, item {number}"
        key = text.value(where)
        if not isinstance(key, str):
            raise wrong("id", "text in quotes", key, where)
        text.take(":", f"after the id {shown(key)}")
        category = text.value(where)
        if not isinstance(category, str):
            raise wrong(f"category of {key[:40]}", "text", category, where)
        yield where, key, category
        if text.take(",}", f"after item {number}") == "}":
            text.finish()
            return


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[str, str, str]]:
    for number, line in jsonl.lines(file, name):
        where = f"{name}:{number}"
        row = jsonl.parse(line, where)
        key, category = identity(row), row.get("category")
        if not key:
            raise missing(row, "id", where)
        if not isinstance(category, str):
            raise missing(row, "category", where) if category is None else wrong("category", "text", category, where)
        yield where, key, category
