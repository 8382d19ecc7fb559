"""Documents as files hold them: JSON Lines with a text, or plain text with one document a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from belle import jsonl
from belle.errors import InputError
from belle.files import require_file


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        id: Its name; of a text file, the number of its line.
        text: Its lines.
        url: Where it is from; empty where that is not known.
        perplexity: What a language model elsewhere made of it; None where none did.
    """

    id: str
    text: str
    url: str = ""
    perplexity: float | None = None


def read(path: Path) -> Iterator[Document]:
    """Read documents: ``id, text`` and, where there are, ``url`` and ``perplexity`` a line; or .txt, one a line.

    In a .txt, ``\\n`` written out stands for a line end within a document.

    Raises:
        InputError: a missing file, a line that is no document, text that is no UTF-8 or could not be written as such.
    """
    path = Path(path)
    yield from _plain(path) if path.suffix == ".txt" else _rows(path)


def _plain(path: Path) -> Iterator[Document]:
    with open(require_file(path, "documents"), "rb") as file:
        for number, line in enumerate(file, 1):
            yield plain_document(line, number, f"{path}:{number}")


def _rows(path: Path) -> Iterator[Document]:
    for number, row in enumerate(jsonl.read(path, "documents"), 1):
        yield document_of(row, f"{path}, row {number}")


def plain_document(line: bytes, number: int, where: str) -> Document:
    """The document of a line of plain text, which has the line's number for an id.

    Raises:
        InputError: it is no UTF-8.
    """
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=where, fix="convert the file to UTF-8") from None
    return Document(str(number), text.replace("\\n", "\n"))


def document_of(row: jsonl.Row, where: str) -> Document:
    """The document of a row.

    Raises:
        InputError: the row is none.
    """
    for field, empty in (("id", False), ("text", True)):
        value = row.get(field)
        if not isinstance(value, str) or not (empty or (value and value.isprintable())):
            raise InputError(
                f"`{field}` must be text, found {'nothing' if value is None else repr(value)}",
                where=where,
                cause="another schema than id, text, url, perplexity",
                fix=f"give every document a `{field}`",
            )
    url, perplexity = row.get("url", ""), row.get("perplexity")
    if not isinstance(url, str):
        raise InputError(f"`url` must be text, found {url!r}", where=where)
    if perplexity is not None and (isinstance(perplexity, bool) or not isinstance(perplexity, int | float)):
        raise InputError(f"`perplexity` must be a number, found {perplexity!r}", where=where)
    return Document(row["id"], row["text"], url, perplexity)


def passages(documents: Iterable[Document], chars: int) -> Iterator[str]:
    """The texts of documents, short ones joined until they have ``chars`` characters."""
    waiting: list[str] = []
    size = 0
    for document in documents:
        waiting.append(document.text)
        size += len(document.text)
        if size >= chars:
            yield "\n".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield "\n".join(waiting)
