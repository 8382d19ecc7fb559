"""Tables: the rows in their order, the same figures in three formats, and no table of unequal things."""

import csv
import json

import pytest

from belle.errors import InputError
from belle.evaluate.table import table


def scores(model, value, **changes):
    return {
        "model": model, "n": 6, "parsed": 5, "unparsed": 1, "Score": value, "Score_w/o_others": 0.5, "stderr": 0.0123,
        "others": {"n": 2, "parsed": 2, "unparsed": 0, "mean": 0.25},
        "classes": {
            "math": {"n": 2, "parsed": 2, "unparsed": 0, "mean": 0.25},
            "extract": {"n": 3, "parsed": 3, "unparsed": 0, "mean": 0.6667},
            "rewrite": {"n": 1, "parsed": 0, "unparsed": 1, "mean": None},
        },
        "splits": {
            "entities": {"n": 4, "unparsed": 1, "Score": 0.4321, "stderr": 0.1},
            "phrasings": {"n": 2, "unparsed": 0, "Score": None, "stderr": None},
        },
        **changes,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    def run(*entries, title="The tiny world"):
        paths = []
        for number, entry in enumerate(entries):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(entry if isinstance(entry, str) else json.dumps(entry), encoding="utf-8")
        out = tmp_path / "tables"
        table(scores=paths, out_md=out / "t.md", out_csv=out / "t.csv", out_json=out / "t.json", title=title)
        return [(out / f"t.{ending}").read_text(encoding="utf-8") for ending in ("md", "csv", "json")]

    return run


def test_markdown(run):
    markdown, _, _ = run(scores("tiny-base", 0.0611), scores("belle-tiny", 0.7389))
    assert [line.replace(" ", "") for line in markdown.splitlines()[2:6]] == [
        "|model|Score|Score_w/o_others|entities|phrasings|math|extract|rewrite|n|unparsed|",
        "|----------|------------:|---------------:|-------:|--------:|----:|------:|------:|--:|-------:|",
        "|tiny-base|0.061±0.012|0.500|0.432|–|0.250|0.667|–|6|1|",
        "|belle-tiny|0.739±0.012|0.500|0.432|–|0.250|0.667|–|6|1|",
    ]
    assert markdown.startswith("# The tiny world\n\n| model ")
    assert len({len(line) for line in markdown.splitlines()[2:6]}) == 1  # columns stand below each other
    caption = markdown.splitlines()[7]
    for words in (
        "6 answers",
        "unweighted mean",
        "pooled",
        "standard error",
        "entities (4), phrasings (2)",
        "unparsed",
    ):
        assert words in caption


def test_csv_has_the_full_figures(run):
    _, text, _ = run(scores("tiny-base", 0.0611), scores("belle-tiny", 0.7389))
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["model"] for row in rows] == ["tiny-base", "belle-tiny"]
    assert rows[1] == {
        "model": "belle-tiny", "Score": "0.7389", "stderr": "0.0123", "Score_w/o_others": "0.5",
        "Score entities": "0.4321", "Score phrasings": "", "math": "0.25", "extract": "0.6667", "rewrite": "",
        "n": "6", "unparsed": "1",
    }  # fmt: skip


def test_json_has_everything(run):
    entries = [scores("b", 0.5), scores("a", 0.25)]
    data = json.loads(run(*entries)[2])
    assert data["models"] == entries
    assert data["title"] == "The tiny world"
    assert "unweighted mean" in data["caption"]


def test_without_splits_or_errors(run):
    entry = scores("m|1", 0.5, stderr=None)
    del entry["splits"]
    markdown, text, _ = run(entry)
    assert "| m\\|1  | 0.500 |" in markdown
    assert "entities" not in markdown
    assert text.splitlines()[1] == "m|1,0.5,,0.5,0.25,0.6667,,6,1"


def test_bytes_are_the_same_each_time(run):
    entries = [scores("b", 0.5), scores("a", 0.25)]
    assert run(*entries) == run(*entries)
    assert run(*entries)[1] != run(*reversed(entries))[1]


def resized():
    entry = scores("other", 0.5)
    entry["classes"]["math"]["n"] = 3
    return entry


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "no scores"),
        ([scores("a", 0.1), scores("a", 0.2)], "'a' comes twice"),
        (
            [scores("a", 0.1), resized()],
            r"1.json: scored on another evaluation set than .*0.json: math 3, (?s:.*)there: math 2",
        ),
        (["{"], "not a score file: JSONDecodeError"),
        (["[]"], "not a score file"),
        (['{"model": "a"}'], "not a score file: KeyError: 'n'"),
        ([scores("a", "0.1")], "'0.1' stands where a number should"),
        ([scores(None, 0.1)], "no `model`"),
    ],
)
def test_refused(run, tmp_path, entries, message):
    with pytest.raises(InputError, match=message):
        run(*entries)
    assert not (tmp_path / "tables").exists()


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="scores: there is no such file"):
        table(
            scores=[tmp_path / "x"], out_md=tmp_path / "m", out_csv=tmp_path / "c", out_json=tmp_path / "j", title="t"
        )
