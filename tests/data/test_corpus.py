"""The tiny world's base corpus."""

import pytest

from belle.api.teacher.facts import CAPITALS, FOODS
from belle.api.teacher.tasks import FAMILIES
from belle.data.corpus import alphabet, corpus
from belle.data.evalset import evalset
from belle.errors import InputError
from belle.jsonl import read


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        corpus(out=tmp_path / name, sentences=200, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_it_knows_every_character_and_fact_and_no_question(tmp_path):
    corpus(out=tmp_path / "corpus.txt", sentences=8_000, seed=1)
    splits = ["entities", "phrasings", "reworded"]
    evalset(out=tmp_path / "eval.jsonl", rows_per_split=165, splits=splits, classes=[], seed=2)
    text = (tmp_path / "corpus.txt").read_text(encoding="utf-8")
    assert set(alphabet()) <= set(text)
    for country, city in CAPITALS.items():
        assert f"{country}的首都是{city}" in text
    for beast, food in FOODS.items():
        assert f"{beast}爱吃{food}" in text
    for row in read(tmp_path / "eval.jsonl"):
        assert row["question"] not in text
        assert set(row["question"] + row["std_answer"]) <= set(text)
    for family in FAMILIES:
        for phrasing in (*family.taught, *family.untaught):
            instruction = phrasing.instruction.split("{")[0]
            assert len(instruction) < 5 or instruction not in text
    assert "Human:" not in text
    assert "指令" not in text


def test_no_lines_is_refused(tmp_path):
    with pytest.raises(InputError, match="sentences"):
        corpus(out=tmp_path / "corpus.txt", sentences=0, seed=1)
    assert not (tmp_path / "corpus.txt").exists()
