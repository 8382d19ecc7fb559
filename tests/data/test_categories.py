"""Categories: labels asked for, a classifier that earns its accuracy on texts it has not seen, and rows categorised."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from stub_api import StubApi

from belle.api.ledger import Ledger
from belle.api.teacher.sets import category as teachers
from belle.api.teacher.sets.answers import reply_to
from belle.api.teacher.sets.chat import question
from belle.data import linear
from belle.data.categories import CATEGORIES, WORDS, parse
from belle.data.categorise import categorise
from belle.data.classifier import classifier, measure
from belle.data.label import chosen, label
from belle.errors import InputError
from belle.records import INSTRUCTION_CLASSES, load_eval

PROMPTS = Path(__file__).parents[2] / "src/belle/prompts/sets"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(count: int, seed: int = 3) -> list[dict[str, Any]]:
    """Conversations of one exchange, as the offline teacher makes them."""
    rng, rows = Random(seed), []
    for number in range(count):
        asked, told = question(rng)
        talk = [{"from": "human", "value": asked}, {"from": "assistant", "value": told}]
        rows.append({"id": f"c{number}", "conversations": talk})
    return rows


def settings(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    return {
        "rows_of": folder / "rows.jsonl", "prompts": PROMPTS, "out": folder / "labels.jsonl",
        "report": folder / "labels.report.json", "ledger": folder / "ledger", "base_url": url, "model": "m",
        "api_key": "no-key", "rows": 400, "temperature": 0.0, "max_tokens": 64, "in_flight": 32, "timeout_s": 20.0,
        "seed": 5, **changes,
    }  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_thirteen_categories_documented_in_the_prompt() -> None:
    assert len(CATEGORIES) == 13
    assert set(INSTRUCTION_CLASSES) < set(CATEGORIES)
    prompt = (PROMPTS / "category.txt").read_text(encoding="utf-8")
    for name in CATEGORIES:
        assert f"\n- {WORDS[name]}：" in prompt
    assert teachers.NAMES == WORDS


@pytest.mark.parametrize(
    ("verdict", "finish", "found"),
    [
        ("类别：数学", "stop", ("math", "")),
        ("类别: 编程。", "stop", ("code", "")),
        ("**类别：** “阅读问答”", "stop", ("closed qa", "")),
        ("这个问题属于“翻译”。\n类别：翻译", "stop", ("translation", "")),
        ("类别：其他", "stop", ("", "unknown")),
        ("类别：数学和编程", "stop", ("", "unknown")),
        ("数学", "stop", ("", "format")),
        ("", "stop", ("", "format")),
        ("这个问题属于", "length", ("", "cut_off")),
    ],
)
def test_verdicts(verdict: str, finish: str, found: tuple[str, str]) -> None:
    assert parse(verdict, finish) == found


def test_labels_are_asked_for_once_a_text_and_stay_when_rows_are_added(tmp_path: Path) -> None:
    rows = questions(120)
    write(tmp_path / "rows.jsonl", rows + [{**row, "id": f"again-{row['id']}"} for row in rows])
    with StubApi(lambda body: reply_to(body).text) as stub:
        arguments = settings(tmp_path, stub.url, rows=60)
        label(**arguments)
        first = read(arguments["out"])
        report = json.loads(arguments["report"].read_text())
        assert len(stub.bodies) == 60 == report["items"]
        assert report["kept"] == len(first) == 60 - sum(report["dropped"].values())
        before = arguments["out"].read_bytes()
        label(**{**arguments, "in_flight": 1})
        assert arguments["out"].read_bytes() == before
        assert len(stub.bodies) == 60
        texts = {row["text"] for row in first}
        write(tmp_path / "rows.jsonl", rows + questions(12, seed=9))
        label(**arguments)
        assert len(texts & {row["text"] for row in read(arguments["out"])}) >= 40
        assert len(stub.bodies) <= 60 + 12
    of_id = {row["id"].removeprefix("again-"): row["conversations"][0]["value"] for row in rows}
    with Ledger(tmp_path / "ledger") as ledger:
        for row in first:
            assert row["text"] == of_id[row["id"].removeprefix("again-")]
            assert row["category"] in CATEGORIES
            line = ledger.get(row["request"])
            assert line is not None
            assert line["request"]["messages"][-1]["content"].endswith(f"用户：{row['text']}")


def test_the_chosen_are_those_of_the_smallest_hashes_each_text_once(tmp_path: Path) -> None:
    rows = questions(200)
    path = write(tmp_path / "rows.jsonl", [row for row in rows for _ in range(2)])
    reversed_ = write(tmp_path / "reversed.jsonl", [row for row in rows[::-1] for _ in range(3)])
    everything = chosen(path, 10_000, 1)
    assert len(everything) == len({text for _, text in everything}) == len({
        row["conversations"][0]["value"] for row in rows
    })  # fmt: skip
    for count in (1, 7, 50):
        assert chosen(path, count, 1) == everything[:count]
        assert [text for _, text in chosen(reversed_, count, 1)] == [text for _, text in everything[:count]]
    assert chosen(path, 7, 2) != everything[:7]


def test_an_empty_set_and_a_row_of_another_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows in it"):
        chosen(write(tmp_path / "rows.jsonl", []), 5, 1)
    with pytest.raises(InputError, match=r"rows.jsonl, row 1: `id` must be text"):
        chosen(write(tmp_path / "rows.jsonl", [{"instruction": "写诗", "output": "好"}]), 5, 1)
    with pytest.raises(InputError, match=r"row 1: `output` must be"):
        chosen(write(tmp_path / "rows.jsonl", [{"id": "a", "instruction": "写诗"}]), 5, 1)


TRAINING: dict[str, Any] = {"ngrams": 3, "bits": 15, "margin": 5, "epochs": 10, "held_out": 0.25, "seed": 5}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of 500 questions by the offline teacher, 2% of them wrong on purpose."""
    folder = tmp_path_factory.mktemp("labels")
    write(folder / "rows.jsonl", questions(520))
    label(**settings(folder, "offline", rows=500, api_key=""))
    return folder / "labels.jsonl"


def test_accuracy_is_earned_on_texts_that_training_has_not_seen(labelled: Path, tmp_path: Path) -> None:
    classifier(labels=labelled, out=tmp_path / "model", report=tmp_path / "report.json", **TRAINING)
    report = json.loads((tmp_path / "report.json").read_text())
    rows = read(labelled)
    assert report["trained_on"] + report["held_out"] == len({row["text"] for row in rows})
    assert 0.2 < report["held_out"] / len(rows) < 0.3
    assert report["accuracy"] >= 0.85
    assert report["majority"] <= 0.2
    low, high = report["accuracy_95"]
    assert low < report["accuracy"] < high
    confusion = report["confusion"]
    assert sum(sum(row.values()) for row in confusion.values()) == report["held_out"]
    right = sum(row.get(name, 0) for name, row in confusion.items())
    assert report["accuracy"] == pytest.approx(right / report["held_out"], abs=1e-4)
    for name, of in report["by_category"].items():
        assert of["n"] == sum(confusion[name].values())
        if of["n"]:
            assert of["recall"] == pytest.approx(confusion[name].get(name, 0) / of["n"], abs=1e-4)


def test_from_hand_written_tasks_to_hand_written_questions() -> None:
    """Real Chinese, labelled by hand: trained on the 201 seed tasks, asked about the 331 questions, and back."""
    root = Path(__file__).parents[2]
    tasks = [
        (row["instruction"] + row["instances"][0]["input"], row["class"])
        for row in read(root / "data/seeds/seed_tasks.jsonl")
    ]
    asked = [(row.question, row.cls) for row in load_eval(root / "data/eval/real.jsonl")]
    for taught, kept in ((tasks, asked), (asked, tasks)):
        texts, labels = zip(*taught, strict=True)
        found = linear.train(texts, labels, CATEGORIES, ngrams=3, bits=18, margin=5, epochs=10, seed=1)
        report = measure(found, kept, Counter(labels))
        assert report["majority"] < 0.1
        assert report["accuracy"] > 0.65


def test_shuffled_labels_teach_nothing(labelled: Path, tmp_path: Path) -> None:
    """The same texts under labels that do not belong to them: were held-out texts seen, accuracy would stay."""
    rows = read(labelled)
    names = [row["category"] for row in rows]
    Random(1).shuffle(names)
    shuffled = write(tmp_path / "s.jsonl", [{**row, "category": name} for row, name in zip(rows, names, strict=True)])
    classifier(labels=shuffled, out=tmp_path / "model", report=tmp_path / "report.json", **TRAINING)
    assert json.loads((tmp_path / "report.json").read_text())["accuracy"] < 0.25


CODE = "import json, sys; from pathlib import Path; from belle.data.classifier import classifier\n" \
       "a = json.loads(sys.argv[1]); classifier(**{k: Path(v) if k in ('labels', 'out', 'report') else v" \
       " for k, v in a.items()})"  # fmt: skip


def test_equal_bytes_in_another_process_and_for_another_seed_others(labelled: Path, tmp_path: Path) -> None:
    made = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        arguments = {"labels": labelled, "out": folder / "model", "report": folder / "report.json", **TRAINING}
        subprocess.run(
            [sys.executable, "-c", CODE, json.dumps(arguments, default=str)], check=True, capture_output=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path), "LC_ALL": "C", "PATH": ""},
        )  # fmt: skip
        made.append([path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()])
    assert len(made[0]) == 3
    assert made[0] == made[1]
    classifier(labels=labelled, out=tmp_path / "model", report=tmp_path / "r.json", **{**TRAINING, "seed": 6})
    assert (tmp_path / "model" / linear.WEIGHTS).read_bytes() not in made[0]


@pytest.mark.parametrize("margin", [0, 1, 4])
def test_weights_are_the_mean_over_all_steps(margin: int) -> None:
    """Against a perceptron with a margin that keeps every step's weights, by its definition."""
    texts, labels, classes = ["甲乙", "丙丁", "甲丁", "乙丙"] * 2, ["x", "y", "x", "z"] * 2, ("x", "y", "z")
    found = linear.train(texts, labels, classes, ngrams=2, bits=8, margin=margin, epochs=3, seed=1)
    weights, total = np.zeros((3, 256), np.int64), np.zeros((3, 256), np.int64)
    order, rng, learnt = list(range(8)), Random(1), 0
    for _ in range(3):
        rng.shuffle(order)
        for place in order:
            seen, right = linear.features(texts[place], 2, 8), classes.index(labels[place])
            score = [int(weights[number, seen].sum()) for number in range(3)]
            best = max(value for number, value in enumerate(score) if number != right)
            rival = next(number for number in range(3) if number != right and score[number] == best)
            if score[right] - best <= margin * len(seen):
                weights[right, seen] += 1
                weights[rival, seen] -= 1
                learnt += 1
            total += weights
    assert found.weights.tolist() == total.tolist()
    assert 0 < learnt < 24


def test_features_fold_width_case_and_space_and_mark_both_ends() -> None:
    assert linear.features("ＡＢ c", 2, 20).tolist() == linear.features("abC", 2, 20).tolist()
    assert linear.features("甲乙", 2, 20).tolist() != linear.features("乙甲", 2, 20).tolist()
    places = linear.features("甲乙丙" * 50, 3, 20)
    assert places.tolist() == sorted(set(places.tolist()))
    assert len(linear.features("", 3, 20)) > 0


def test_the_majority_is_of_the_training_part() -> None:
    found = linear.Linear(CATEGORIES, 1, 8, np.zeros((13, 256), np.int64))
    report = measure(found, [("a", "chat"), ("b", "math")], Counter(chat=5, math=9, code=9))
    assert (report["majority_category"], report["majority"]) == ("math", 0.5)
    assert (report["accuracy"], report["confusion"]["chat"]) == (0.5, {"math": 1})
    assert report["by_category"]["code"] == {"precision": None, "recall": None, "f1": None, "n": 0}


def test_every_row_of_either_shape_gets_its_category(labelled: Path, tmp_path: Path) -> None:
    classifier(labels=labelled, out=tmp_path / "model", report=tmp_path / "r.json", **TRAINING)
    rows = questions(40, seed=11)
    rows += [{"id": "p", "instruction": "用Python把“苹果”打印3遍。", "input": "", "output": "x", "category": "其他"}]
    raw = write(tmp_path / "rows.jsonl", rows)
    categorise(raw=raw, model=tmp_path / "model", out=tmp_path / "out.jsonl", report=tmp_path / "out.json")
    written = read(tmp_path / "out.jsonl")
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    assert all(row["category"] in CATEGORIES for row in written)
    assert (written[-1]["category"], written[-1]["category_given"]) == ("code", "其他")
    for new, old in zip(written, rows, strict=True):
        assert {**new, "category": ""} == {
            **old,
            "category": "",
            **({"category_given": "其他"} if old["id"] == "p" else {}),
        }
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["rows"] == 41 == sum(report["categories"].values())
    assert report["categories"] == {name: sum(row["category"] == name for row in written) for name in CATEGORIES}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"text": "你好", "category": "聊天"}, r"row 1: `text` must be text and `category` a category, .* '聊天'"),
        ({"text": 3, "category": "chat"}, r"row 1: .*found 3 and 'chat'"),
        ({"text": "你好", "category": "chat"}, r"too few labels"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    labels = write(tmp_path / "labels.jsonl", [line])
    with pytest.raises(InputError, match=message):
        classifier(labels=labels, out=tmp_path / "model", report=tmp_path / "r.json", **TRAINING)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.jsonl"]


def test_a_classifier_of_two_is_refused(labelled: Path, tmp_path: Path) -> None:
    classifier(labels=labelled, out=tmp_path / "model", report=tmp_path / "r.json", **TRAINING)
    about = tmp_path / "model" / linear.ABOUT
    about.write_text(about.read_text().replace('"bits": 15', '"bits": 14'))
    with pytest.raises(InputError, match=r"\(13, 32768\).*\(13, 16384\)"):
        linear.load(tmp_path / "model")
    with pytest.raises(InputError, match="a classifier: there is no such file"):
        linear.load(tmp_path / "nothing")
