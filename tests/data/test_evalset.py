"""The tiny world's evaluation set, and that the teacher never teaches a row of it."""

import json
from collections import Counter
from random import Random

import pytest

from belle.api.judge_format import parse, render
from belle.api.teacher.family import held_out
from belle.api.teacher.judge import score_of
from belle.api.teacher.selfinstruct import self_instruct_reply
from belle.api.teacher.sets.crawl import tasks_reply
from belle.api.teacher.tasks import CLASSES, draw_taught, find_task
from belle.config import load
from belle.data.evalset import evalset
from belle.errors import InputError
from belle.records import load_eval

SHOTS = "\n###\n".join(f"{n}. 指令:甲{n}\n{n}. 输入:<无输入>\n{n}. 输出:乙" for n in (1, 2, 3))


SPLITS = ["entities", "phrasings", "reworded"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("eval") / "tiny.jsonl"
    evalset(out=path, rows_per_split=165, splits=SPLITS, classes=[], seed=2)
    return load_eval(path)


def test_splits_and_classes_are_balanced(rows):
    counts = Counter((row.split, row.cls) for row in rows)
    assert set(counts) == {(split, cls) for split in SPLITS for cls in CLASSES}
    assert set(counts.values()) == {15}


def test_combinations_are_held_out_but_for_what_is_only_reworded(rows):
    for row in rows:
        found = find_task(row.question)
        assert found
        family, slots = found
        assert held_out(family.key(slots)) == (row.split != "reworded"), row


def test_one_class_alone(tmp_path):
    evalset(out=tmp_path / "sums.jsonl", rows_per_split=60, splits=["reworded"], classes=["math"], seed=3)
    rows = load_eval(tmp_path / "sums.jsonl")
    assert Counter((row.split, row.cls) for row in rows) == {("reworded", "math"): 60}
    families = Counter(found[0].name for row in rows if (found := find_task(row.question)))
    assert set(families) == {"sum", "story sum", "larger"}
    assert min(families.values()) >= 15


def test_the_set_in_git_is_what_its_recipe_writes(tmp_path, project):
    recipes = load(project / "params.yaml").evalset
    for name in ("tiny", "tiny-sums"):
        evalset(out=tmp_path / name, **recipes[name].model_dump())
        assert (tmp_path / name).read_bytes() == (project / "data" / "eval" / f"{name}.jsonl").read_bytes()


def test_the_reference_gets_full_marks_and_nonsense_none(rows):
    for row in rows:
        assert row.std_answer
        prompt, question, std_answer, answer = parse(render("评分", row.question, row.std_answer, row.std_answer))
        assert score_of(prompt, question, std_answer, answer) == 1
        assert score_of("评分", row.question, row.std_answer, "我不知道。") == 0
        assert score_of("评分", row.question, row.std_answer, row.question) <= 0.6


def test_no_question_is_ever_taught(rows):
    questions = {row.question for row in rows}
    rng = Random(7)
    taught = {task.instruction + task.input for task in (draw_taught(rng) for _ in range(20_000))}
    for seed in range(500):
        reply, _ = tasks_reply("天气", "数学计算", 8, Random(seed))
        taught |= {row.get("instruction", "") + row.get("input", "") for row in rows_of(reply)}
    assert len(taught) > 5_000
    assert not questions & taught


def rows_of(reply):
    try:
        return json.loads(reply.removeprefix("```json\n").removesuffix("\n```"))
    except json.JSONDecodeError:  # one of the faults that a reply may have
        return []


def test_no_question_is_in_a_self_instruct_reply(rows):
    prompt = f"请写出10个任务。\n###\n{SHOTS}\n###\n4. 指令:"
    replies = "\n".join(self_instruct_reply(prompt, Random(seed)).text for seed in range(1_000))
    for row in rows:
        assert row.question not in replies.replace("\n", "")


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        evalset(out=tmp_path / name, rows_per_split=33, splits=SPLITS, classes=[], seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize(
    ("rows_per_split", "classes", "message"),
    [
        (5, [], "11 classes"),
        (5_000, [], "can be made"),
        (1, ["math", "code"], "2 classes"),
        (5, ["maths"], "no task family of the tiny world is of class 'maths'"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, rows_per_split, classes, message):
    with pytest.raises(InputError, match=message):
        evalset(out=tmp_path / "tiny.jsonl", rows_per_split=rows_per_split, splits=SPLITS, classes=classes, seed=1)
    assert not (tmp_path / "tiny.jsonl").exists()
