"""What becomes of documents, one beside the others: duplicates, lines that are everywhere, samples to learn from."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

from belle import jsonl
from belle.data.cleaning.crew import View
from belle.data.text.chain import Ledger
from belle.data.text.documents import Document, document_of, plain_document
from belle.data.text.looking import KEY, Inside, Surface
from belle.errors import InputError

Item = TypeVar("Item")

CUT = 2_000
"""How much of a text the classifier learns from, in characters."""

SURFACE = (None, "not_utf8", "duplicate_url", "duplicate_document", "language")
"""Why a document goes before its lines are read; the first: it does not."""


class Surfaced:
    """What a first pass learns: which documents go by their surface, which lines are everywhere, whom to learn from.

    Attributes:
        reasons: Of each document its number in ``SURFACE``.
        lines: Of each block the number of its first line, from 1.
    """

    def __init__(self, max_documents_of_line: int, training: int) -> None:
        self.reasons = bytearray()
        self.lines: list[int] = []
        self._next = 1
        self._documents: list[int] = []  # of each block
        self._most = max_documents_of_line
        self._keys = bytearray()  # of lines, once for each document
        self._sample: Sample[tuple[int, int]] = Sample(training)
        self._urls: set[bytes] = set()
        self._texts: set[bytes] = set()
        self._ids: set[bytes] = set()

    def add(self, start: int, lines: int, found: list[Surface]) -> None:
        """Take in the block that begins at ``start``."""
        self.lines.append(self._next)
        self._next += lines
        self._documents.append(len(found))
        for surface in found:
            reason = self._reason(surface)
            self.reasons.append(SURFACE.index(reason))
            if reason is None:
                self._keys += surface.lines
                self._sample.add(surface.digest, (start + surface.start, surface.size))

    def _reason(self, surface: Surface) -> str | None:
        if surface.id and surface.id in self._ids:
            raise InputError(
                f"the id {surface.name!r} comes twice", where="documents", fix="give every document its own id"
            )
        self._ids.add(surface.id)
        if not surface.key:
            return "not_utf8"
        if surface.url:
            if surface.url in self._urls:
                return "duplicate_url"
            self._urls.add(surface.url)
        if surface.key in self._texts:
            return "duplicate_document"
        self._texts.add(surface.key)
        return None if surface.right_language else "language"

    def skipped(self) -> Iterator[bytes]:
        """Of each block which documents go by their surface."""
        at = 0
        for count in self._documents:
            yield bytes(self.reasons[at : at + count])
            at += count

    def boilerplate(self) -> frozenset[bytes]:
        """The keys of lines that stand in too many documents."""
        keys, counts = np.unique(np.frombuffer(self._keys, np.dtype(f"u{KEY}")), return_counts=True)
        return frozenset(key.tobytes() for key in keys[counts > self._most]) if self._most else frozenset()

    def texts(self, view: View, plain: bool) -> list[str]:
        """The beginnings of the texts that the classifier learns from."""
        found = []
        for start, size in self._sample.kept():
            line = view[start : start + size]
            document = plain_document(line, 1, "") if plain else document_of(jsonl.parse(line, ""), "")
            found.append(document.text[:CUT])
        return found


class Decider:
    """Decides on documents by what is left of them and of those before."""

    def __init__(self, ledger: Ledger, max_perplexity: float, min_quality: float) -> None:
        self._ledger, self._max_perplexity, self._min_quality = ledger, max_perplexity, min_quality
        self._left: set[bytes] = set()
        self.perplexities: list[float] = []
        self.qualities: list[float] = []

    def decide(self, inside: Inside, surface: str | None) -> Iterator[jsonl.Row]:
        """Count a document, and yield what is to be written of it: rejects, which have a reason, or what is kept."""
        ledger, document = self._ledger, inside.document
        ledger.documents_in += 1
        ledger.lines_in += document.text.count("\n") + 1
        ledger.chars_in += len(document.text)
        for why, line in inside.dropped:
            ledger.line_reasons[why] += 1
            if why != "line_empty" and ledger.wants(why):
                yield _reject(document, why, line, line=True)
        reason = surface or inside.reason or self._reason(inside)
        if reason is not None:
            ledger.dropped(document.id, reason, inside.lines)
            if ledger.wants(reason):
                yield _reject(document, reason, inside.text)
            return
        ledger.documents_out += 1
        ledger.lines_out += inside.lines
        ledger.chars_out += len(inside.text)
        yield {"id": document.id, **({"url": document.url} if document.url else {}), "text": inside.text}

    def _reason(self, inside: Inside) -> str | None:
        if inside.key in self._left:
            return "duplicate_text"
        self._left.add(inside.key)
        if inside.perplexity is not None:
            self.perplexities.append(inside.perplexity)
            if not inside.perplexity <= self._max_perplexity:
                return "perplexity"
        if inside.quality is not None:
            self.qualities.append(inside.quality)
            if inside.quality < self._min_quality:
                return "quality"
        return None


def _reject(document: Document, reason: str, text: str, *, line: bool = False) -> jsonl.Row:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return {"id": document.id, "reason": reason, **({"line": True} if line else {}), "text": text}


class Sample(Generic[Item]):
    """So many things of a stream: those with the smallest digests, which hang on no order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[int, Item]] = []  # the largest digest first, as a heap

    def add(self, of: bytes, thing: Item) -> None:
        item = (-int.from_bytes(of), thing)
        if len(self._kept) < self._size:
            heapq.heappush(self._kept, item)
        else:
            heapq.heappushpop(self._kept, item)

    def kept(self) -> list[Item]:
        return [thing for _, thing in sorted(self._kept, reverse=True)]
