"""Drop raw rows that a model should not learn from; count every one under its reason."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle import jsonl
from belle.data import filters as library
from belle.data import novelty
from belle.errors import InputError
from belle.files import atomic_file, require_file

COMPARE = ("instruction", "instruction+input")
"""The texts between which novelty can be measured."""

_EXACT_DUPLICATE, _NOT_NOVEL = "exact_duplicate", "not_novel"
_SAMPLES = 3
_FIELDS = ("instruction", "input", "output")


def clean(
    *,
    raw: Path,
    out: Path,
    report: Path,
    filters: list[str],
    compare: str,
    novelty_threshold: float,
    min_output_chars: int,
    max_output_chars: int,
) -> None:
    """Write the rows of ``raw`` that pass, unchanged and in order, and a report of all that did not.

    A row is dropped for the first reason that holds: the named filters in their order, ``output_too_short``,
    ``output_too_long``, ``not_utf8``, ``exact_duplicate`` (instruction, input and output came before, but for
    white space and full or half width), ``not_novel``. So rows in = rows out + the sum of the reasons.

    Args:
        raw: JSON Lines with ``id, instruction, input, output``; further keys are carried along.
        out: the clean rows.
        report: JSON: ``rows_in``, ``rows_out``, ``reasons`` (counts), ``samples`` (the ids of up to 3 rows of
            each), ``chars`` (lengths of the clean rows' texts, in characters).
        filters: names in ``belle.data.filters.FILTERS``.
        compare: the text for novelty: ``instruction`` or ``instruction+input``.
        novelty_threshold: ROUGE-L F1 with any row kept before from which on a row is not novel. 1 leaves one
            row of each text; over 1 switches novelty off.
        min_output_chars, max_output_chars: limits of the output, both included.

    Raises:
        InputError: an unknown filter, a setting out of range, or a row without an id or of another schema.
    """
    named = _named(filters)
    _check_settings(compare, novelty_threshold, min_output_chars, max_output_chars)
    steps = [
        *named,
        library.output_too_short(min_output_chars),
        library.output_too_long(max_output_chars),
        library.not_utf8,
    ]
    names = [*filters, "output_too_short", "output_too_long", "not_utf8", _EXACT_DUPLICATE, _NOT_NOVEL]
    reasons: dict[str, int] = dict.fromkeys(names, 0)
    samples: dict[str, list[str]] = {name: [] for name in names}
    lengths: dict[str, list[int]] = {field: [] for field in _FIELDS}
    rows_in = 0

    seen: set[bytes] = set()
    kept = novelty.NoveltyFilter(novelty_threshold)

    def reason_of(row: jsonl.Row) -> str | None:
        for step in steps:
            reason = step(row)
            if reason:
                return reason
        digest = _digest(row)
        if digest in seen:
            return _EXACT_DUPLICATE
        seen.add(digest)
        if novelty_threshold > 1:
            return None
        text = row["instruction"] if compare == "instruction" else f"{row['instruction']}\n{row['input']}"
        words = novelty.tokens(text)
        if kept.rival(words) is not None:
            return _NOT_NOVEL
        kept.add(words, row["id"])
        return None

    def passing() -> Iterator[jsonl.Row]:
        nonlocal rows_in
        for row in _rows(raw):
            rows_in += 1
            reason = reason_of(row)
            if reason is None:
                for field in _FIELDS:
                    lengths[field].append(len(row[field]))
                yield row
                continue
            reasons[reason] += 1
            if len(samples[reason]) < _SAMPLES:
                samples[reason].append(row["id"])

    rows_out = jsonl.write(out, passing())
    if rows_in != rows_out + sum(reasons.values()):
        raise AssertionError(f"{rows_in} rows in, {rows_out} out, {sum(reasons.values())} counted as dropped")
    summary = {
        "rows_in": rows_in,
        "rows_out": rows_out,
        "reasons": reasons,
        "samples": samples,
        "chars": {field: _summary(values) for field, values in lengths.items()},
    }
    with atomic_file(report) as file:
        file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def _named(names: list[str]) -> list[library.Filter]:
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
    return [library.FILTERS[name] for name in names]


def _check_settings(compare: str, threshold: float, min_chars: int, max_chars: int) -> None:
    if compare not in COMPARE:
        raise InputError(f"must be {' or '.join(COMPARE)}, found {compare!r}", where="clean.compare")
    if not threshold > 0:
        raise InputError(
            f"must be over 0, found {threshold}",
            where="clean.novelty_threshold",
            fix="0.7 is usual; over 1 switches novelty off",
        )
    if not 0 <= min_chars <= max_chars:
        raise InputError(
            f"min_output_chars {min_chars} and max_output_chars {max_chars} leave no row",
            where="clean",
            fix="choose 0 <= min_output_chars <= max_output_chars",
        )


def _rows(raw: Path) -> Iterator[jsonl.Row]:
    """Read and check the raw rows; ``input`` may be left out."""
    with open(require_file(raw, "raw rows"), "rb") as file:
        total = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    seen: set[str] = set()
    rows = tqdm(jsonl.read(raw, "raw rows"), desc="clean", unit="row", total=total, mininterval=1, delay=1)
    for number, row in enumerate(rows, 1):
        where = f"{raw}, row {number}"
        row.setdefault("input", "")
        for field in ("id", *_FIELDS):
            value = row.get(field)
            if not isinstance(value, str) or (field == "id" and not (value and value.isprintable())):
                raise InputError(
                    f"`{field}` must be text, found {'nothing' if value is None else repr(value)}",
                    where=where,
                    cause="another schema than id, instruction, input, output",
                    fix=f"give every row a `{field}`",
                )
        if row["id"] in seen:
            raise InputError(
                f"the id {row['id']!r} comes twice",
                where=where,
                cause="two raw files put together, or one put in twice",
                fix="give every row its own id",
            )
        seen.add(row["id"])
        yield row


def _digest(row: jsonl.Row) -> bytes:
    """What rows that differ only in white space or in full and half width have in common."""
    same = ["".join(unicodedata.normalize("NFKC", row[field]).split()) for field in _FIELDS]
    return hashlib.sha256("\0".join(same).encode()).digest()[:16]


def _summary(values: list[int]) -> dict[str, Any]:
    if not values:
        return {"min": 0, "mean": 0.0, "median": 0, "p95": 0, "max": 0}
    values = sorted(values)
    return {
        "min": values[0],
        "mean": round(sum(values) / len(values), 2),
        "median": values[(len(values) - 1) // 2],
        "p95": values[(95 * len(values) + 99) // 100 - 1],
        "max": values[-1],
    }
