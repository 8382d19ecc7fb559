"""What one document tells by itself: first of its surface and lines, then of what cleaning leaves of it.

This is what worker processes hold in memory; what a document is beside those before it is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from belle import jsonl
from belle.data import normalise
from belle.data.cleaning.looked import RowFault
from belle.data.text import heuristics, lines
from belle.data.text.chain import Lines, first_reason
from belle.data.text.documents import Document, document_of, plain_document
from belle.data.text.language import language
from belle.data.text.perplexity import CharacterModel
from belle.data.text.quality import QualityModel
from belle.errors import InputError

LINE_FILTERS: dict[str, lines.LineFilter] = {
    "line_navigation": lines.line_navigation,
    "line_notice": lines.line_notice,
    "line_links": lines.line_links,
}
"""The filters of lines that a recipe can name; the others have a number and are switched off by 0."""

KEY = 8
"""Bytes of a key."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def digest(text: str) -> bytes:
    """A hash of a text as it stands."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY).digest()


def key_of(text: str) -> bytes:
    """What texts have in common that differ in width, case, variants, punctuation or white space."""
    return digest(normalise.key(text) or text.strip())


class Surface(NamedTuple):
    """A document before its lines are read.

    ``id`` is empty where lines are counted for it, ``url`` where there is none, ``key`` where the text is no UTF-8.

    ``start`` is where its line begins in the block, ``size`` how long that is; ``lines`` are the keys of its lines, end
    to end, each once.
    """

    name: str
    id: bytes
    url: bytes
    key: bytes
    right_language: bool
    start: int
    size: int
    digest: bytes
    lines: bytes


@dataclass(frozen=True)
class Surfaces:
    """How a first pass looks at documents.

    Attributes:
        plain: The file is plain text, one document a line.
        languages: Those that stay.
        of_lines: Whether keys of lines are asked for.
    """

    plain: bool
    languages: tuple[str, ...]
    of_lines: bool

    def looker(self) -> Surfaces:
        """What looks at blocks; it needs nothing more."""
        return self

    def look(self, block: bytes) -> tuple[int, list[Surface]]:
        """How many lines a block has, and the surface of its documents.

        Raises:
            RowFault: a line that is no document; the first of them.
        """
        found = []
        for document, start, size in _documents(block, self.plain, 1):
            name = b"" if self.plain else digest(document.id)
            text, url = document.text, document.url
            if _SURROGATE.search(text) or _SURROGATE.search(url):
                found.append(Surface(document.id, name, b"", b"", False, start, size, b"", b""))
                continue
            keys = {key_of(line) for line in text.split("\n") if line.strip()} if self.of_lines else set[bytes]()
            found.append(
                Surface(
                    name=document.id,
                    id=name,
                    url=digest(url.partition("#")[0].rstrip("/")) if url else b"",
                    key=key_of(text),
                    right_language=language(text) in self.languages,
                    start=start,
                    size=size,
                    digest=digest(text),
                    lines=b"".join(sorted(keys)),
                )
            )
        return block.count(b"\n") + (not block.endswith(b"\n")), found


class Inside(NamedTuple):
    """What cleaning leaves of a document: its text and how many lines that has, and the lines that went with reasons.

    ``reason`` says why it goes by what it is; the others are only set where it does not.
    """

    document: Document
    text: str
    lines: int
    dropped: list[tuple[str, str]]
    reason: str | None = None
    key: bytes = b""
    perplexity: float | None = None
    quality: float | None = None


@dataclass(frozen=True)
class Insides:
    """How a second pass looks at documents: a recipe's settings, and what was learnt before, as it travels to workers.

    Attributes:
        plain: The file is plain text, one document a line.
        line_filters, min_line_chars, min_letter_share, max_perplexity: As in ``clean_text``.
        whole: Names of makers in ``belle.data.text.heuristics``, each with its number.
        boilerplate: Keys of lines that stand in too many documents.
        model: The folder of a ``CharacterModel``, if perplexity counts.
        classifier: What tells quality, if that counts.
    """

    plain: bool
    line_filters: tuple[str, ...]
    min_line_chars: int
    min_letter_share: float
    whole: tuple[tuple[str, Any], ...] = ()
    max_perplexity: float = 0.0
    boilerplate: frozenset[bytes] = field(default_factory=frozenset)
    model: Path | None = None
    classifier: QualityModel | None = None

    def cleaner(self) -> Lines:
        """What cleans the lines of a text."""
        filters: list[lines.LineFilter] = [lines.line_empty, *(LINE_FILTERS[name] for name in self.line_filters)]
        if self.min_letter_share:
            filters.append(lines.line_symbols(self.min_letter_share))
        if self.min_line_chars:
            filters.append(lines.line_short(self.min_line_chars))
        return Lines(filters, self.boilerplate, key_of)

    def looker(self) -> InsideLooker:
        """What looks at blocks."""
        return InsideLooker(self)


class InsideLooker:
    """Looks at blocks of documents by one recipe."""

    def __init__(self, insides: Insides) -> None:
        self._insides = insides
        self._cleaner = insides.cleaner()
        self._whole: list[Callable[[str], str | None]] = [
            getattr(heuristics, name)(limit) for name, limit in insides.whole
        ]
        self._model = CharacterModel.load(insides.model) if insides.model else None

    def look(self, block: bytes, first: int, skipped: bytes) -> list[Inside]:
        """What is left of each document of a block.

        Args:
            block: Whole lines.
            first: The number of the first one in the file.
            skipped: For each document whether it went by its surface, and is not looked into.
        """
        found = []
        documents = (document for document, _, _ in _documents(block, self._insides.plain, first))
        for document, skip in zip(documents, skipped, strict=True):
            if skip:
                found.append(Inside(document, document.text, document.text.count("\n") + 1, []))
            else:
                found.append(self._inside(document))
        return found

    def _inside(self, document: Document) -> Inside:
        good, dropped = self._cleaner.clean(document.text)
        text = "\n".join(good)
        reason = "empty" if not text else first_reason(self._whole, text)
        if reason:
            return Inside(document, text, len(good), dropped, reason)
        perplexity = quality = None
        if self._model is not None:
            perplexity = self._model.perplexity(text) if document.perplexity is None else document.perplexity
        likely = perplexity is None or perplexity <= self._insides.max_perplexity
        if self._insides.classifier is not None and likely:
            quality = self._insides.classifier.probability(text)
        return Inside(document, text, len(good), dropped, None, key_of(text), perplexity, quality)


def _documents(block: bytes, plain: bool, first: int) -> Iterator[tuple[Document, int, int]]:
    """The documents of a block of whole lines, each with where its line begins in the block and how long that is."""
    rows = start = 0
    for number, line in enumerate(io.BytesIO(block)):
        try:
            if plain:
                yield plain_document(line, first + number, ""), start, len(line)
            elif not line.isspace():
                row = jsonl.parse(line, "")
                rows += 1
                yield _document_of(row, rows), start, len(line)
        except InputError as fault:
            raise RowFault("line", number + 1, fault) from None
        start += len(line)


def _document_of(row: jsonl.Row, number: int) -> Document:
    try:
        return document_of(row, "")
    except InputError as fault:
        raise RowFault("row", number, fault) from None
