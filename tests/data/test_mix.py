"""The stage mix: sets end to end, each row as it stood and told its set."""

import json

import pytest

from belle import jsonl
from belle.data.mix import mix
from belle.errors import InputError


@pytest.fixture
def run(tmp_path):
    def run(sets, **changes):
        raws, reports = [], []
        for name, (text, card) in sets.items():
            raws.append(tmp_path / f"{name}.jsonl")
            reports.append(tmp_path / f"{name}.report.json")
            raws[-1].write_text(text, encoding="utf-8", newline="")
            reports[-1].write_text(card if isinstance(card, str) else json.dumps(card), encoding="utf-8")
        given = {"raws": raws, "reports": reports, "names": list(sets), **changes}
        mix(out=tmp_path / "out.jsonl", report=tmp_path / "out.json", **given)
        return (tmp_path / "out.jsonl").read_text(encoding="utf-8"), json.loads((tmp_path / "out.json").read_text())

    return run


A = '{"id": "a-1", "instruction": "问", "output": "答"}\n\n  {"id":"a-2","b":{"c":[1]} } \r\n'
B = '{"id": "b-1", "conversations": [{"from": "human", "value": "\\ud83d\\ude00"}], "n": 1.0}'


def test_rows_stand_as_they_stood(run, tmp_path):
    text, report = run({"one": (A, {"licence": "mit", "rows_out": 2}), "two": (B, {"replies": 1})})
    assert text.splitlines() == [
        '{"id": "a-1", "instruction": "问", "output": "答", "set": "one"}',
        '{"id":"a-2","b":{"c":[1]}, "set": "one"}',
        B[:-1] + ', "set": "two"}',
    ]
    rows = list(jsonl.read(tmp_path / "out.jsonl"))
    assert [(row["id"], row["set"]) for row in rows] == [("a-1", "one"), ("a-2", "one"), ("b-1", "two")]
    assert report == {
        "rows": 3,
        "sets": {
            "one": {"rows": 2, "licence": "mit", "report": {"licence": "mit", "rows_out": 2}},
            "two": {"rows": 1, "licence": "unknown", "report": {"replies": 1}},
        },
    }
    other, _ = run({"two": (B, {}), "one": (A, {})})
    assert sorted(other.splitlines()) == sorted(text.splitlines())
    assert other != text


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"x": ('{"id": "b-1"}\n', {}), "y": (B, {})}, r"y.jsonl:1: the id 'b-1' comes twice, in y and before it in x"),
        ({"x": (A + '{"id": "a-2"}\n', {}), "y": (B, {})}, r"x.jsonl:4: the id 'a-2' comes twice, in x and before"),
        ({"x": (A, {}), "y": ('\n{"id": 5}\n', {})}, r"y.jsonl:2: `id` must be text that is not empty, found 5"),
        ({"x": (A, {}), "y": ('{"a": 1}\n', {})}, r"y.jsonl:1: `id` must be .* found nothing"),
        ({"x": (A, {}), "y": ('{"id": "c", "set": "z"}', {})}, r"y.jsonl:1: the row says itself that its `set` is 'z'"),
        ({"x": (A, {}), "y": ('{"id": "c"\n', {})}, r"y.jsonl:1: not JSON"),
        ({"x": (A, {}), "y": (B, "[]")}, r"y.report.json: no report of a data set: a list"),
        ({"x": (A, "{"), "y": (B, {})}, r"x.report.json: no report of a data set"),
    ],
)  # fmt: skip
def test_refused(run, tmp_path, sets, message):
    with pytest.raises(InputError, match=message):
        run(sets)
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "out.json").exists()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_set_that_is_not_there(run, tmp_path):
    with pytest.raises(InputError, match=r"gone.jsonl: raw rows: there is no such file"):
        run({"x": (A, {}), "y": (B, {})}, raws=[tmp_path / "x.jsonl", tmp_path / "gone.jsonl"])
    with pytest.raises(InputError, match=r"2 files of rows, 2 reports and 1 names"):
        run({"x": (A, {}), "y": (B, {})}, names=["x"])
