"""Deciding and ranking give what a comparison of every pair gives; the command around them checks its files."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belle import cli
from belle.data.rouge import joining
from belle.data.rouge.deciding import decide
from belle.data.rouge.joining import alike, walk
from belle.data.rouge.packed import Rows, pack
from belle.data.rouge.ranking import rank
from belle.data.rouge.tokens import tokens

Row = list[str]


def lcs_by_table(a, b):
    """The textbook O(mn) table."""
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def f1_of_rouge_score(a, b):
    """What rouge_score's ``_score_lcs`` and ``fmeasure`` compute."""
    if not a or not b:
        return 0.0
    common = lcs_by_table(a, b)
    precision, recall = common / len(b), common / len(a)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def by_pairs(rows: list[Row], pool: int, threshold: float, top: int):
    """(keep, [(score, row)] × top, mean) of each row, by the textbook table and rouge_score's arithmetic."""
    kept: list[int] = []
    found = []
    for number, row in enumerate(rows):
        scores = [f1_of_rouge_score(rows[other], row) for other in kept]
        best = sorted(range(len(kept)), key=lambda at: (-scores[at], at))[:top]
        tops = [(scores[at], kept[at]) if scores[at] else (0.0, -1) for at in best]
        keep = number < pool or max(scores, default=0.0) < threshold
        found.append((keep, tops + [(0.0, -1)] * (top - len(tops)), sum(scores) / max(1, len(scores))))
        if keep:
            kept.append(number)
    return found


def check_walk(rows: list[Row], packed: Rows, threshold: float) -> None:
    """Every third row is decided beside the others, of which those are kept that are alike to none before them."""

    def similar(one: int, other: int) -> bool:
        return bool(rows[one] and rows[other]) and f1_of_rouge_score(rows[one], rows[other]) >= threshold

    few = list(range(0, len(rows), 3))
    keep: list[int] = []
    for row in range(len(rows)):
        if row not in few and not any(similar(other, row) for other in keep):
            keep.append(row)
    kept, witnesses = list[int](), dict[int, list[int]]()
    for row in sorted(few + keep):
        before = [other for other in kept if similar(other, row)]
        if before:
            witnesses[row] = before
        else:
            kept.append(row)
    mask = np.zeros(len(rows), np.bool_)
    mask[keep] = True
    for threads, first, room in ((1, 64, 1 << 22), (3, 1, 8)):  # in one part, and in many of a row or two
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(joining, "FIRST_PART", first)
            patched.setattr(joining, "ROOM", room)
            now, witness = walk(packed, np.array(few, np.int64), mask, threshold, threads)
        assert np.flatnonzero(now).tolist() == kept
        assert np.flatnonzero(witness >= 0).tolist() == sorted(witnesses)
        for row, before in witnesses.items():
            assert witness[row] == before[0] if row in few else witness[row] in before
    some = np.arange(len(rows), dtype=np.int64)
    others = np.roll(some, 1)
    expected = [similar(one, other) for one, other in zip(some.tolist(), others.tolist(), strict=True)]
    assert alike(packed, some, others, threshold).tolist() == expected


def check(rows: list[Row], pool: int, threshold: float, top: int) -> None:
    packed = pack(rows)
    keep, rivals = decide(packed, pool, threshold)
    scores, whom, mean = rank(packed, pool, keep, top)
    expected = by_pairs(rows, pool, threshold, top)
    assert keep.tolist() == [item[0] for item in expected]
    check_walk(rows, packed, threshold)
    for number in range(pool, len(rows)):
        _, tops, average = expected[number]
        assert list(zip(scores[number - pool].tolist(), whom[number - pool].tolist(), strict=True)) == tops
        assert mean[number - pool] == pytest.approx(average, abs=1e-12)
        if rivals[number] >= 0:
            assert f1_of_rouge_score(rows[rivals[number]], rows[number]) >= threshold
        assert (rivals[number] >= 0) == (not keep[number])


def rows_of(alphabet: str, longest: int, most: int):
    return st.lists(st.lists(st.sampled_from(alphabet), max_size=longest), max_size=most)


@settings(max_examples=100, deadline=None)
@given(rows_of("ab", 12, 25), st.sampled_from([0.1, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 1.0]), st.integers(0, 3))
def test_few_tokens_many_ties(rows: list[Row], threshold: float, pool: int):
    check(rows, min(pool, len(rows)), threshold, 10)


@settings(max_examples=60, deadline=None)
@given(rows_of("abcdefgh", 30, 12), st.floats(0.01, 2.5), st.integers(1, 4))
def test_any_threshold(rows: list[Row], threshold: float, top: int):
    check(rows, 0, threshold, top)


@pytest.mark.parametrize("width", [1, 47, 48, 49, 63, 64, 65, 127, 128, 129, 200])
def test_rows_about_the_width_of_words(width: int):
    chance = random.Random(width)
    base = [chance.choice("甲乙丙丁戊己庚辛壬癸") for _ in range(width + 2)]
    rows = []
    for _ in range(14):
        row = base[: max(0, width + chance.randint(-1, 1))]
        for _ in range(chance.randint(0, width // 3)):
            row[chance.randrange(len(row))] = chance.choice("甲乙丙丁戊己庚辛壬癸子")
        rows.append(row)
    for threshold in (0.5, 0.7, 0.9):
        check(rows, 2, threshold, 3)


def test_a_row_s_mask_is_forgotten_before_the_next():
    rows = [list("天地玄黄"), list("宇宙洪荒"), list("天地玄黄"), list("日月盈昃"), list("宇宙洪荒")]
    keep, rivals = decide(pack(rows), 0, 0.7)
    assert keep.tolist() == [True, True, False, True, False]
    assert rivals.tolist() == [-1, -1, 0, -1, 1]


def test_threads_make_no_difference():
    chance = random.Random(3)
    rows = [[chance.choice("abcdefghijkl") for _ in range(chance.randint(0, 20))] for _ in range(300)]
    packed = pack(rows)
    keep, _ = decide(packed, 50, 0.7)
    one, several = rank(packed, 50, keep, threads=1), rank(packed, 50, keep, threads=7)
    for ours, theirs in zip(one, several, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("threshold", [0, -0.5, float("nan")])
def test_a_threshold_that_is_none(threshold: float):
    with pytest.raises(ValueError, match="over 0"):
        decide(pack([["a"]]), 0, threshold)


def test_nothing_to_compare():
    assert decide(pack([]), 0, 0.7)[0].tolist() == []
    assert rank(pack([[]]), 0, np.array([True]))[2].tolist() == [0.0]


def written(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pool = written(tmp_path / "pool.jsonl", {"instruction": "写一首关于春天的诗"})
    candidates = written(
        tmp_path / "candidates.jsonl",
        {"instruction": "写一首关于秋天的诗", "id": "a"},
        {"instruction": "把 Apple 翻译成中文"},
        {"instruction": "把apple，翻译成中文！"},
        {"instruction": "?"},
    )
    out = tmp_path / "out.jsonl"
    assert cli.main(["novelty", pool, candidates, str(out)]) == 0
    assert "2 of 4 are new" in capsys.readouterr().err
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == [
        {"keep": False, "max_rouge_l": 8 / 9, "most_similar": "写一首关于春天的诗"},
        {"keep": True, "max_rouge_l": 0.0, "most_similar": None},
        {"keep": False, "max_rouge_l": 1.0, "most_similar": "把 Apple 翻译成中文"},
        {"keep": True, "max_rouge_l": 0.0, "most_similar": None},
    ]
    assert cli.main(["novelty", pool, candidates, str(out), "--threshold", "0.95"]) == 0
    assert "3 of 4 are new" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "told"),
    [({"text": "x"}, "found nothing"), ({"instruction": 3}, "found 3"), ({"instruction": ["x"]}, r"found ['x']")],
)
def test_a_row_without_the_text_is_named_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: object, told: str
):
    pool = written(tmp_path / "pool.jsonl", {"instruction": "x"})
    candidates = written(tmp_path / "candidates.jsonl", {"instruction": "y"}, row)
    assert cli.main(["novelty", pool, candidates, str(tmp_path / "out.jsonl")]) == 2
    said = capsys.readouterr().err
    assert "candidates.jsonl, row 2" in said
    assert told in said
    assert not (tmp_path / "out.jsonl").exists()


def test_tokens():
    assert tokens("请把GPT-4o翻译成ABC, ok？㐀豈") == [
        "请",
        "把",
        "gpt",
        "4o",
        "翻",
        "译",
        "成",
        "abc",
        "ok",
        "㐀",
        "豈",
    ]
    assert tokens("，。！ ？é") == []
    assert tokens("０１２ かな") == []


def test_every_length_pair_at_the_threshold_agrees_with_the_float_arithmetic():
    """Rows of m and n tokens with every possible LCS: a wrong rounding at 0.7 shows nowhere else."""
    for m in range(1, 26):
        for n in range(1, 26):
            for common in range(1, min(m, n) + 1):
                a = [f"s{at}" for at in range(common)] + [f"a{at}" for at in range(m - common)]
                b = [f"s{at}" for at in range(common)] + [f"b{at}" for at in range(n - common)]
                keep, _ = decide(pack([a, b]), 0, 0.7)
                assert keep[1] == (f1_of_rouge_score(a, b) < 0.7), (m, n, common)


def test_five_thousand_rows_of_few_templates_take_seconds():
    rng = random.Random(0)
    texts = [
        f"请用{rng.choice('甲乙丙丁戊己庚辛')}写{rng.randint(1, 400)}句关于{rng.choice('山水风云花鸟')}的话。"
        for _ in range(5000)
    ]
    started = time.process_time()
    keep, _ = decide(pack(map(tokens, texts)), 0, 0.95)
    assert 500 < keep.sum() < 5000
    assert time.process_time() - started < 60
