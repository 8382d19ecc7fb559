"""Scores: the paper's arithmetic, unparsed verdicts, splits and the standard error."""

import json
import math

import pytest

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.evaluate.score import score


def verdicts(*groups, model="belle-tiny"):
    """Rows from (class, scores[, split]) groups."""
    rows = []
    for cls, values, *split in groups:
        for value in values:
            row = {"id": f"e-{len(rows):012x}", "class": cls, "split": split[0] if split else "", "model": model}
            rows.append({**row, "request": "0" * 64, "verdict": "得分: …", "score": value})
    return rows


@pytest.fixture
def run(tmp_path):
    def run(rows):
        jsonl.write(tmp_path / "verdicts.jsonl", rows)
        score(verdicts=tmp_path / "verdicts.jsonl", out=tmp_path / "scores" / "m.json")
        return json.loads((tmp_path / "scores" / "m.json").read_text(encoding="utf-8"))

    return run


PAPER_CLASSES = (
    "rewrite",
    "classification",
    "generation",
    "summarization",
    "extract",
    "open qa",
    "brainstorming",
    "closed qa",
)
PAPER = [
    # "Towards Better Instruction Following": others, the eight classes | macro, macro without others
    ([0.419, 0.858, 0.655, 0.897, 0.663, 0.456, 0.422, 0.837, 0.577], 0.643, 0.670),
    ([0.442, 0.828, 0.655, 0.853, 0.743, 0.444, 0.355, 0.803, 0.537], 0.629, 0.652),
    ([0.338, 0.789, 0.691, 0.825, 0.624, 0.423, 0.358, 0.805, 0.616], 0.608, 0.642),
    ([0.419, 0.825, 0.626, 0.918, 0.690, 0.559, 0.451, 0.879, 0.593], 0.662, 0.693),
    ([0.412, 0.807, 0.637, 0.889, 0.709, 0.489, 0.445, 0.814, 0.645], 0.650, 0.679),
    ([0.376, 0.760, 0.606, 0.894, 0.744, 0.489, 0.376, 0.899, 0.502], 0.627, 0.659),
    ([0.508, 0.774, 0.632, 0.818, 0.691, 0.578, 0.380, 0.819, 0.653], 0.650, 0.668),
    ([0.566, 0.904, 0.820, 0.984, 0.753, 0.461, 0.564, 0.938, 0.672], 0.740, 0.762),
    ([0.875, 0.861, 0.813, 0.971, 0.795, 0.767, 0.690, 0.944, 0.751], 0.830, 0.824),
]


@pytest.mark.parametrize(("means", "macro", "without"), PAPER)
def test_the_papers_rows(run, means, macro, without):
    """Each row of the paper from its class means, "others" from math and code rows that are pooled."""
    others = means[0]
    # 3 math rows and 1 code row whose pooled mean is the paper's; the mean of the two class means is not.
    rows = verdicts(
        ("math", [others + 0.1, others + 0.05, others - 0.05]),
        ("code", [others - 0.1]),
        *((cls, [mean]) for cls, mean in zip(PAPER_CLASSES, means[1:], strict=True)),
    )
    result = run(rows)
    assert result["Score"] == pytest.approx(macro, abs=0.001)
    assert result["Score_w/o_others"] == pytest.approx(without, abs=0.001)
    assert result["others"]["mean"] == pytest.approx(others, abs=1e-4)
    assert result["others"]["n"] == 4


def test_cot_joins_the_others(run):
    result = run(verdicts(("cot", [1.0, 1.0]), ("math", [0.0]), ("code", [0.0]), ("extract", [1.0])))
    assert result["others"] == {"n": 4, "parsed": 4, "unparsed": 0, "mean": 0.5}
    assert result["Score"] == 0.75
    assert result["Score_w/o_others"] == 1.0


def test_unparsed_verdicts_are_in_no_mean(run):
    result = run(verdicts(("extract", [1.0, 0.5, None]), ("rewrite", [None, None]), ("closed\xa0QA", [0.25])))
    assert result["classes"]["extract"] == {"n": 3, "parsed": 2, "unparsed": 1, "mean": 0.75}
    assert result["classes"]["rewrite"] == {"n": 2, "parsed": 0, "unparsed": 2, "mean": None}
    assert result["classes"]["closed qa"]["mean"] == 0.25
    assert (result["n"], result["parsed"], result["unparsed"]) == (6, 3, 3)
    assert result["Score"] == 0.5


def test_splits(run):
    result = run(
        verdicts(("extract", [1, 1], "entities"), ("math", [0], "entities"), ("extract", [0, None], "phrasings"))
    )
    assert result["splits"]["entities"] == {"n": 3, "unparsed": 0, "Score": 0.5, "stderr": 0.0}
    assert result["splits"]["phrasings"] == {"n": 2, "unparsed": 1, "Score": 0.0, "stderr": None}
    assert list(result["splits"]) == ["entities", "phrasings"]
    assert "splits" not in run(verdicts(("extract", [1.0])))


def test_standard_error(run):
    result = run(verdicts(("extract", [0.0, 1.0, 1.0, 0.0]), ("rewrite", [0.0, 1.0]), ("math", [1.0])))
    third, half = 1 / 3, 1 / 2  # sample variances; math has one row, so it is given their mean
    expected = math.sqrt(third / 4 + half / 2 + (third + half) / 2) / 3
    assert result["stderr"] == round(expected, 4)
    assert run(verdicts(("extract", [0.5])))["stderr"] is None


def test_order_and_bytes(run, tmp_path):
    groups = [("zebra", [1]), ("rewrite", [0.123456]), ("math", [1]), ("apple", [0])]
    result = run(verdicts(*groups))
    assert list(result["classes"]) == ["math", "rewrite", "apple", "zebra"]
    assert result["classes"]["rewrite"]["mean"] == 0.1235
    first = (tmp_path / "scores" / "m.json").read_bytes()
    run(verdicts(*groups))
    assert (tmp_path / "scores" / "m.json").read_bytes() == first


def test_leaves_are_numbers_but_for_the_model(run):
    def leaves(value):
        return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]

    result = run(verdicts(("extract", [1, 0], "a"), ("math", [1, 0], "b")))
    assert result.pop("model") == "belle-tiny"
    assert all(type(leaf) in (int, float) for leaf in leaves(result))


def changed(**values):
    return [{**row, **values} for row in verdicts(("extract", [1.0]))]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no verdicts"),
        (changed(score=1.5), r"row 1: `score` must be a number from 0 to 1, or null; found 1.5(?s:.*)another scale"),
        (changed(score=True), "found True"),
        (changed(score="0.5"), "found '0.5'"),
        (changed(score=float("nan")), "NaN is no number"),
        (changed(id=None), "`id` must be text, found None"),
        (changed(model=""), "`model` must be text"),
        ([{"id": "e", "class": "extract", "model": "m"}], "`score` must be"),
        (verdicts(("extract", [1.0])) * 2, "comes twice"),
        ([*changed(), {**changed(model="other")[0], "id": "e-2"}], "a verdict on 'other' among"),
    ],
)
def test_refused_rows(run, tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        run(rows)
    assert not (tmp_path / "scores").exists()


def test_nothing_parsed(run):
    with pytest.raises(BelleError, match="none of 2 verdicts has a score"):
        run(verdicts(("extract", [None, None])))
