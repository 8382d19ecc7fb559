"""Clean documents for pretraining: lines, duplicates, heuristics, a language model, a classifier; count everything."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle import jsonl
from belle.data import normalise
from belle.data.text import heuristics, lines
from belle.data.text.chain import Ledger, Lines, first_reason
from belle.data.text.documents import Document, passages, read
from belle.data.text.language import LANGUAGES, language
from belle.data.text.perplexity import CharacterModel
from belle.data.text.quality import QualityModel
from belle.errors import InputError
from belle.files import atomic_file

LINE_FILTERS: dict[str, lines.LineFilter] = {
    "line_navigation": lines.line_navigation,
    "line_notice": lines.line_notice,
    "line_links": lines.line_links,
}
"""The filters of lines that a recipe can name; the others have a number and are switched off by 0."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_PASSAGE = 200
_CUT = 2_000


def clean_text(
    *,
    documents: Path,
    reference: Path,
    out: Path,
    report: Path,
    rejects: Path,
    languages: list[str],
    line_filters: list[str],
    min_line_chars: int,
    min_letter_share: float,
    max_documents_of_line: int,
    min_chars: int,
    max_chars: int,
    min_ideograph_share: float,
    max_symbol_share: float,
    max_repetition: float,
    min_stop_share: float,
    min_sentence_ends: float,
    max_perplexity: float,
    min_quality: float,
    training_documents: int,
    max_rejects: int,
) -> None:
    """Write the documents of ``documents`` that pass, with the lines that pass, in order, and a report of the others.

    A document goes for the first reason that holds: ``not_utf8``, ``duplicate_url``, ``duplicate_document`` (but for
    width, case, variants, punctuation and white space), ``language``; then its lines are cleaned; then ``empty``,
    ``too_short``, ``too_long``, ``few_ideographs``, ``many_symbols``, ``repetition``, ``few_stop_characters``,
    ``few_sentence_ends``, ``duplicate_text`` (what is left of it came before), ``perplexity``, ``quality``.
    Documents in = documents out + the sum of the reasons; lines in = lines out + the sum of theirs + those that were
    left of dropped documents.

    Args:
        documents: ``id, text`` and perhaps ``url`` and ``perplexity`` as JSON Lines, or .txt with one document a line.
        reference: Documents as they should be; the language model is trained on them, the classifier on them and
            on raw ones. Not read where neither is used.
        out: ``id, text`` and, where there is one, ``url``, as JSON Lines.
        report: JSON: ``documents_in, documents_out, reasons, samples`` (ids), ``lines_in, lines_out, line_reasons,
            lines_of_dropped_documents, chars_in, chars_out``, and the ``perplexity`` and ``quality`` of what came
            that far, in tenths of the documents.
        rejects: ``id, reason, text`` of dropped documents and lines (these have ``line``: true), as JSON Lines.
        languages: Of ``belle.data.text.language.LANGUAGES``.
        line_filters: Names in ``LINE_FILTERS``.
        min_line_chars: A line of fewer letters and digits goes unless it ends as a sentence; 0: none does.
        min_letter_share: A line with a smaller share of letters and digits goes; 0: none does.
        max_documents_of_line: A line goes from all documents if it is in more than that many; 0: none does.
        min_chars, max_chars: Limits of a document, both included.
        min_ideograph_share, max_symbol_share, max_repetition, min_stop_share, min_sentence_ends: See
            ``belle.data.text.heuristics``; a share of 0 as the least, or of 1 as the most, switches one off.
        max_perplexity: Of a character, by ``CharacterModel``, or as the document says; 0: not looked at.
        min_quality: Probability by ``QualityModel``; 0: not looked at.
        training_documents: How many texts of each side the classifier learns from, at least 1; short documents of
            the reference are joined.
        max_rejects: How many rejects of each reason are written; 0: all.

    Raises:
        InputError: a setting out of range, an unknown filter or language, a broken file, or an id that comes twice.
    """
    _check(languages, line_filters, min_chars, max_chars)
    plain: list[lines.LineFilter] = [lines.line_empty, *(LINE_FILTERS[name] for name in line_filters)]
    if min_letter_share:
        plain.append(lines.line_symbols(min_letter_share))
    if min_line_chars:
        plain.append(lines.line_short(min_line_chars))
    whole = [
        heuristics.too_short(min_chars),
        heuristics.too_long(max_chars),
        heuristics.few_ideographs(min_ideograph_share),
        heuristics.many_symbols(max_symbol_share),
        heuristics.repetition(max_repetition),
        heuristics.few_stop_characters(min_stop_share),
        heuristics.few_sentence_ends(min_sentence_ends),
    ]
    seen_before = _Surface(languages)
    boilerplate, raw = _first_pass(documents, _Surface(languages), max_documents_of_line, training_documents)
    cleaner = Lines(plain, boilerplate, _key)
    model = CharacterModel(document.text for document in read(reference)) if max_perplexity else None
    classifier = None
    if min_quality:  # it is to learn from what pages say, not from their menus
        raw = ["\n".join(cleaner.clean(text)[0]) for text in raw]
        sample = _Sample(training_documents)
        for text in passages(read(reference), _PASSAGE):
            sample.add(text)
        classifier = QualityModel(sample.texts(), raw)
    perplexities: list[float] = []
    qualities: list[float] = []
    ledger = Ledger(
        ["not_utf8", "duplicate_url", "duplicate_document", "language", "empty", "too_short", "too_long",
         "few_ideographs", "many_symbols", "repetition", "few_stop_characters", "few_sentence_ends", "duplicate_text",
         "perplexity", "quality"],
        ["line_empty", *line_filters, "line_symbols", "line_short", "line_in_many_documents", "line_repeated"],
        max_rejects,
    )  # fmt: skip
    left: set[bytes] = set()

    def reason_of(document: Document, text: str) -> str | None:
        reason = "empty" if not text else first_reason(whole, text)
        if reason:
            return reason
        key = _key(text)
        if key in left:
            return "duplicate_text"
        left.add(key)
        if model is not None:
            perplexity = model.perplexity(text) if document.perplexity is None else document.perplexity
            perplexities.append(perplexity)
            if not perplexity <= max_perplexity:
                return "perplexity"
        if classifier is not None:
            qualities.append(classifier.probability(text))
            if qualities[-1] < min_quality:
                return "quality"
        return None

    with atomic_file(rejects) as rejected, atomic_file(out) as kept:

        def reject(document: Document, reason: str, text: str, *, line: bool = False) -> None:
            if ledger.wants(reason):
                text = text.encode("utf-8", "replace").decode("utf-8")
                row = {"id": document.id, "reason": reason, **({"line": True} if line else {}), "text": text}
                rejected.write(jsonl.dumps(row) + "\n")

        for document in _with_progress(documents, "clean_text"):
            count = document.text.count("\n") + 1
            ledger.documents_in += 1
            ledger.lines_in += count
            ledger.chars_in += len(document.text)
            reason = seen_before.reason(document)
            text = document.text
            if reason is None:
                good, bad = cleaner.clean(document.text)
                for why, line in bad:
                    ledger.line_reasons[why] += 1
                    if why != "line_empty":
                        reject(document, why, line, line=True)
                count, text = len(good), "\n".join(good)
                reason = reason_of(document, text)
            if reason is not None:
                ledger.dropped(document.id, reason, count)
                reject(document, reason, text)
                continue
            ledger.documents_out += 1
            ledger.lines_out += count
            ledger.chars_out += len(text)
            row = {"id": document.id, **({"url": document.url} if document.url else {}), "text": text}
            kept.write(jsonl.dumps(row) + "\n")
        summary = {**ledger.as_json(), "perplexity": _tenths(perplexities), "quality": _tenths(qualities)}
        with atomic_file(report) as file:
            file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


class _Surface:
    """What is told of a document before its lines are read: encoding, duplicates, language."""

    def __init__(self, languages: list[str]) -> None:
        self._languages = frozenset(languages)
        self._urls: set[bytes] = set()
        self._texts: set[bytes] = set()
        self._ids: set[bytes] = set()

    def reason(self, document: Document) -> str | None:
        name = _digest(document.id)
        if name in self._ids:
            raise InputError(
                f"the id {document.id!r} comes twice", where="documents", fix="give every document its own id"
            )
        self._ids.add(name)
        if _SURROGATE.search(document.text) or _SURROGATE.search(document.url):
            return "not_utf8"
        if document.url:
            url = _digest(document.url.partition("#")[0].rstrip("/"))
            if url in self._urls:
                return "duplicate_url"
            self._urls.add(url)
        text = _key(document.text)
        if text in self._texts:
            return "duplicate_document"
        self._texts.add(text)
        return None if language(document.text) in self._languages else "language"


def _first_pass(documents: Path, surface: _Surface, max_documents: int, training: int) -> tuple[set[bytes], list[str]]:
    """The keys of lines that stand in too many documents, and the raw texts that the classifier learns from."""
    counts: Counter[bytes] = Counter()
    raw = _Sample(training)
    for document in _with_progress(documents, "clean_text: lines"):
        if surface.reason(document):
            continue
        if max_documents:
            counts.update({_key(line) for line in document.text.split("\n") if line.strip()})
        raw.add(document.text)
    boilerplate = {key for key, count in counts.items() if count > max_documents} if max_documents else set()
    return boilerplate, raw.texts()


class _Sample:
    """So many texts of a stream: those with the smallest digests, which hang on no order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[int, str]] = []  # the largest digest first, as a heap

    def add(self, text: str) -> None:
        item = (-int.from_bytes(_digest(text)), text[:_CUT])
        if len(self._kept) < self._size:
            heapq.heappush(self._kept, item)
        else:
            heapq.heappushpop(self._kept, item)

    def texts(self) -> list[str]:
        return [text for _, text in sorted(self._kept, reverse=True)]


def _with_progress(path: Path, what: str) -> Iterator[Document]:
    yield from tqdm(read(path), desc=what, unit="document", mininterval=1, delay=1)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _key(text: str) -> bytes:
    """What texts have in common that differ in width, case, variants, punctuation or white space."""
    return _digest(normalise.key(text) or text.strip())


def _tenths(values: list[float]) -> list[float]:
    """The smallest, each tenth and the largest of some values, to four digits; nothing of none."""
    ordered = sorted(values)
    return [round(ordered[(len(ordered) - 1) * tenth // 10], 4) for tenth in range(11)] if ordered else []


def _check(languages: list[str], line_filters: list[str], min_chars: int, max_chars: int) -> None:
    known: dict[str, tuple[list[str], Any]] = {
        "languages": (languages, LANGUAGES),
        "line_filters": (line_filters, LINE_FILTERS),
    }
    for field, (names, choices) in known.items():
        wrong = [name for name in names if name not in choices]
        if wrong or len(set(names)) < len(names):
            raise InputError(
                f"unknown: {', '.join(wrong)}" if wrong else "a name comes twice",
                where=f"clean_text.{field}",
                fix=f"choose from: {', '.join(choices)}",
            )
    if not languages:
        raise InputError("names no language: nothing would be left", where="clean_text.languages")
    if not 0 <= min_chars <= max_chars:
        raise InputError(
            f"min_chars {min_chars} and max_chars {max_chars} leave no document",
            where="clean_text",
            fix="choose 0 <= min_chars <= max_chars",
        )
