"""A set cleaned again after an edit: the bytes of a cold build, whatever was edited, and nothing looked at twice."""

import json
import random
import shutil

import pytest

from belle.data.clean import clean
from belle.data.cleaning.looking import Looker
from belle.errors import InputError

WORDS = (
    "北京", "上海", "广州", "介绍", "解释", "写一首", "关于", "春天", "的诗", "为什么", "天空", "是", "蓝色",
    "，", "。", "hello", "world", "3", "对不起，我无法回答。", "作为AI，",
)  # fmt: skip


def text(rng, most):
    return "".join(rng.choices(WORDS, k=rng.randint(0, most)))


def a_row(rng, number):
    if rng.random() < 0.1:
        turns = [
            {"from": ("human", "assistant")[at % 2], "value": text(rng, 6) or "好"} for at in range(rng.choice([2, 4]))
        ]
        return {"id": f"c-{number}", "conversations": turns, "category": rng.choice("甲乙")}
    row = {"id": f"r-{number}", "instruction": text(rng, 7), "input": text(rng, 3), "output": text(rng, 6)}
    if rng.random() < 0.05:
        del row["input"]
    return row


def line(rng, row):
    ascii_ = rng.random() < 0.2
    ends = rng.choice(["\n"] * 20 + ["\r\n", "\n\n", " \n", "\n \n"])
    return json.dumps(row, ensure_ascii=ascii_) + ends


def edited(rng, rows, numbers):
    """Lines with one to three edits: added, copied, removed, changed, moved, shuffled, or spelt otherwise."""
    rows = list(rows)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(rows) + 1)
        kind = rng.randrange(7)
        if kind == 0 or not rows or at == len(rows):
            rows[at:at] = [a_row(rng, next(numbers)) for _ in range(rng.randint(1, 3))]
        elif kind == 1:
            rows.insert(rng.randrange(len(rows) + 1), {**rows[at], "id": f"r-{next(numbers)}"})
        elif kind == 2:
            del rows[at : at + rng.randint(1, 3)]
        elif kind == 3:
            rows[at] = {**a_row(rng, 0), "id": rows[at]["id"]}
        elif kind == 4:
            rows.insert(rng.randrange(len(rows)), rows.pop(at))
        elif kind == 5:
            part = rows[at : at + 6]
            rng.shuffle(part)
            rows[at : at + 6] = part
        else:
            rows[at] = {**rows[at], "note": next(numbers)}
    return rows


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_edits_each_end_in_the_bytes_of_a_cold_build(seed, tmp_path):
    rng = random.Random(seed)
    numbers = iter(range(10**6))
    rows = [a_row(rng, next(numbers)) for _ in range(rng.choice([5, 60, 150]))]
    asked = [{"question": "介绍北京关于春天的诗为什么蓝色？", "class": "open qa", "std_answer": "不"}]
    (tmp_path / "asked.jsonl").write_text(json.dumps(asked[0]), encoding="utf-8")
    settings = {
        "evals": rng.choice([{}, {"asked": tmp_path / "asked.jsonl"}]), "contamination_share": 0.3,
        "filters": ["output_empty", "gpt_self_reference", "refusal"], "min_output_chars": 1, "max_output_chars": 60,
        "compare": rng.choice(["instruction", "instruction+input"]),
        "novelty_threshold": rng.choice([0.5, 0.7, 1, 1.01]),
        "near_duplicate_threshold": rng.choice([0.6, 0.8, 1.01]),
    }  # fmt: skip
    dropped = set()

    def built(folder, remembered):
        clean(
            raw=tmp_path / "raw.jsonl", out=folder / "out", report=folder / "report", rejects=folder / "rejects",
            page=folder / "page",
            remembered=remembered, workers=1, **settings,
        )  # fmt: skip
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    for _ in range(100):
        rows = edited(rng, rows, numbers)
        (tmp_path / "raw.jsonl").write_text("".join(line(rng, row) for row in rows), encoding="utf-8", newline="")
        warm, cold = built(tmp_path / "warm", tmp_path / "memory"), built(tmp_path / "cold", None)
        assert warm == cold
        dropped |= {name for name, count in json.loads(cold["report"])["reasons"].items() if count}
    assert {"output_empty", "refusal", "exact_duplicate"} <= dropped


SETTINGS = {
    "filters": ["output_empty"], "min_output_chars": 1, "max_output_chars": 60, "compare": "instruction",
    "novelty_threshold": 0.9, "near_duplicate_threshold": 1.01,
}  # fmt: skip


@pytest.fixture
def again(tmp_path, monkeypatch):
    """Clean some rows with a memory; says how many bytes were looked at."""
    looked = []
    real = Looker.look

    def look(looker, block):
        looked.append(len(block.rstrip(b"\n")))
        return real(looker, block)

    monkeypatch.setattr(Looker, "look", look)

    def again(rows, **changes):
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        looked.clear()
        names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
        clean(raw=tmp_path / "raw.jsonl", **names, remembered=tmp_path / "memory", **{**SETTINGS, **changes})
        return sum(looked), {name: path.read_bytes() for name, path in names.items()}

    return again


def test_whom_a_sample_names_does_not_depend_on_what_was_edited_before(again, tmp_path):
    rng, numbers = random.Random(2), iter(range(10**6))
    loose = {"novelty_threshold": 0.6, "near_duplicate_threshold": 0.7}

    def a_question():
        asked = "".join(rng.choices(WORDS[:8], k=6))
        return {"id": f"q-{next(numbers)}", "instruction": asked, "input": "", "output": asked * 2}

    rows, named = [a_question() for _ in range(60)], set()
    for _ in range(40):
        at = rng.randrange(len(rows))
        rows[at : at + rng.randrange(2)] = [a_question() for _ in range(rng.randrange(3))]
        _, warm = again(rows, **loose)
        (tmp_path / "memory").rename(tmp_path / "kept")
        _, cold = again(rows, **loose)
        shutil.rmtree(tmp_path / "memory")
        (tmp_path / "kept").rename(tmp_path / "memory")
        assert warm == cold
        samples = json.loads(cold["report"])["samples"]
        named |= {row["rival"] for reason in ("near_duplicate", "not_novel") for row in samples[reason]}
    assert len(named) > 5


def many_rows(count):
    rng = random.Random(4)
    return [{**a_row(rng, number), "id": f"r-{number}"} for number in range(count)]


def test_only_new_rows_are_looked_at(again):
    rows = many_rows(200)
    whole, first = again(rows)
    assert whole > 10_000
    assert again(rows) == (0, first)
    new = {"id": "new", "instruction": "问", "input": "", "output": "答"}
    assert again([*rows[:50], new, *rows[50:]])[0] == len(json.dumps(new))
    assert again(list(reversed(rows)))[0] == 0


@pytest.mark.parametrize("change", [{"max_output_chars": 59}, {"filters": ["refusal"]}, {"novelty_threshold": 0.8}])
def test_another_recipe_looks_at_everything_again(again, change):
    rows = many_rows(50)
    whole, _ = again(rows)
    assert again(rows, **change)[0] == whole


NEAR = {"near_duplicate_threshold": 0.9}


@pytest.mark.parametrize("file", ["rows", "signatures"])
@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "other", "folder", "missing"])
def test_a_damaged_memory_is_as_good_as_none(again, tmp_path, harm, file):
    rows = many_rows(50)
    whole, first = again(rows, **NEAR)
    path = tmp_path / "memory" / file
    kept = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(kept[:900] + bytes([kept[900] ^ 1]) + kept[901:])
    elif harm == "cut":
        path.write_bytes(kept[:-100])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "other":
        path.write_bytes(b"another file\n" * 100)
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
    assert again(rows, **NEAR) == (whole, first)
    assert again(rows, **NEAR) == ((whole if harm == "folder" else 0), first)


def test_a_memory_of_an_earlier_version_gives_way(again, tmp_path):
    (tmp_path / "memory").write_bytes(b"belle cleaning 1\n")
    _whole, first = again(many_rows(50), **NEAR)
    assert again(many_rows(50), **NEAR) == (0, first)


def rows_that_pass(count):
    rng = random.Random(5)
    return [
        {"id": f"p-{number}", "instruction": "".join(rng.choices(WORDS[:12], k=9)), "input": "", "output": "好的"}
        for number in range(count)
    ]


def test_signatures_are_added_to_and_written_anew_where_most_are_of_rows_that_are_gone(again, tmp_path):
    rows, path = rows_that_pass(100), tmp_path / "memory" / "signatures"
    _, first = again(rows[:80], **NEAR)
    before = path.read_bytes()
    row = len(before) // 80
    again(rows, **NEAR)
    assert path.read_bytes()[: len(before)] == before
    assert path.stat().st_size == 100 * row
    assert again(rows[:60], **NEAR)[0] == 0
    assert path.stat().st_size == 100 * row, "rows that may come back"
    assert again(rows[:30], **NEAR)[0] == 0
    assert path.stat().st_size == 30 * row
    assert again(rows[:80], **NEAR)[1] == first


def test_what_a_killed_process_added_to_the_signatures_is_not_taken_for_a_row_s(again, tmp_path):
    rows, path = rows_that_pass(100), tmp_path / "memory" / "signatures"
    again(rows[:80], **NEAR)
    with open(path, "ab") as file:
        file.write(b"half of a signature")
    warm = again(rows, **NEAR)[1]
    assert path.stat().st_size % 4 == 0
    assert again(rows, **NEAR) == (0, warm)
    (tmp_path / "memory").rename(tmp_path / "kept")
    assert again(rows, **NEAR)[1] == warm


def test_a_fault_in_a_new_row_names_its_place_in_the_file(again, tmp_path):
    rows = many_rows(100)
    again(rows)
    with pytest.raises(InputError, match=r"raw.jsonl, row 71(?s:.*)`output` must be text, found 3"):
        again([*rows[:70], {"id": "new", "instruction": "问", "output": 3}, *rows[70:]])
    with pytest.raises(InputError, match=r"'r-9' comes twice"):
        again([*rows, {"id": "r-9", "instruction": "问", "output": "答"}])


def test_workers_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("belle.data.cleaning.crew.ALONE", 0)
    monkeypatch.setattr("belle.data.cleaning.crew.BLOCK", 2_000)
    rows = many_rows(300)
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def built(workers):
        names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
        clean(raw=tmp_path / "raw.jsonl", **names, workers=workers, **SETTINGS)
        return {name: path.read_bytes() for name, path in names.items()}

    assert built(1) == built(2) == built(5)
    rows.append({"id": "x"})
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError, match=r"row 301: `instruction` must be text, found nothing"):
        built(3)
