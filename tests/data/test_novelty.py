"""The novelty filter decides and scores as brute force does."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belle.data.novelty import NoveltyFilter, rouge_l, tokens


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


def brute_force(rows, threshold):
    kept, decisions = [], []
    for number, row in enumerate(rows):
        scores = [f1_of_rouge_score(rows[other], row) for other in kept]
        best = max(scores, default=0.0)
        first = str(kept[scores.index(best)]) if best > 0 else None
        novel = best < threshold
        decisions.append((novel, best, first))
        if novel:
            kept.append(number)
    return decisions


def ours(rows, threshold):
    novelty, decisions = NoveltyFilter(threshold), []
    for number, row in enumerate(rows):
        rival = novelty.rival(row)
        if rival is not None:
            assert f1_of_rouge_score(rows[int(rival)], row) >= threshold
        decisions.append((rival is None, *novelty.most_similar(row)))
        if rival is None:
            novelty.add(row, str(number))
    return decisions


def rows_of(alphabet, longest, most):
    return st.lists(st.lists(st.sampled_from(alphabet), max_size=longest), max_size=most)


@settings(max_examples=100, deadline=None)
@given(rows_of("ab", 12, 25), st.sampled_from([0.1, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 1.0]))
def test_few_tokens_many_ties(rows, threshold):
    assert ours(rows, threshold) == brute_force(rows, threshold)


@settings(max_examples=60, deadline=None)
@given(rows_of("abcdefgh", 30, 12), st.floats(0.01, 1.0))
def test_any_threshold(rows, threshold):
    assert ours(rows, threshold) == brute_force(rows, threshold)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([0.5, 0.7, 0.85]))
def test_rows_about_the_width_of_a_lane(seed, threshold):
    rng = random.Random(seed)
    base = rng.choices("abcdefghij", k=70)
    rows = []
    for _ in range(25):
        row = base[: rng.choice([1, 8, 62, 63, 64, 65, 66, 70])]
        for _ in range(rng.randint(0, 25)):
            row[rng.randrange(len(row))] = rng.choice("abcdefghijkl")
        rows.append(row)
    assert ours(rows, threshold) == brute_force(rows, threshold)


@pytest.mark.parametrize("threshold", [0.68, 0.7, 0.8])
def test_anagrams_share_every_token_and_still_differ(threshold):
    rng = random.Random(5)
    head = list("把下面的数字从小到大排列起来")
    rows = [head + rng.sample("零一二三四五六七八九十百千万", 14) for _ in range(60)]
    decisions = ours(rows, threshold)
    assert decisions == brute_force(rows, threshold)
    assert 1 < sum(novel for novel, _, _ in decisions) <= 60


def test_every_length_pair_at_the_threshold_agrees_with_the_float_arithmetic():
    """2·0.7·0.7/1.4 is not 0.7 in floats for all ways to get there, so the edge itself is compared."""
    for m in range(1, 22):
        for n in range(1, 22):
            for common in range(1, min(m, n) + 1):
                a = ["x"] * common + [f"a{i}" for i in range(m - common)]
                b = ["x"] * common + [f"b{i}" for i in range(n - common)]
                novelty = NoveltyFilter(0.7)
                novelty.add(a, "a")
                assert (novelty.rival(b) is None) == (f1_of_rouge_score(a, b) < 0.7), (m, n, common)


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


def test_rows_without_tokens_are_novel():
    novelty = NoveltyFilter(0.7)
    novelty.add([], "empty")
    novelty.add(["一"], "one")
    assert novelty.rival([]) is None
    assert novelty.most_similar([]) == (0.0, None)
    assert novelty.most_similar(["二"]) == (0.0, None)
    assert novelty.most_similar(["一"]) == (1.0, "one")
    assert len(novelty) == 2


def test_thresholds():
    novelty = NoveltyFilter(1.01)
    novelty.add(["一"], "one")
    assert novelty.rival(["一"]) is None
    with pytest.raises(ValueError, match="over 0"):
        NoveltyFilter(0)
    assert rouge_l(0, 3, 3) == 0.0
    assert rouge_l(7, 10, 10) == f1_of_rouge_score(list("abcdefghij"), list("abcdefgxyz"))


def test_five_thousand_rows_of_few_templates_take_seconds():
    rng = random.Random(1)
    words = [chr(0x4E00 + i) for i in range(400)]
    templates = [
        "把下面的句子改成被字句：{}把{}{}了。请直接写出答案。",
        "请从{}写的这句话里提取{}的{}，并用一句话回答。",
    ]
    rows = [
        tokens(rng.choice(templates).format(*("".join(rng.choices(words, k=rng.randint(1, 4))) for _ in range(3))))
        for _ in range(5000)
    ]
    novelty, start = NoveltyFilter(0.9), time.process_time()
    for number, row in enumerate(rows):
        if novelty.rival(row) is None:
            novelty.add(row, str(number))
    assert len(novelty) > 2000
    assert time.process_time() - start < 15  # about 1 s where it was written
