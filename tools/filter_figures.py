"""Put what each filter finds and misses in the labelled sample into docs/filters.md; with --check only compare.

python tools/filter_figures.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from belle import jsonl
from belle.data.filters import FILTERS

SAMPLE = Path("tests/data/labelled/rows.jsonl")
DOC = Path("docs/filters.md")
LITERAL = ("instruction_length", "blacklist")
"""Filters that do what they say by definition: nobody labelled them."""
LINE_END = "\n"
PARTS = ("tuned on", "held out")
CAREFUL = {
    "seed tasks (data/seeds)": Path("data/seeds/seed_tasks.jsonl"),
    "evaluation rows with answers (data/eval/real.jsonl)": Path("data/eval/real.jsonl"),
}
"""Texts written with care: a filter that drops one is wrong."""


@dataclass(frozen=True)
class Counts:
    """What one filter did to one part of the sample.

    ``strangers`` are false drops of rows that have another fault: the row goes rightly, under the wrong name.
    """

    found: int
    false: int
    strangers: int
    missed: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.found + other.found,
            self.false + other.false,
            self.strangers + other.strangers,
            self.missed + other.missed,
        )

    @property
    def dropped(self) -> int:
        return self.found + self.false

    @property
    def labelled(self) -> int:
        return self.found + self.missed


def held_out(row: jsonl.Row) -> bool:
    """Whether nobody tuned a filter on this row: a third of the rows, by their ids, which are hashes of the texts."""
    return int(row["id"].removeprefix("l-"), 16) % 3 == 0


def part_of(row: jsonl.Row) -> str:
    return PARTS[held_out(row)]


def count(name: str, rows: Iterable[jsonl.Row]) -> Counts:
    """Compare one filter with the labels."""
    found = false = strangers = missed = 0
    for row in rows:
        dropped, labelled = FILTERS[name](row) is not None, name in row["drop"]
        found += dropped and labelled
        false += dropped and not labelled
        strangers += dropped and not labelled and bool(row["drop"])
        missed += labelled and not dropped
    return Counts(found, false, strangers, missed)


def figures(rows: list[jsonl.Row]) -> dict[str, dict[str, Counts]]:
    """Filter → part → counts, for every filter that was labelled."""
    parts = {part: [row for row in rows if part_of(row) == part] for part in PARTS}
    return {name: {part: count(name, parts[part]) for part in PARTS} for name in FILTERS if name not in LITERAL}


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Bounds of a share at 95% (Wilson 1927): honest where there are few rows, or all of them hit."""
    z = 1.96
    share, scale = hits / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / scale
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(hits: int, of: int) -> str:
    if not of:
        return "–"
    low, high = wilson(hits, of)
    return f"{hits / of:.2f} [{low:.2f}, {high:.2f}]"


def _table(rows: list[jsonl.Row]) -> list[str]:
    lines = [
        "| filter | part | labelled | found | false | of these, faulty otherwise | precision | recall |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    pooled = dict.fromkeys(PARTS, Counts(0, 0, 0, 0))

    def line(name: str, part: str, counts: Counts) -> str:
        precision, recall = _share(counts.found, counts.dropped), _share(counts.found, counts.labelled)
        numbers = f"{counts.labelled} | {counts.found} | {counts.false} | {counts.strangers}"
        return f"| {name} | {part} | {numbers} | {precision} | {recall} |"

    for name, parts in figures(rows).items():
        for part, counts in parts.items():
            pooled[part] += counts
            lines.append(line(f"`{name}`" if part == PARTS[0] else "", part, counts))
    lines += [line("all" if part == PARTS[0] else "", part, counts) for part, counts in pooled.items()]
    return lines


def _good_rows(rows: list[jsonl.Row]) -> list[str]:
    lines = ["| good rows | n | dropped | share |", "|---|--:|--:|--:|"]

    def line(what: str, good: list[jsonl.Row]) -> str:
        lost = sum(any(FILTERS[name](row) for name in FILTERS if name not in LITERAL) for row in good)
        return f"| {what} | {len(good)} | {lost} | {_share(lost, len(good))} |"

    lines += [
        line(f"of the sample, {part}", [row for row in rows if not row["drop"] and part_of(row) == part])
        for part in PARTS
    ]
    return lines + [line(what, careful_rows(path)) for what, path in CAREFUL.items()]


def careful_rows(path: Path) -> list[jsonl.Row]:
    """Seed tasks, or evaluation rows that have an answer, as rows."""
    return [
        {"instruction": row["instruction"], **row["instances"][0]}
        if "instances" in row
        else {"instruction": row["question"], "input": "", "output": row["std_answer"]}
        for row in jsonl.read(path)
        if "instances" in row or row["std_answer"]
    ]


def _blacklist(rows: list[jsonl.Row]) -> str:
    listed = [row for row in rows if FILTERS["blacklist"](row)]
    faulty = sum(bool(row["drop"]) for row in listed)
    found = sum("unanswerable" in row["drop"] for row in listed)
    unanswerable = sum("unanswerable" in row["drop"] for row in rows)
    careful = [row for path in CAREFUL.values() for row in careful_rows(path)]
    lost = sum(FILTERS["blacklist"](row) is not None for row in careful)
    return (
        f"`blacklist` drops {len(listed)} of the {len(rows)} rows; {faulty} of them are labelled with any fault,\n"
        f"{found} as unanswerable (of {unanswerable}). Of the {len(careful)} texts written with care it drops {lost}."
    )


def document() -> str:
    """All of docs/filters.md."""
    rows = list(jsonl.read(SAMPLE))
    good = sum(not row["drop"] for row in rows)
    parts = [sum(part_of(row) == part for row in rows) for part in PARTS]
    what = [f"| `{name}` | {(test.__doc__ or '').splitlines()[0]} |" for name, test in FILTERS.items()]
    literal = " and ".join(f"`{name}`" for name in LITERAL)
    return f"""# Filters

Written by `python tools/filter_figures.py`; a test fails when it is stale.

| a recipe's `filters:` | |
|---|---|
{LINE_END.join(what)}

A row goes under the first name in the recipe's order that holds. `output_too_short`, `output_too_long` and
`not_utf8` always apply. Filters look at one row; conversations are shown to them pair by pair.

Some take a value behind a colon: `instruction_too_short:4`, `instruction_too_long:300` and `input_too_long:2000` a
number of characters, `blacklist:图片,链接` words of your own in the place of BELLE's. A reason is the name alone.

## How often they are right

Measured on {len(rows)} rows in `{SAMPLE}`, written for this purpose in the 12 instruction
classes before the filters were tuned: {good} good ones, many of which look bad, and {len(rows) - good} faulty
ones, each with the names of all filters that should drop it. {parts[1]} of them, a third by a hash of the id, were held
out: nobody looked at what a filter does to them while it was changed. Brackets hold 95% Wilson intervals.

Read them with care. One author wrote rows and filters, so rows from elsewhere will be harder; faults are far more
common here than in real sets, so a real set's precision hangs on how rare the fault is there. The share of good rows
lost, below, does not.

{LINE_END.join(_table(rows))}

*false*: dropped under this name without that label; *faulty otherwise*: the row carries another label, so it goes
rightly, under the wrong name.

## Good rows lost

By any filter but {literal}, which are BELLE's own rules and do what they say. Seed tasks and
evaluation rows were written with care, for other purposes; what fell of them was mended while tuning.

{LINE_END.join(_good_rows(rows))}

{_blacklist(rows)}
"""


def main(check: bool) -> None:
    fresh = document()
    if check and DOC.read_text(encoding="utf-8") != fresh:
        sys.exit(f"{DOC}: not what the filters do now: run `python tools/filter_figures.py`")
    DOC.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
