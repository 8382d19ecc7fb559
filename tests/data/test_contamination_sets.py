"""Overlap of two sets: counted once each, both ways, as trying every pair would."""

import json
import random

import numpy as np
import pytest

from belle import cli, jsonl
from belle.data import normalise
from belle.data.contamination import sets
from belle.data.contamination.containment import Containment, packed
from belle.data.contamination.sets import overlap
from belle.errors import InputError

A = [
    {"instruction": "请介绍一下长城的历史和它的作用。", "input": "", "output": "长城始建于春秋战国时期。"},
    {"instruction": "把下面的句子翻译成英文：", "input": "我每天早上七点起床。", "output": "I get up at seven."},
    {"instruction": "写一首关于春天的五言绝句，要求押韵。", "output": "春风吹绿柳。"},
    {"instruction": "用一句话说明什么是光合作用以及它的意义", "output": "植物用光制造养分。"},
    {"instruction": "你好", "output": "你好！"},
    {"instruction": "怎样才能学好数学？", "output": "多想多练。"},
]
B = [
    {"question": "请介绍一下长城的历史和它的作用。", "class": "open qa", "std_answer": "不同的答案。"},
    {"id": "1", "conversations": [
        {"from": "human", "value": "把下面的句子翻譯成英文: 我每天早上七點起床"},
        {"from": "assistant", "value": "I rise at 7."},
    ]},
    {"text": "请用一句话说明什么是光合作用以及它的意义。"},
    {"instruction": "写一首关于秋天的七言律诗。", "output": "秋风萧瑟。"},
    {"id": "s", "instruction": "你好", "instances": [{"input": "吗", "output": "我很好"}]},
]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    for name, rows in (("a", A), ("b", B)):
        jsonl.write(tmp_path / f"{name}.jsonl", rows)
    return tmp_path / "a.jsonl", tmp_path / "b.jsonl"


def test_each_row_is_counted_once_and_both_ways(files):
    found = overlap(*files)
    way = found["a_in_b"]
    assert {name: way[name] for name in ("rows", "exact", "normalised", "near", "overlapping", "share")} == {
        "rows": 6, "exact": 1, "normalised": 1, "near": 1, "overlapping": 3, "share": 0.5,
    }  # fmt: skip
    assert way["examples"]["exact"][0]["other_row"] == 1
    assert way["examples"]["normalised"][0]["other_text"] == "把下面的句子翻譯成英文: 我每天早上七點起床"
    assert way["examples"]["near"] == [
        {
            "row": 4,
            "other_row": 3,
            "share": 1.0,
            "text": "用一句话说明什么是光合作用以及它的意义",
            "other_text": "请用一句话说明什么是光合作用以及它的意义。",
        }
    ]
    assert found["b_in_a"]["overlapping"] == 3
    assert found["b_in_a"]["rows"] == 5
    assert found["every"] == 1


def test_a_set_overlaps_with_itself_wholly_and_with_nothing_not(files, tmp_path):
    assert overlap(files[0], files[0])["a_in_b"]["exact"] == len(A)
    (tmp_path / "none.jsonl").write_text("", encoding="utf-8")
    found = overlap(files[0], tmp_path / "none.jsonl")
    assert found["a_in_b"]["overlapping"] == 0
    assert found["b_in_a"] == {
        "rows": 0, "exact": 0, "normalised": 0, "near": 0, "overlapping": 0, "share": 0.0,
        "examples": {"exact": [], "normalised": [], "near": []},
    }  # fmt: skip


def test_all_that_a_row_says(files):
    assert overlap(*files, part="row")["a_in_b"]["exact"] == 0  # the answers differ
    assert list(sets.texts(files[1], "row"))[1].endswith("起床\nI rise at 7.")
    assert list(sets.texts(files[1], "question"))[4] == "你好吗"


def _grams(text, gram):
    key = normalise.key(text)
    return {key[start : start + gram] for start in range(len(key) - gram + 1)}


@pytest.mark.parametrize(("gram", "share"), [(1, 1.0), (2, 0.5), (3, 0.8), (3, 0.1), (5, 0.34)])
def test_near_is_what_trying_every_pair_finds(gram, share, monkeypatch):
    monkeypatch.setattr("belle.data.contamination.containment._AT_ONCE", 40)  # so that portions end everywhere
    draw = random.Random(gram)
    pool = ["".join(draw.choices("天地人和a1，", k=draw.randint(0, 12))) for _ in range(70)]
    asked = [
        "".join(draw.choice(pool)[draw.randint(0, 3) :] for _ in range(draw.randint(1, 2))) for _ in range(90)
    ]  # fmt: skip
    index = Containment(np.concatenate([packed(pool[:30], 0, gram), packed(pool[30:], 30, gram)]))
    found = {match.row: (match.other, match.share) for match in index.find(packed(asked, 0, gram), share)}
    expected = {}
    for row, text in enumerate(asked):
        mine = _grams(text, gram)
        best = max(
            ((len(mine & _grams(other, gram)) / len(mine), -number) for number, other in enumerate(pool))
            if mine
            else [],
            default=(0, 0),
        )
        if best[0] >= share and best[0] > 0:
            expected[row] = (-best[1], best[0])
    assert found == expected
    assert len(found) > 5


def test_large_sets_are_sampled_and_it_is_said(tmp_path, monkeypatch):
    draw = random.Random(5)
    pool = ["".join(chr(draw.randrange(0x4E00, 0x9F00)) for _ in range(120)) for _ in range(200)]
    changed = [f"{text[:60]}新{text[61:]}" for text in pool[:100]]
    for name, rows in (("a", changed), ("b", pool)):
        jsonl.write(tmp_path / f"{name}.jsonl", ({"text": text} for text in rows))
    whole = overlap(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (whole["every"], whole["a_in_b"]["near"]) == (1, 100)
    monkeypatch.setattr(sets, "_MOST_GRAMS", 10_000)
    sampled = overlap(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert sampled["every"] > 1
    assert sampled["a_in_b"]["near"] >= 90
    assert overlap(tmp_path / "a.jsonl", tmp_path / "b.jsonl") == sampled


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "x"}', r"b\.jsonl, row 2.*none of the shapes.*'prompt'"),
        ("{}", r"its keys are \(none\)"),
        ('{"text": 3}', "`text` must be text, found 3"),
        ('{"conversations": []}', "even number of turns"),
        ("[1]", "a list where an object was expected"),
    ],
)
def test_rows_of_no_known_shape_are_named(files, row, message):
    files[1].write_text(f'{{"text": "好"}}\n{row}\n', encoding="utf-8")
    with pytest.raises(InputError, match=f"(?s){message}"):
        overlap(*files)


@pytest.mark.parametrize("changes", [{"part": "answer"}, {"gram": 0}, {"share": 0.0}, {"share": 1.5}])
def test_settings_out_of_range(files, changes):
    with pytest.raises(InputError, match=str(next(iter(changes.values())))):
        overlap(*files, **changes)


def test_the_command(files, capsys):
    assert cli.main(["overlap", *map(str, files)]) == 0
    said = capsys.readouterr().out
    assert "3 of 6 rows of" in said
    assert "(50.00 %)" in said
    assert "normalised" in said
    assert cli.main(["overlap", *map(str, files), "--json", "--share", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["a_in_b"]["near"] == 1
    assert cli.main(["overlap", str(files[0]), "none.jsonl"]) == 2
    assert "none.jsonl" in capsys.readouterr().err
