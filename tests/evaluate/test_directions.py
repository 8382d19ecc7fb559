"""Directions: the arithmetic by hand, which side is better, and no verdict on things that do not go together."""

import json
import math

import pytest

from belle.cli import main
from belle.errors import BelleError, InputError
from belle.evaluate.directions import OPEN, OPPOSITE, SHOWS, directions, verdict
from belle.evaluate.student import interval, quantile, within

CLASSES = ("math", "code", "extract")


@pytest.mark.parametrize(
    ("degrees", "printed"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_quantiles_are_those_of_the_printed_tables(degrees, printed):
    assert quantile(0.95, degrees) == pytest.approx(printed, abs=5e-4)
    assert within(quantile(0.95, degrees), degrees) == pytest.approx(0.95, abs=1e-12)


def test_quantiles_of_another_share_and_the_closed_form_of_two_degrees():
    assert quantile(0.99, 2) == pytest.approx(9.925, abs=5e-4)
    assert quantile(0.9, 5) == pytest.approx(2.015, abs=5e-4)
    assert within(1.5, 2) == pytest.approx(1.5 / math.sqrt(2 + 1.5**2))
    assert within(1.0, 1) == pytest.approx(0.5)


def test_an_interval_of_three_by_hand():
    """0.1, 0.2, 0.3: mean 0.2, deviation 0.1, so 0.2 ± 4.3027·0.1/√3 = 0.2 ± 0.24842."""
    assert interval([0.1, 0.2, 0.3]) == pytest.approx((0.2, -0.048414, 0.448414), abs=1e-6)


def test_without_spread_the_interval_is_a_point():
    assert interval([0.25, 0.25, 0.25]) == (0.25, 0.25, 0.25)
    assert interval([0.0, 0.0, 0.0]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("differences", [[], [0.5]])
def test_fewer_than_two_have_no_interval(differences):
    with pytest.raises(InputError, match=f"{len(differences)} difference.*needs two"):
        interval(differences)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.2, SHOWS), (0.0, 0.2, OPEN), (-0.1, 0.1, OPEN), (0.0, 0.0, OPEN), (-0.2, 0.0, OPEN),
     (-0.2, -0.01, OPPOSITE)],
)  # fmt: skip
def test_what_an_interval_says(low, high, said):
    assert verdict(low, high) == said


def score_file(path, model, total, **means):
    classes = {cls: {"n": 2, "parsed": 2, "unparsed": 0, "mean": means.get(cls, 0.5)} for cls in CLASSES}
    others = {"n": 4, "parsed": 4, "unparsed": 0, "mean": 0.25}
    data = {"model": model, "n": 6, "unparsed": 0, "Score": total, "others": others, "classes": classes}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def verdict_file(path, model, scores):
    """Two questions of each of the classes, in their order."""
    rows = [
        {"id": f"e-{number}", "class": CLASSES[number // 2], "split": "", "model": model, "score": score}
        for number, score in enumerate(scores)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class World:
    """Score files and verdicts in a folder, and a call of the stage on them."""

    def __init__(self, folder):
        self.folder = folder
        self.given = {name: [] for name in (
            "results", "verdicts", "names", "recipes", "claims", "says", "measures", "evaluations", "seeds",
        )}  # fmt: skip

    def claim(self, name, measure, totals, rows=None, **more):
        """``totals``: for each seed the better one's figure and the worse one's."""
        for field, value in (
            ("claims", name),
            ("says", f"{name} is so"),
            ("measures", measure),
            ("evaluations", more.get("of", "tiny")),
            ("seeds", len(totals)),
        ):
            self.given[field].append(value)
        for seed, pair in enumerate(totals, 1):
            for side, total in zip(("better", "worse"), pair, strict=True):
                model = f"{name}-{side}-{seed}"
                means = {measure: total} if measure in CLASSES else {}
                self.given["results"].append(score_file(self.folder / f"{model}.json", model, total, **means))
                scores = (rows or {}).get(side, [0.5] * 6)
                self.given["verdicts"].append(verdict_file(self.folder / f"{model}.jsonl", model, scores))
                self.given["names"].append(model)
                self.given["recipes"].append(f"sft tiny, seed {seed}")
        return self

    def vocabulary(self, name, figures):
        for field, value in (
            ("claims", name), ("says", "fewer tokens"), ("measures", "tokens_a_character"),
            ("evaluations", "tiny"), ("seeds", len(figures)),
        ):  # fmt: skip
            self.given[field].append(value)
        for seed, (after, before) in enumerate(figures, 1):
            path = self.folder / f"{name}-{seed}.json"
            held = {"before": {"tokens_a_character": before}, "after": {"tokens_a_character": after}}
            path.write_text(json.dumps({"held_out": held}), encoding="utf-8")
            self.given["results"] += [path, path]
            self.given["names"] += [f"{name}-{seed}", "base"]
            self.given["recipes"] += [f"vocabulary tiny, seed {seed}", "base tiny"]
        return self

    def run(self):
        md, out = self.folder / "out" / "d.md", self.folder / "out" / "d.json"
        directions(out_md=md, out_json=out, title="Which way", **self.given)
        return md.read_text(encoding="utf-8"), json.loads(out.read_text(encoding="utf-8"))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_claim_by_hand(world):
    markdown, data = world.claim("full", "Score", [(0.6, 0.3), (0.65, 0.3), (0.7, 0.3)]).run()
    (claim,) = data["claims"]
    assert (claim["n"], claim["gain"]) == (3, 0.35)
    # deviation 0.05: 0.35 ± 4.30265·0.05/√3
    assert claim["interval"] == [0.2258, 0.4742]
    assert claim["verdict"] == "shows"
    assert [pair["gain"] for pair in claim["seeds"]] == [0.3, 0.35, 0.4]
    assert "| full is so | Score   | tiny | 3     | +0.3500   | +0.2258 to +0.4742 | shows   |" in markdown
    assert "## full is so: shows" in markdown
    assert "Student's t" in markdown


def test_each_side_says_where_it_comes_from(world):
    markdown, data = world.claim("full", "Score", [(0.6, 0.3), (0.65, 0.3)]).run()
    better = data["claims"][0]["seeds"][1]["better"]
    assert better == {"name": "full-better-2", "recipe": "sft tiny, seed 2", "value": 0.65,
                      "result": str(world.folder / "full-better-2.json")}  # fmt: skip
    (line,) = [line for line in markdown.splitlines() if "full-better-2" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "full-better-2", "sft tiny, seed 2", "0.6500", "full-worse-2", "sft tiny, seed 2", "0.3000", "+0.3500 ± 0.0000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ([(0.5, 0.4), (0.5, 0.5), (0.4, 0.5)], "does not show"),
        ([(0.5, 0.5), (0.5, 0.5), (0.5, 0.5)], "does not show"),
        ([(0.3, 0.6), (0.3, 0.62), (0.3, 0.61)], "shows the opposite"),
        ([(0.4001, 0.4), (0.4001, 0.4), (0.4001, 0.4)], "shows"),
    ],
)
def test_verdicts(world, totals, said):
    markdown, data = world.claim("full", "Score", totals).run()
    assert data["claims"][0]["verdict"] == said
    assert f"## full is so: {said}" in markdown


def test_fewer_tokens_are_better(world):
    _, data = world.vocabulary("wide", [(0.5, 0.9), (0.52, 0.9), (0.51, 0.91)]).run()
    (claim,) = data["claims"]
    assert claim["verdict"] == "shows"
    assert [pair["gain"] for pair in claim["seeds"]] == [0.4, 0.38, 0.4]
    assert claim["seeds"][0]["better"]["value"] == 0.5
    assert claim["seeds"][0]["half_over_questions"] is None


def test_more_tokens_are_worse(world):
    assert world.vocabulary("wide", [(0.9, 0.5), (0.9, 0.52)]).run()[1]["claims"][0]["verdict"] == "shows the opposite"


def test_one_class_and_the_pooled_ones(world):
    world.claim("sums", "math", [(0.4, 0.1), (0.5, 0.1)]).claim("rest", "others", [(0.9, 0.1), (0.8, 0.1)])
    sums, rest = world.run()[1]["claims"]
    assert [pair["gain"] for pair in sums["seeds"]] == [0.3, 0.4]
    assert sums["seeds"][0]["better"]["value"] == 0.4, "of the class, not the Score"
    assert rest["gain"] == 0.0, "the pooled mean of every file is 0.25"


def test_the_interval_over_questions_by_hand(world):
    """Differences: math 1, 0 and code 0, 0 (pooled: s² 0.25, n 4), extract 0.5, -0.5 (s² 0.5, n 2).

    1.96·sqrt(0.25/4 + 0.5/2)/2 = 0.54783 for Score; of math alone 1.96·sqrt(0.5/2) = 0.97998.
    """
    rows = {"better": [1, 0, 0, 0, 1, 0], "worse": [0, 0, 0, 0, 0.5, 0.5]}
    world.claim("full", "Score", [(0.6, 0.3)] * 2, rows).claim("sums", "math", [(0.6, 0.3)] * 2, rows)
    full, sums = world.run()[1]["claims"]
    assert full["seeds"][0]["half_over_questions"] == pytest.approx(0.5478, abs=1e-9)
    assert sums["seeds"][0]["half_over_questions"] == pytest.approx(0.98, abs=1e-9)


def test_questions_without_a_score_take_no_part(world):
    rows = {"better": [1, None, 0, 0, 1, 0], "worse": [0, 0, 0, 0, 0.5, 0.5]}
    markdown, data = world.claim("sums", "math", [(0.6, 0.3)] * 2, rows).run()
    assert data["claims"][0]["seeds"][0]["half_over_questions"] is None, "one question has no variance"
    assert "+0.3000 –" in markdown


def test_each_claim_names_its_evaluation_set(world):
    world.claim("sums", "math", [(0.6, 0.3)] * 2, of="tiny-sums").vocabulary("wide", [(0.5, 0.9)] * 2)
    markdown, data = world.run()
    assert [claim["evaluation"] for claim in data["claims"]] == ["tiny-sums", "–"]
    cells = [[cell.strip() for cell in line.split("|")[1:5]] for line in markdown.splitlines()[4:6]]
    assert cells == [
        ["sums is so", "math", "tiny-sums", "2"],
        ["fewer tokens", "tokens_a_character", "–", "2"],
    ]


def test_bytes_are_the_same_each_time(world):
    world.claim("full", "Score", [(0.6, 0.3), (0.65, 0.3)]).vocabulary("wide", [(0.5, 0.9), (0.52, 0.9)])
    assert world.run() == world.run()


def swapped(given):
    given["names"][0], given["names"][1] = given["names"][1], given["names"][0]


def other_questions(given):
    path = given["verdicts"][1]
    path.write_text(path.read_text(encoding="utf-8").replace("e-5", "e-9"), encoding="utf-8")


def other_verdicts(given):
    given["verdicts"][1] = given["verdicts"][0]


def spoilt(text):
    return lambda given: given["results"][2].write_text(text, encoding="utf-8")


def measured(given):
    given["measures"][0] = "translation"


def unreadable(given):
    path = given["results"][2]
    path.write_text(path.read_text(encoding="utf-8").replace('"Score": 0.65', '"Score": null'), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given["seeds"].__setitem__(0, 3), "4 recipes, 4 verdicts; meant are 6, 6, 6, 6"),
        (lambda given: given["verdicts"].pop(), "4 results, 4 names, 4 recipes, 3 verdicts; meant are 4, 4, 4, 4"),
        (lambda given: given["says"].pop(), "1 claims, 0 in words"),
        (lambda given: given["evaluations"].pop(), "1 measures, 0 evaluation sets"),
        (lambda given: given["claims"].clear(), "0 claims"),
        (swapped, "the scores of 'full-better-1', not of 'full-worse-1'"),
        (other_questions, "verdicts on 6 and on 6 questions; only one has e-5"),
        (other_verdicts, "a verdict on 'full-better-1', not on 'full-worse-1'"),
        (measured, "no class 'translation' in it; there are math, code, extract"),
        (spoilt("{"), "full-better-2.json: not JSON"),
        (spoilt("[]"), "full-better-2.json: not a score file"),
        (unreadable, "no verdict on 'Score' could be read"),
        (lambda given: given["results"][0].unlink(), "scores: there is no such file"),
    ],
)  # fmt: skip
def test_refused(world, change, message):
    world.claim("full", "Score", [(0.6, 0.3), (0.65, 0.3)])
    change(world.given)
    with pytest.raises(BelleError, match=message):
        world.run()
    assert not (world.folder / "out").exists()


def test_a_report_of_another_kind_is_refused(world):
    world.vocabulary("wide", [(0.5, 0.9), (0.5, 0.9)])
    world.given["results"][2].write_text('{"held_out": {}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"wide-2.json: no held_out.after.tokens_a_character"):
        world.run()


def test_on_the_command_line(world, capsys):
    world.claim("full", "Score", [(0.6, 0.3), (0.65, 0.3)])
    md, out = world.folder / "c" / "d.md", world.folder / "c" / "d.json"
    words = ["directions", str(md), str(out), "Which way", *map(str, world.given["results"])]
    for field in ("verdicts", "names", "recipes", "claims", "says", "measures", "evaluations", "seeds"):
        words += [f"--{field}", *map(str, world.given[field])]
    assert main(words) == 0
    assert (md.read_text(encoding="utf-8"), json.loads(out.read_text(encoding="utf-8"))) == world.run()
    assert main([*words[:-1], "two"]) == 2
    assert "--seeds: must be whole numbers, found 'two'" in capsys.readouterr().err
