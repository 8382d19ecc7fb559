"""Signatures, decisions and pairs are those of a definition in plain Python; planted near-duplicates are found."""

import functools
import hashlib
import random
import sys
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from belle.data.minhash.folding import _NO_PAIR_ABOVE, fold_table, folded
from belle.data.minhash.keeping import NearDuplicates
from belle.data.minhash.pairing import pairs
from belle.data.minhash.signing import signatures
from belle.data.minhash.similarity import Similarity

NONE = 2**32 - 1
WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mixed(word: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ word >> 33) * factor & WORD
    return word ^ word >> 33


def shingles(text: str, width: int) -> set[str]:
    text = folded(text)
    return {text[at : at + width] for at in range(max(1, len(text) - width + 1))} if text else set()


@functools.cache
def permutations(count: int) -> list[tuple[int, int]]:
    stream = hashlib.shake_256(b"belle minhash").digest(8 * count)
    values = [int.from_bytes(stream[at : at + 4], "little") for at in range(0, len(stream), 4)]
    return [(values[at] | 1, values[at + 1]) for at in range(0, len(values), 2)]


@functools.cache
def signature(text: str, similarity: Similarity) -> list[int]:
    """The definition: a hash for each band of least values, and the least of the different hashes."""
    hashes = set()
    for shingle in shingles(text, similarity.shingle):
        number = 0
        for character in shingle:
            number = (number * GOLDEN + ord(character)) & WORD
        hashes.add(min(mixed(number) >> 32, NONE - 1))
    if not hashes:
        return [NONE] * similarity.width
    least = [min((a * hash_ + b) % 2**32 for hash_ in hashes) for a, b in permutations(similarity.permutations)]
    bands = []
    for start in range(0, similarity.bands * similarity.rows, similarity.rows):
        found = (2 * start + 1) * GOLDEN
        for at, value in enumerate(least[start : start + similarity.rows]):
            found += value * ((2 * start + 1) * GOLDEN + at * 0xD1B54A32D192ED02)
        bands.append(mixed(found & WORD) >> 32)
    sample = sorted(hashes)[: similarity.sample]
    return bands + sample + [NONE] * (similarity.sample - len(sample))


def similar(one: list[int], other: list[int], similarity: Similarity) -> bool:
    """The definition: a band in common, and enough of what is in both samples' reach."""
    if one[-similarity.sample] == NONE or other[-similarity.sample] == NONE:
        return False
    if not any(a == b for a, b in zip(one[: similarity.bands], other[: similarity.bands], strict=True)):
        return False
    ours, theirs = one[similarity.bands :], other[similarity.bands :]
    end = min(ours[-1], theirs[-1])
    some, others = ({value for value in sample if value <= end and value != NONE} for sample in (ours, theirs))
    return len(some & others) / len(some | others) >= similarity.threshold


def kept_first(signed: list[list[int]], similarity: Similarity) -> list[int]:
    kept: list[int] = []
    rivals = []
    for row, one in enumerate(signed):
        rivals.append(next((other for other in kept if similar(signed[other], one, similarity)), -1))
        if rivals[-1] < 0:
            kept.append(row)
    return rivals


def check(texts: list[str], similarity: Similarity, cuts: list[int]) -> None:
    """All that the package does with these texts, beside the definition."""
    expected = [signature(text, similarity) for text in texts]
    signed = signatures(texts, similarity)
    assert signed.dtype == np.uint32
    assert signed.tolist() == expected
    rivals = kept_first(expected, similarity)
    assert NearDuplicates(similarity).keep(texts).tolist() == rivals
    near = NearDuplicates(similarity)
    bounds = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    parts = [near.keep(texts[start:end]) for start, end in pairwise(bounds)]
    assert np.concatenate(parts).tolist() == rivals
    middle = len(texts) // 3
    whom, where = pairs(signed, signed[middle:], similarity)
    assert list(zip(whom.tolist(), where.tolist(), strict=True)) == [
        (query, row)
        for query, one in enumerate(expected[middle:])
        for row, other in enumerate(expected)
        if similar(other, one, similarity)
    ]


PHRASES = [
    "请写一篇关于",
    "的短文",
    "列出三个",
    "例子",
    "，并说明理由。",
    "把下面的句子翻译成英文：",
    "春天",
    "人工智能",
]
PHRASES += [
    "北京的天气",
    "如何学习",
    "Python",
    "ＰＹＴＨＯＮ",
    "①",
    "⑩",
    "㎡",
    "é",
    "e\u0301",
    " ",
    "　",
    "！",
    "😀",
    "か\u3099",
]
templated = st.lists(st.lists(st.sampled_from(PHRASES), max_size=8).map("".join), max_size=15)


settings_of = st.builds(
    Similarity,
    threshold=st.one_of(st.sampled_from([0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 1.0]), st.floats(0.01, 1)),
    permutations=st.integers(1, 24),
    shingle=st.integers(1, 6),
    sample=st.integers(1, 24),
)


@settings(max_examples=100, deadline=None)
@given(templated, settings_of, st.lists(st.integers(0, 15), max_size=3))
def test_templated_rows(texts: list[str], similarity: Similarity, cuts: list[int]):
    check(texts, similarity, cuts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="天地玄黄a", max_size=12), max_size=20), settings_of)
def test_few_characters_many_ties(texts: list[str], similarity: Similarity):
    check(texts, similarity, [7])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=30), max_size=5))
@example(["\ud800甲", "\ud83d\ude00乙", "\udfff"])
@example(["ΑΣ ΣΑΣ", "İSTANBUL", "ﬀﬃ", "ẞß", "K Å Ω", "ϒ\u0301", "각", "\u1100\u1161\u11a8", "ｶﾞ", "\u0344a", "ﷺ"])
def test_any_text_at_all(texts: list[str]):
    similarity = Similarity(0.8, permutations=8, shingle=3, sample=8)
    assert signatures(texts, similarity).tolist() == [signature(text, similarity) for text in texts]


def test_rows_from_templates_of_instructions():
    chance = random.Random(5)
    texts = []
    for number in range(120):
        if number % 3:
            text = list(chance.choice(texts))
            for _ in range(chance.randint(0, 4)):
                text[chance.randrange(len(text))] = chance.choice("天地玄黄宇宙洪荒日月盈昃，。 A")
            texts.append("".join(text))
        else:
            topic = "".join(chr(0x4E00 + chance.randrange(3000)) for _ in range(chance.randint(2, 60)))
            texts.append(f"请根据以下材料写一段{topic}，要求语言流畅，不少于{chance.randint(1, 9)}00字。")
    for threshold in (0.5, 0.7, 0.85):
        check(texts, Similarity(threshold, permutations=48, sample=40), [1, 2, 50, 119])
    rivals = NearDuplicates(Similarity(0.7)).keep(texts)
    assert 25 < np.count_nonzero(rivals >= 0) < 80


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([0.2, 0.5, 0.75, 1.0]), st.integers(0, 12))
def test_hashes_that_several_bands_have(data: st.DataObject, threshold: float, cut: int):
    """Signatures that no text has: the same few hashes in all bands, and samples that end early or late."""
    similarity = Similarity(threshold, permutations=3 * Similarity(threshold).rows, sample=4)
    hashes = st.lists(st.sampled_from([0, 1, 2, NONE]), min_size=similarity.bands, max_size=similarity.bands)
    samples = st.sets(st.integers(0, 9), max_size=4).map(lambda some: [*sorted(some), NONE, NONE, NONE, NONE][:4])
    rows = data.draw(st.lists(st.tuples(hashes, samples).map(lambda pair: pair[0] + pair[1]), max_size=12))
    signed = np.array(rows, np.uint32).reshape(len(rows), similarity.width)
    near = NearDuplicates(similarity)
    rivals = [*near.keep_signed(signed[:cut]).tolist(), *near.keep_signed(signed[cut:]).tolist()]
    assert rivals == kept_first(rows, similarity)
    whom, where = pairs(signed, signed[cut:], similarity)
    assert list(zip(whom.tolist(), where.tolist(), strict=True)) == [
        (query, row)
        for query, one in enumerate(rows[cut:])
        for row, other in enumerate(rows)
        if similar(other, one, similarity)
    ]


def test_rows_about_the_length_of_a_sample():
    chance = random.Random(8)
    letters = [chr(0x4E00 + at) for at in range(2000)]
    texts: list[str] = []
    while len(texts) < 80:
        text = chance.choices(letters, k=chance.choice([60, 255, 259, 260, 261, 300, 600]))
        for _ in range(chance.randint(1, 5)):
            texts.append("".join(text))
            for _ in range(chance.randint(1, len(text) // 25)):
                text[chance.randrange(len(text))] = chance.choice(letters)
            text = text[: len(text) - chance.choice([0, 1, 20])] + chance.choices(letters, k=chance.choice([0, 1, 20]))
    for threshold in (0.3, 0.6, 0.8):
        check(texts, Similarity(threshold, permutations=24), [40])


ASSIGNED = [*range(0x34000), *range(0xE0000, 0xE0200)]
"""All code points that mean something, and many that do not."""


@pytest.mark.parametrize("before", ["一", "a", "か", "\u1100", "각", "ে", "\U000110b9"])
def test_the_table_of_folds_is_the_definition_for_every_code_point(before: str):
    """After characters, too, that much composes with: what stands in the table must not."""
    table = fold_table()
    table.learn(np.array(ASSIGNED, np.uint32))
    alone = folded("一" + before)
    for first in range(0, len(ASSIGNED), 0x400):
        points = [point for point in ASSIGNED[first : first + 0x400] if table.folds[point] >= 0]
        folds = [table.folds[point] & 0x1FFFFF for point in points]
        expected = "".join(alone + (chr(fold) if fold else "") for fold in folds)
        assert folded("".join(f"一{before}{chr(point)}" for point in points)) == expected


def test_letters_are_known_as_such():
    table = fold_table()
    table.learn(np.array(ASSIGNED, np.uint32))
    by_table = [point for point in ASSIGNED if table.folds[point] >= 0]
    assert [bool(table.folds[point] >> 21) for point in by_table] == [bool(folded(chr(point))) for point in by_table]


def test_no_code_point_above_decomposes_into_two():
    parts = (unicodedata.decomposition(chr(point)).split() for point in range(_NO_PAIR_ABOVE, sys.maxunicode + 1))
    assert not any(len(part) == 2 for part in parts)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("写一首关于春天的诗", "写一首关于春天的诗。", True),
        ("把 Apple 翻译成中文", "把ＡＰＰＬＥ，翻译成中文！", True),
        ("三分之一\n\n写成小数", "三分之一写成　小数", True),
        ("你好😀世界和平万岁", "你好世界和平万岁", False),
        ("计算3+5等于多少？", "计算3=5等于多少？", False),
        ("好的", "好的。", True),
        ("好的", "好吧", False),
        ("是", "是", True),
        ("", "", False),
        ("123456", "123456", False),
        ("？！……——", "？！……——", False),
        ("😀😀😀😀😀😀", "😀😀😀😀😀😀", False),
        ("\ud800\ud801", "\ud800\ud801", False),
        ("\ud800甲乙丙丁戊己", "甲乙丙丁戊己", True),
        ("⑩个苹果分给两个人", "10个苹果分给两个人", True),
    ],
)
def test_what_counts_of_a_text(one: str, other: str, same: bool):
    assert NearDuplicates(Similarity(0.9)).keep([one, other]).tolist() == [-1, 0 if same else -1]


def test_the_first_kept_is_named_and_a_dropped_row_drops_none():
    letters = [chr(0x4E00 + at) for at in range(200)]
    texts = ["".join(letters[start : start + 100]) for start in (0, 9, 18)]  # of 96 shingles, 87 are the next one's
    similarity = Similarity(0.8)
    assert NearDuplicates(similarity).keep([*texts, texts[1]]).tolist() == [-1, 0, -1, 0]
    assert NearDuplicates(similarity).keep([texts[1], texts[0], texts[2]]).tolist() == [-1, 0, 0]
    near = NearDuplicates(similarity)
    assert near.keep(["？", texts[2], "…"]).tolist() == [-1, -1, -1]
    assert near.keep([texts[0], texts[1]]).tolist() == [-1, 1]


def test_blocks_threads_and_lengths_make_no_difference():
    chance = random.Random(2)
    letters = [chr(0x4E00 + chance.randrange(2000)) for _ in range(500)]
    texts = ["".join(chance.choices(letters, k=chance.choice([0, 3, 40, 300, 3000]))) for _ in range(600)]
    texts += ["".join(letters) * 5000, "é\u0301" * 20_000, "㎡" + texts[-1]]  # longer than a block of work
    texts += [text[:-1] for text in texts[:400]]
    similarity = Similarity(0.8)
    one = signatures(texts, similarity, threads=1)
    np.testing.assert_array_equal(one, signatures(texts, similarity, threads=5))
    np.testing.assert_array_equal(one, np.concatenate([signatures([text], similarity) for text in texts]))
    rivals = NearDuplicates(similarity, threads=3).keep(texts)
    assert np.count_nonzero(rivals >= 0) > 200
    near, counted = NearDuplicates(similarity, threads=1), []
    parts = [near.keep(texts[at : at + 7], counted.append) for at in range(0, len(texts), 7)]
    np.testing.assert_array_equal(rivals, np.concatenate(parts))
    assert sum(counted) == len(texts)
    once = [pair.tolist() for pair in pairs(one, one[:50], similarity)]
    expected = sorted((query, row + len(one) * turn) for query, row in zip(*once, strict=True) for turn in range(80))
    for threads in (1, 4):
        whom, where = pairs(np.concatenate([one] * 80), one[:50], similarity, threads)
        assert list(zip(whom.tolist(), where.tolist(), strict=True)) == expected


def test_long_texts_have_the_sample_of_all_their_shingles():
    chance = random.Random(4)
    letters = [chr(0x4E00 + at) for at in range(3000)]
    often = "".join(letters[:400])
    texts = ["".join(chance.choices(letters, k=count)) for count in (131, 132, 133, 260, 261, 262, 5000, 60_000)]
    texts += ["".join(chance.choices("甲乙", k=600_000))]
    texts += [often * 50, often[:200] * 300, "一" * 10_000]  # the least are far fewer than the text is long
    similarity = Similarity(0.8, permutations=2, sample=128)
    assert signatures(texts, similarity).tolist() == [signature(text, similarity) for text in texts]


def test_a_signature_stays_what_it_was():
    """Signatures are kept in files: another value here makes all of them void."""
    similarity = Similarity(0.8, permutations=2, sample=3)
    assert signatures(["写一首关于春天的诗，不少于100字。", "好", "？"], similarity).tolist() == [
        [2530602098, 3728035517, 77471835, 1559526216, 1643800688],
        [717779577, 1184597247, 2657021782, 4294967295, 4294967295],
        [4294967295, 4294967295, 4294967295, 4294967295, 4294967295],
    ]


def planted(chance: random.Random, count: int) -> tuple[list[str], dict[int, int]]:
    """Rows, and for those that are an earlier one with a few edits, which."""
    letters = [chr(0x4E00 + at) for at in range(1500)]
    weights = [1 / (rank + 3) for rank in range(1500)]
    rows: list[str] = []
    origin: dict[int, int] = {}
    while len(rows) < count:
        rows.append("".join(chance.choices(letters, weights, k=chance.randint(60, 300))))
        if len(rows) % 2:
            text = list(rows[-1])
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(text))
                text[at : at + chance.randint(0, 1)] = chance.choices(letters, k=chance.randint(0, 1))
            origin[len(rows)] = len(rows) - 1
            rows.append("".join(text) + chance.choice(["", "。", " ", "\n"]))
    return rows, origin


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8])
def test_planted_near_duplicates_are_found(threshold: float):
    rows, origin = planted(random.Random(11), 3000)
    rivals = NearDuplicates(Similarity(threshold)).keep(rows).tolist()
    far = [row for row in range(len(rows)) if row not in origin]
    assert [rivals[row] for row in far] == [-1] * len(far)
    clear = []
    for copy, original in origin.items():
        one, other = shingles(rows[copy], 5), shingles(rows[original], 5)
        if len(one & other) / len(one | other) >= threshold + 0.1:
            clear.append(copy)
    assert len(clear) > 400
    assert sum(rivals[copy] == origin[copy] for copy in clear) >= 0.98 * len(clear)


@pytest.mark.parametrize("count", [64, 128, 256])
def test_bands_bring_together_what_is_at_the_threshold(count: int):
    for threshold in np.arange(0.3, 1.0, 0.01).tolist():
        similarity = Similarity(threshold, count)
        assert similarity.bands * similarity.rows <= count
        assert 1 - (1 - threshold**similarity.rows) ** similarity.bands >= 0.95
        assert 1 - (1 - min(1, threshold + 0.1) ** similarity.rows) ** similarity.bands >= 0.99
    assert (Similarity(1.0, count).bands, Similarity(1.0, count).rows) == (1, count)


@pytest.mark.parametrize(("length", "spread"), [(100, 0), (200, 0.7), (1500, 1.05)])
def test_estimates_are_exact_for_short_texts_and_without_bias_for_long(length: int, spread: float):
    chance = random.Random(length)
    similarity = Similarity(0.8, permutations=1, sample=128)
    errors, due = [], []
    for _ in range(600):
        text = [chr(0x4E00 + chance.randrange(4000)) for _ in range(length)]
        other = list(text)
        for _ in range(length // 33):
            other[chance.randrange(length)] = chr(0x4E00 + chance.randrange(4000))
        samples = [
            set(signed[1:].tolist()) - {NONE} for signed in signatures(["".join(text), "".join(other)], similarity)
        ]
        sets = [shingles("".join(row), 5) for row in (text, other)]
        exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        if length > 128:
            end = min(max(sample) for sample in samples)
            samples = [{value for value in sample if value <= end} for sample in samples]
        errors.append(len(samples[0] & samples[1]) / len(samples[0] | samples[1]) - exact)
        due.append((exact * (1 - exact) / similarity.sample) ** 0.5)
    assert abs(np.mean(errors)) < 0.006
    assert np.std(errors) <= spread * np.mean(due)


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_is_none(threshold: float):
    with pytest.raises(ValueError, match="over 0 and at most 1"):
        Similarity(threshold)


@pytest.mark.parametrize("name", ["permutations", "shingle", "sample"])
def test_settings_that_are_none(name: str):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, found 0"):
        Similarity(0.8, **{name: 0})


def test_signatures_of_other_settings():
    similarity, other = Similarity(0.8), Similarity(0.8, sample=64)
    with pytest.raises(ValueError, match=r"of 274 values are needed, found an array \(1, 82\)"):
        NearDuplicates(similarity).keep_signed(signatures(["一"], other))
    for index, queries in ((similarity, other), (other, similarity)):
        with pytest.raises(ValueError, match=r"of 274 values are needed, found an array \(1, 82\)"):
            pairs(signatures(["一"], index), signatures(["一"], queries), similarity)


def test_nothing_to_compare():
    similarity = Similarity(0.8)
    none = signatures([], similarity)
    assert none.shape == (0, similarity.width)
    assert NearDuplicates(similarity).keep([]).tolist() == []
    one = signatures(["写一首关于春天的诗"], similarity)
    for index, queries in ((none, none), (one, none), (none, one)):
        whom, where = pairs(index, queries, similarity)
        assert (whom.tolist(), where.tolist()) == ([], [])
