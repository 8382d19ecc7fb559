"""Drop raw rows that a model should not learn from; count every one under its reason."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from belle.data import filters as library
from belle.data.cleaning import memory, weights
from belle.data.cleaning.chain import Chain, decided
from belle.data.cleaning.looking import Looking
from belle.data.cleaning.raw import mapped, rows_of
from belle.data.cleaning.writing import report as report_of
from belle.data.cleaning.writing import write_rejects, write_rows
from belle.data.report.page import html
from belle.errors import InputError
from belle.files import atomic_file, require_file, sha256_of
from belle.filter_names import no_name_twice

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
    weighed: Path | None = None,
    weigher: str = "",
    max_perplexity: float = 0.0,
    max_answer_perplexity: float = 0.0,
    perplexity_cut: float = 0.0,
    semantic_threshold: float = 2.0,
    remembered: Path | None = None,
    workers: int = 1,
) -> None:
    """Write the rows of ``raw`` that pass, unchanged and in order, and a report of all that did not.

    A row is dropped for the first reason that holds: the named filters in their order, ``output_too_short``,
    ``output_too_long``, ``not_utf8``, ``contaminated`` (it overlaps with an evaluation row), ``high_perplexity`` (a
    base model finds it too unlikely), ``exact_duplicate`` (instruction, input and output came before, but for white
    space and full or half width), ``near_duplicate``, ``semantic_duplicate`` (a base model sees the same in a row kept
    before), ``not_novel``. So rows in = rows out + the sum of the reasons. Of a conversation each question and its
    answer must pass the filters.

    Args:
        raw: JSON Lines with ``id``, and ``instruction, input, output`` or ``conversations``; further keys are carried
            along.
        out: the clean rows.
        report: JSON: ``rows_in``, ``rows_out``, ``reasons`` (counts), ``samples`` (up to 3 rows of each), ``chars``
            and ``classes`` before and after.
        rejects: the dropped rows, each with its ``reason``.
        page: the report as HTML, with pictures.
        filters: names in ``belle.data.filters.FILTERS``, or with a value (``belle.filter_names``).
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
        weighed: what the stage ``weigh`` wrote of these rows; without it nothing is asked that needs it.
        weigher: the name of the model that weighed them, for the report.
        max_perplexity, max_answer_perplexity: the highest perplexity of a token of the row, and of its answer given the
            question; 0 switches a limit off.
        perplexity_cut: the share of the rows that pass everything before that goes, the most unlikely first; 0 is none.
        semantic_threshold: cosine of a row's vector with that of any row kept before from which on it is a duplicate;
            over 1 switches that off.
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
    limits = weights.Limits(max_perplexity, max_answer_perplexity, perplexity_cut)
    chain = Chain(near_duplicate_threshold, novelty_threshold, semantic_threshold, limits)
    _check_weights(weighed, weigher, limits, semantic_threshold)
    steps = chain.steps()
    names = [*looking.reasons(), *steps]
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
        of_rows = weights.of_rows(weighed, raw, seen) if weighed else None
        dropped, rivals, decisions = decided(seen, chain, before[1] if before else {}, of_rows)
        reasons = np.where(dropped > 0, dropped + (len(names) - len(steps)), seen.reasons).astype(np.uint8)
        said = dict[int, bytes]()
        summary = report_of(view, seen, reasons, rivals, names, list(evals or {}))
        if of_rows is not None:
            found = weights.report(of_rows, limits, semantic_threshold, reasons == 0)
            summary["perplexity"] = {"weigher": weigher, **found}
            said = weights.said_of(of_rows, np.flatnonzero(dropped == 1) if limits else np.zeros(0, np.int64))
        with ThreadPoolExecutor(2) as writers:  # the disk's work beside ours
            works: list[Future[Any]] = [
                writers.submit(write_rejects, rejects, view, seen, reasons, names, said),
                writers.submit(write_rows, out, view, seen, reasons == 0),
            ]
            if remembered:
                works.append(writers.submit(memory.save, remembered, made_by, seen, decisions))
            for work in works:
                work.result()
    with atomic_file(report) as file:
        file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
    with atomic_file(page) as file:
        file.write(html(summary, raw.stem))


def _check_filters(names: list[str]) -> None:
    faults = []
    for name in names:
        try:
            library.named(name)
        except ValueError as fault:
            faults.append(str(fault))
    if faults:
        raise InputError(
            "; ".join(faults),
            where="clean.filters",
            cause="a slip of the pen, or a reason that always applies (lengths, duplicates, novelty)",
            fix="take a name that docs/filters.md has, or one with a value, as input_too_long:500",
        )
    try:
        no_name_twice(names)
    except ValueError as fault:
        raise InputError(str(fault), where="clean.filters", fix="name each filter once") from None


def _check_weights(weighed: Path | None, weigher: str, limits: weights.Limits, semantic_threshold: float) -> None:
    asked = bool(limits) or semantic_threshold <= 1
    if asked == bool(weighed):
        return
    if asked:
        raise InputError(
            "a limit of perplexity or of meaning, and no weights of rows",
            where="clean.weigher",
            fix="name an entry of `weighers:`, or switch off max_perplexity, max_answer_perplexity, perplexity_cut (0)"
            " and semantic_threshold (over 1)",
        )
    raise InputError(
        f"rows are weighed{f' by {weigher}' if weigher else ''}, and nothing asks for their weights",
        where="clean.weigher",
        fix="set max_perplexity, max_answer_perplexity, perplexity_cut or semantic_threshold, or leave weigher empty",
    )


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
