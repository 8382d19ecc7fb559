"""The sets written for this project: schema, spread, and no row shared between seeds and evaluation."""

from collections import Counter
from pathlib import Path

import pytest

from belle.errors import InputError
from belle.records import INSTRUCTION_CLASSES, load_eval, load_seeds, turns

SEEDS, REAL, TINY = "data/seeds/seed_tasks.jsonl", "data/eval/real.jsonl", "data/eval/tiny.jsonl"
BLACKLIST = (
    "图像", "图片", "照片", "文件", "图表", "图层", "曲线图", "折线图", "直线图", "柱形图", "饼状图", "链接", "http",
    "OpenAI", "chatgpt", "gpt-3", "gpt-4",
)  # fmt: skip


def similarity(one: str, other: str) -> float:
    """ROUGE-L F over characters, by its definition."""
    row = [0] * (len(other) + 1)
    for left in one:
        previous = 0
        for position, right in enumerate(other, 1):
            above = row[position]
            row[position] = previous + 1 if left == right else max(above, row[position - 1])
            previous = above
    return 2 * row[-1] / (len(one) + len(other))


def test_seeds(project):
    import json

    rows = [json.loads(line) for line in (project / SEEDS).read_text(encoding="utf-8").splitlines()]
    seeds = load_seeds(project / SEEDS)
    assert len(seeds) >= 175
    classes = Counter(row["class"] for row in rows)
    assert set(classes) == set(INSTRUCTION_CLASSES)
    assert min(classes.values()) >= 12
    assert len({seed.name for seed in seeds}) == len(seeds)
    for row in rows:
        assert {"id", "name", "instruction", "instances", "is_classification"} <= set(row)
    for seed in seeds:
        assert not [word for word in BLACKLIST if word in seed.instruction + seed.input], seed


def test_the_real_evaluation_set(project):
    rows = load_eval(project / REAL)
    assert len(rows) >= 300
    classes = Counter(row.cls for row in rows)
    assert set(classes) == set(INSTRUCTION_CLASSES)
    assert min(classes.values()) >= 20
    free = {row.cls for row in rows if not row.std_answer}
    assert free <= {"generation", "brainstorming", "rewrite"}


def test_the_tiny_evaluation_set(project):
    rows = load_eval(project / TINY)
    splits = Counter(row.split for row in rows)
    assert len(rows) >= 300
    assert set(splits) == {"entities", "phrasings"}
    assert min(splits.values()) >= 150
    assert len({row.cls for row in rows}) >= 8


def test_no_evaluation_row_is_a_seed(project):
    seeds = [seed.instruction + seed.input for seed in load_seeds(project / SEEDS)]
    for row in [*load_eval(project / REAL), *load_eval(project / TINY)]:
        for seed in seeds:
            if 2 * min(len(seed), len(row.question)) / (len(seed) + len(row.question)) >= 0.7:
                assert similarity(seed, row.question) < 0.7, (seed, row.question)


def test_seeds_of_another_schema_are_refused_with_their_place(tmp_path: Path):
    path = tmp_path / "seeds.jsonl"
    path.write_text('{"id": "a", "name": "n", "instruction": "写诗", "instances": [], "is_classification": false}\n')
    with pytest.raises(InputError, match=r"seeds.jsonl, row 1: `instances`"):
        load_seeds(path)
    path.write_text('[{"id": "a"}]\n')
    with pytest.raises(InputError, match=r"seeds.jsonl:1: a list where an object"):
        load_seeds(path)


def test_belle_s_class_names_are_read_in_one_spelling(tmp_path: Path):
    path = tmp_path / "eval.jsonl"
    path.write_text(
        '{"question": "甲", "class": "closed\\u00a0QA", "std_answer": "x"}\n'
        '{"question": "乙", "class": "open QA", "std_answer": ""}\n',
        encoding="utf-8",
    )
    assert [row.cls for row in load_eval(path)] == ["closed qa", "open qa"]


def test_turns_of_both_shapes():
    single = turns({"instruction": "翻译", "input": "水", "output": "water"}, "here")
    assert [(turn.role, turn.text) for turn in single] == [("human", "翻译水"), ("assistant", "water")]
    several = [{"from": role, "value": text} for role, text in (("human", "a"), ("assistant", "b")) * 2]
    assert len(turns({"conversations": several}, "here")) == 4
    with pytest.raises(InputError, match="turn 1 must be from 'human'"):
        turns({"conversations": several[1:3]}, "here")


@pytest.mark.parametrize(
    ("name", "count"), [("belle_zh_seed_tasks.jsonl", 175), ("belle_eval_set_odd_rows.jsonl", 500)]
)
def test_upstream_s_own_files_load(project, name, count):
    path = project.parent / "shared" / "upstream-data" / name
    if not path.exists():
        pytest.skip(f"{name}: BELLE's published file is not beside this checkout; it may not be carried inside it")
    load = load_seeds if "seed" in name else load_eval
    assert len(load(path)) == count
