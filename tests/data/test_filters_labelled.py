"""The labelled sample: sound, and every filter as right on it as published."""

import hashlib
from pathlib import Path

import pytest

from belle import jsonl
from belle.data.filters import FILTERS
from belle.records import INSTRUCTION_CLASSES
from tools import filter_figures

ROWS = list(jsonl.read(filter_figures.SAMPLE))
LABELLED = [name for name in FILTERS if name not in filter_figures.LITERAL]

FLOOR = {"precision": 0.95, "recall": 0.95}
"""Of each filter, on the rows that it was tuned on."""
HELD_OUT_FLOOR = {"precision": 0.93, "recall": 0.90}
"""Of all filters together, on rows that nobody tuned on; a single filter has too few of them to be held to."""


def test_the_sample_is_sound():
    assert len(ROWS) >= 600
    assert {row["class"] for row in ROWS} == set(INSTRUCTION_CLASSES)
    assert {name for row in ROWS for name in row["drop"]} == set(LABELLED)
    assert sum(not row["drop"] for row in ROWS) >= 300
    for row in ROWS:
        text = "\0".join((row["instruction"], row["input"], row["output"])).encode("utf-8", "surrogatepass")
        assert row["id"] == "l-" + hashlib.sha256(text).hexdigest()[:12]
    assert len({row["id"] for row in ROWS}) == len(ROWS)


def test_a_third_is_held_out():
    share = sum(filter_figures.held_out(row) for row in ROWS) / len(ROWS)
    assert 0.3 < share < 0.37


@pytest.mark.parametrize("name", LABELLED)
def test_each_filter_keeps_its_floor(name):
    counts = filter_figures.figures(ROWS)[name]["tuned on"]
    assert counts.labelled >= 2
    assert counts.found / counts.dropped >= FLOOR["precision"]
    assert counts.found / counts.labelled >= FLOOR["recall"]


def test_together_they_keep_theirs_on_rows_held_out():
    counts = [parts["held out"] for parts in filter_figures.figures(ROWS).values()]
    found = sum(count.found for count in counts)
    assert found / sum(count.dropped for count in counts) >= HELD_OUT_FLOOR["precision"]
    assert found / sum(count.labelled for count in counts) >= HELD_OUT_FLOOR["recall"]


def test_figures_count_what_was_dropped_wrongly(monkeypatch):
    monkeypatch.setitem(FILTERS, "refusal", lambda row: "refusal" if row["output"].startswith("抱歉") else None)
    rows = [
        {"instruction": "一", "input": "", "output": "抱歉，不行。", "drop": ["refusal"]},
        {"instruction": "二", "input": "", "output": "抱歉信", "drop": []},
        {"instruction": "三", "input": "", "output": "抱歉，", "drop": ["truncated"]},
        {"instruction": "四", "input": "", "output": "不行。", "drop": ["refusal"]},
    ]
    assert filter_figures.count("refusal", rows) == filter_figures.Counts(found=1, false=2, strangers=1, missed=1)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433)],
)
def test_wilson(hits, of, low, high):
    assert filter_figures.wilson(hits, of) == pytest.approx((low, high), abs=1e-4)


def test_the_published_figures_are_those_of_now():
    published = Path("docs/filters.md").read_text(encoding="utf-8")
    assert published == filter_figures.document(), "run `python tools/filter_figures.py`"
