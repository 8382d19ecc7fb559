"""A table says what its models' training data lost for overlap with its evaluation set."""

import json

import pytest

from belle.errors import InputError
from belle.evaluate.overlaps import overlap_caption, removed


@pytest.fixture
def report(tmp_path):
    def report(name, rows, **contamination):
        path = tmp_path / f"{name}.report.json"
        path.write_text(json.dumps({"rows_in": rows, **contamination}), encoding="utf-8")
        return path

    return report


def test_each_data_set_once_with_its_models(report):
    checked = report("a", 100, contamination={"checked": ["tiny"], "evaluation_sets": {"tiny": 7}})
    clean = report("b", 50, contamination={"checked": ["tiny"], "evaluation_sets": {}})
    other = report("c", 20, contamination={"checked": ["real"], "evaluation_sets": {"real": 3}})
    never = report("d", 10)
    found = removed("tiny", ["m", "n", "n", "o", "p"], [checked, checked, clean, other, never])
    assert [(entry["models"], entry["rows_in"], entry["removed"]) for entry in found] == [
        (["m", "n"], 100, 7), (["n"], 50, 0), (["o"], 20, None), (["p"], 10, None),
    ]  # fmt: skip
    said = overlap_caption("tiny", found)
    assert said[0] == "Of the 100 raw rows of a, 7 were removed because they overlap with tiny."
    assert said[2] == "The rows of c were not checked against tiny."


def test_what_does_not_go_together(report, tmp_path):
    with pytest.raises(InputError, match="2 models and 1 reports"):
        removed("tiny", ["m", "n"], [report("a", 1)])
    (tmp_path / "x").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="not a report of `belle clean`"):
        removed("tiny", ["m"], [tmp_path / "x"])
    with pytest.raises(InputError, match="there is no such file"):
        removed("tiny", ["m"], [tmp_path / "none"])
