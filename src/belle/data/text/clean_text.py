"""Clean documents for pretraining: lines, duplicates, heuristics, a language model, a classifier; count everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from belle import jsonl
from belle.data.cleaning.crew import Job, Task, View, blocks_of, look
from belle.data.cleaning.looked import RowFault
from belle.data.cleaning.raw import mapped, placed
from belle.data.text.chain import Ledger
from belle.data.text.deciding import CUT, SURFACE, Decider, Sample, Surfaced
from belle.data.text.documents import passages, read
from belle.data.text.language import LANGUAGES
from belle.data.text.looking import LINE_FILTERS, Insides, Surfaces, digest
from belle.data.text.perplexity import CharacterModel
from belle.data.text.quality import QualityModel
from belle.errors import InputError
from belle.files import atomic_file, require_file

_PASSAGE = 200


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
    workers: int = 1,
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
        workers: how many processes look at documents; no output depends on it.

    Raises:
        InputError: a setting out of range, an unknown filter or language, a broken file, or an id that comes twice.
    """
    _check(languages, line_filters, min_chars, max_chars)
    insides = Insides(
        plain=documents.suffix == ".txt", line_filters=tuple(line_filters), min_line_chars=min_line_chars,
        min_letter_share=min_letter_share, max_perplexity=max_perplexity,
        whole=(
            ("too_short", min_chars), ("too_long", max_chars), ("few_ideographs", min_ideograph_share),
            ("many_symbols", max_symbol_share), ("repetition", max_repetition),
            ("few_stop_characters", min_stop_share), ("few_sentence_ends", min_sentence_ends),
        ),
    )  # fmt: skip
    ledger = Ledger(
        ["not_utf8", "duplicate_url", "duplicate_document", "language", "empty", "too_short", "too_long",
         "few_ideographs", "many_symbols", "repetition", "few_stop_characters", "few_sentence_ends", "duplicate_text",
         "perplexity", "quality"],
        ["line_empty", *line_filters, "line_symbols", "line_short", "line_in_many_documents", "line_repeated"],
        max_rejects,
    )  # fmt: skip
    require_file(documents, "documents")
    with ExitStack() as stack:
        view = stack.enter_context(mapped(documents))
        spans = list(blocks_of(view, 0, len(view), documents))
        surfaces = Surfaces(insides.plain, tuple(languages), of_lines=max_documents_of_line > 0)
        first = Surfaced(max_documents_of_line, training_documents)
        for (start, _), (count, found) in zip(
            spans, _looked_at(documents, view, surfaces, spans, workers, "clean_text: lines"), strict=True
        ):
            first.add(start, count, found)
        insides = replace(insides, boilerplate=first.boilerplate())
        if max_perplexity:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="belle-text-")))
            CharacterModel(document.text for document in read(reference)).save(folder)
            insides = replace(insides, model=folder)
        if min_quality:  # it is to learn from what pages say, not from their menus
            cleaner = insides.cleaner()
            raw = ["\n".join(cleaner.clean(text)[0]) for text in first.texts(view, insides.plain)]
            sample: Sample[str] = Sample(training_documents)
            for text in passages(read(reference), _PASSAGE):
                sample.add(digest(text), text[:CUT])
            insides = replace(insides, classifier=QualityModel(sample.kept(), raw))
        second = Decider(ledger, max_perplexity, min_quality)
        jobs = [(*span, line, surface) for span, line, surface in zip(spans, first.lines, first.skipped(), strict=True)]
        with atomic_file(rejects) as rejected, atomic_file(out) as kept:
            seen = (
                inside
                for found in _looked_at(documents, view, insides, jobs, workers, "clean_text")
                for inside in found
            )
            for inside, surface in zip(seen, first.reasons, strict=True):
                for row in second.decide(inside, SURFACE[surface]):
                    (rejected if "reason" in row else kept).write(jsonl.dumps(row) + "\n")
            summary = {
                **ledger.as_json(), "perplexity": _tenths(second.perplexities), "quality": _tenths(second.qualities),
            }  # fmt: skip
            with atomic_file(report) as file:
                file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def _looked_at(path: Path, view: View, task: Task, jobs: Sequence[Job], workers: int, what: str) -> Iterator[Any]:
    done = 0
    try:
        for found in look(path, task, jobs, workers, what):
            yield found
            done += 1
    except RowFault as fault:
        raise placed(path, view, jobs[done][0], fault) from None


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
