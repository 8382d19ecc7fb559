"""Drop raw rows that a model should not learn from; count every one under its reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from belle.data import filters as library
from belle.data.cleaning import memory
from belle.data.cleaning.chain import STEPS, Chain, decided
from belle.data.cleaning.looking import Looking
from belle.data.cleaning.raw import mapped, rows_of
from belle.data.cleaning.writing import report as report_of
from belle.data.cleaning.writing import write_rejects, write_rows
from belle.data.report.page import html
from belle.errors import InputError
from belle.files import atomic_file, require_file, sha256_of

COMPARE = ("instruction", "instruction+input")
"""The texts between which novelty can be measured."""


def clean(
    *,
    raw: Path,
    out: Path,
    report: Path,
    rejects: Path,
    page: Path,
    filters: list[str],
    compare: str,
    novelty_threshold: float,
    near_duplicate_threshold: float,
    min_output_chars: int,
    max_output_chars: int,
    evals: dict[str, Path] | None = None,
    contamination_share: float = 0.5,
    contamination_text_share: float = 0.8,
    contamination_run: int = 50,
    remembered: Path | None = None,
    workers: int = 1,
) -> None:
    """Write the rows of ``raw`` that pass, unchanged and in order, and a report of all that did not.

    A row is dropped for the first reason that holds: the named filters in their order, ``output_too_short``,
    ``output_too_long``, ``not_utf8``, ``contaminated`` (it overlaps with an evaluation row), ``exact_duplicate``
    (instruction, input and output came before, but for white space and full or half width), ``near_duplicate``,
    ``not_novel``. So rows in = rows out + the sum of the reasons. Of a conversation each question and its answer must
    pass the filters.

    Args:
        raw: JSON Lines with ``id``, and ``instruction, input, output`` or ``conversations``; further keys are carried
            along.
        out: the clean rows.
        report: JSON: ``rows_in``, ``rows_out``, ``reasons`` (counts), ``samples`` (up to 3 rows of each), ``chars``
            and ``classes`` before and after.
        rejects: the dropped rows, each with its ``reason``.
        page: the report as HTML, with pictures.
        filters: names in ``belle.data.filters.FILTERS``.
        compare: the text for novelty: ``instruction`` or ``instruction+input``.
        novelty_threshold: ROUGE-L F1 with any row kept before from which on a row is not novel. 1 leaves one
            row of each text; over 1 switches novelty off.
        near_duplicate_threshold: estimated Jaccard similarity with any row kept before from which on a row is a
            near-duplicate; over 1 switches that off.
        min_output_chars, max_output_chars: limits of an output, both included.
        evals: evaluation sets that rows must not overlap with, by the names that the report calls them.
        contamination_share, contamination_text_share, contamination_run: the share of an evaluation question, the
            share of a row's text, and the length of a passage in characters from which on that is too much (see
            ``belle.data.contamination``).
        remembered: where to keep what was seen and decided, so that a changed set costs in proportion to the change;
            no output depends on it.
        workers: how many processes look at rows; no output depends on it.

    Raises:
        InputError: an unknown filter, a setting out of range, or a row without an id or of another schema.
    """
    _check_filters(filters)
    _check_settings(compare, novelty_threshold, near_duplicate_threshold, min_output_chars, max_output_chars)
    looking = Looking(
        filters=tuple(filters), compare=compare, min_output_chars=min_output_chars, max_output_chars=max_output_chars,
        tokens=novelty_threshold <= 1, near_duplicate_threshold=near_duplicate_threshold,
        evals=tuple((name, str(path)) for name, path in (evals or {}).items()),
        contamination=(
            ("share", contamination_share), ("text_share", contamination_text_share), ("run", contamination_run),
        ),
    )  # fmt: skip
    chain = Chain(near_duplicate_threshold, novelty_threshold)
    names = [*looking.reasons(), *STEPS]
    require_file(raw, "raw rows")
    for path in (evals or {}).values():
        require_file(path, "evaluation set")
    chain.load()  # before the memory asks which code is loaded
    made_by = ""
    if remembered:
        made_by = memory.identity([repr(looking), repr(chain), [sha256_of(path) for path in (evals or {}).values()]])
    before = memory.load(remembered, made_by) if remembered else None
    with mapped(raw) as view:
        seen = rows_of(raw, view, looking, before[0] if before else None, workers)
        dropped, rivals, decisions = decided(seen, chain, before[1] if before else {})
        reasons = np.where(dropped > 0, dropped + (len(names) - len(STEPS)), seen.reasons).astype(np.uint8)
        write_rows(out, view, seen, reasons == 0)
        write_rejects(rejects, view, seen, reasons, names)
        summary = report_of(view, seen, reasons, rivals, names, bool(evals))
    with atomic_file(report) as file:
        file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
    with atomic_file(page) as file:
        file.write(html(summary, raw.stem))
    if remembered:
        memory.save(remembered, made_by, seen, decisions)


def _check_filters(names: list[str]) -> None:
    unknown = [name for name in names if name not in library.FILTERS]
    if unknown:
        raise InputError(
            f"unknown filter {', '.join(map(repr, unknown))}",
            where="clean.filters",
            cause="a slip of the pen, or a reason that always applies (lengths, duplicates, novelty)",
            fix=f"choose from: {', '.join(library.FILTERS)}",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"named twice: {', '.join(twice)}", where="clean.filters", fix="name each filter once")


def _check_settings(compare: str, novelty: float, near: float, min_chars: int, max_chars: int) -> None:
    if compare not in COMPARE:
        raise InputError(f"must be {' or '.join(COMPARE)}, found {compare!r}", where="clean.compare")
    for key, threshold in (("novelty_threshold", novelty), ("near_duplicate_threshold", near)):
        if not threshold > 0:
            raise InputError(
                f"must be over 0, found {threshold}", where=f"clean.{key}", fix="0.7 is usual; over 1 switches it off"
            )
    if not 0 <= min_chars <= max_chars:
        raise InputError(
            f"min_output_chars {min_chars} and max_output_chars {max_chars} leave no row",
            where="clean",
            fix="choose 0 <= min_output_chars <= max_output_chars",
        )
