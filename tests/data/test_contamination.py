"""Overlap with evaluation rows: planted in many spellings and found, near misses kept, equal to a plain definition."""

import json
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from belle import jsonl
from belle.data import normalise
from belle.data.contamination import codes
from belle.data.contamination.overlap import Contamination
from belle.data.contamination.tally import Tally
from belle.errors import InputError

ROOT = Path(__file__).parents[2]

QUESTIONS = [
    "请把下面这段话改写成更正式的语气：我们下周三下午两点在三楼会议室开会，请大家准时到。",
    "小明有48个苹果，分给6个同学，每人分到几个？",
    "用Python写一个函数，判断一个整数是不是质数，并说明时间复杂度。",
    "你好",
    "谁发明了造纸术？",
    "秋天的大雁为什么要排成人字形飞行",
]


@pytest.fixture(scope="module")
def index():
    return Contamination(QUESTIONS)


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ＡＢＣ１２３，好", "abc123好"),
        ("使用 Python 编写", "使用Python编写"),
        ("資訊與體驗：裏外", "资讯与体验——裡外"),
        ("看著天空", "看着天空"),
        ("㈱①，½", "株1 1⁄2"),
        ("ﾊﾝｶｸ", "ハンカク"),
        ("⼈⼝", "人口"),
        ("\u200b零\u200d宽\ufeff\n", "零宽"),
        ("cafe\u0301", "café"),
        ("Straße", "STRASSE"),
    ],
)
def test_spellings_of_one_text_have_one_key(text, same):
    assert normalise.key(text) == normalise.key(same) != ""


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("4，11", "4，1"),
        ("4，11", "41，1"),
        ("3.5", "35"),
        ("3+5", "35"),
        ("1+2", "1=2"),
        ("说明", "说名"),
        ("the rapist", "therapist"),
    ],
)
def test_texts_that_say_different_things_have_different_keys(text, other):
    assert normalise.key(text) != normalise.key(other)


def test_a_number_is_no_beginning_of_another():
    assert normalise.key("写出大的数：4，1") not in normalise.key("写出大的数：4，11")
    assert normalise.key("写出大的数：4，1") in normalise.key("写出大的数：4，1。谢谢")


def test_what_is_left_of_a_character_is_in_its_one_form():
    for code in range(0x32400):
        left = normalise.letters(chr(code))
        assert "".join(map(normalise.letters, left)) == left, hex(code)
        assert not any(unicodedata.category(part)[0] in "PZCM" for part in left), hex(code)


def test_keys_of_many_texts_are_the_keys_of_each():
    every = [chr(code) for code in range(0x32400)]
    texts = [
        "", "，。", "a", "a b", "ab，cd", "使用Python3.11，很好", "\0乾\0淨", "ﬁ㏂Ⅻ", "\ud800坏", "\U000e0100",
        *("".join(every[start : start + 50]) for start in range(0, len(every), 50)),
        *("x" + character + "1" for character in every[:0x3400]),
    ]  # fmt: skip
    keys = codes.keys(texts)
    for number, text in enumerate(texts):
        assert keys.key(number) == normalise.key(text), (number, text)


def test_a_key_is_shown_as_a_person_reads_it():
    assert normalise.shown(normalise.key("使用 Python3 寫 a：3×5＝？")) == "使用 python3 写 a 3 × 5 ＝"


def test_variants_are_those_of_opencc():
    pytest.importorskip("opencc", reason="the package OpenCC, from whose tables variants.py is made, is not installed")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from variants import variants
    finally:
        sys.path.pop(0)
    assert variants() == normalise.SIMPLIFIED


# --- what is found, and what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (QUESTIONS[0], 0),
        ("小明有４８个苹果，分给６个同学，每人分到几个？", 1),
        ("小明有 48 个苹果 分给 6 个同学 每人分到几个", 1),
        ("小明有48個蘋果，分給6個同學，每人分到幾個？", 1),
        ("用python写一个函数判断一个整数是不是质数，並說明時間複雜度", 2),
        ("【题目】用 PYTHON 写一个函数，判断一个整数是不是质数！！！并说明时间复杂度~（附答案）", 2),
        ("小明有48个苹果，分给6个同学，每人能分到多少个？", 1),  # most of it
        ("下面是一道题。\n小明有48个苹果，\n分给6个同学，\n每人分到几个？\n请作答。" + "先读题，再想一想。" * 30, 1),
        ("谁发明了造纸术", 4),  # short, and nothing else said
        ("你好！", 3),
        ("历史上，谁发明了造纸术？请回答。", None),  # 7 characters: too short to be a part
        ("秋天的大雁為什麼要排成「人」字形飛行", 5),
        ("请问秋天的大雁为什么要排成人字形飞行呢，谢谢", 5),
    ],
)
def test_planted_questions_are_found(index, text, number):
    overlap = index.overlap(text)
    if number is None:
        assert overlap is None
        return
    assert overlap.id == str(number)
    assert overlap.contaminates
    assert overlap.share >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "？！……",
        "你好，我想了解一下怎么做红烧肉。",
        "小红有36个橘子，分给4个同学，每人分到几个？",
        "用Python写一个函数，把列表里的数从小到大排好。",
        "请把下面这段话改写成更正式的语气：这个东西不好用，你们快给我换一个新的来。",
        "蔡伦改进了造纸术，大雁在秋天飞向南方。",
        "秋天的大雁为什么要往南飞",
    ],
)
def test_near_misses_are_kept(index, text):
    overlap = index.overlap(text)
    assert overlap is None or not overlap.contaminates, overlap


def test_a_shared_phrasing_is_an_overlap_and_told_apart(index):
    overlap = index.overlap("请把下面这段话改写成更正式的语气：这个东西不好用，你们快给我换一个新的来。")
    assert overlap.id == "0"
    assert overlap.shared == "请把下面这段话改写成更正式的语气"
    assert overlap.run == 16
    assert 0.4 < overlap.of_text < 0.5
    assert not overlap.contaminates
    assert Contamination(QUESTIONS, share=0).overlap("请把下面这段话改写成更正式的语气：好").contaminates
    assert Contamination(QUESTIONS, run=16).overlap("请把下面这段话改写成更正式的语气：" + "好" * 99).contaminates


def test_a_text_that_is_part_of_a_question_counts():
    # As in BELLE's published sets: a seed's instruction stands word for word in an evaluation question.
    question = "根据给出的产品特点写一段广告语，要求不超过五十个字。产品：一款能够自动识别衣物材质的洗衣机，"
    index = Contamination([question + "省水省电" * 9])
    overlap = index.overlap("根据给出的产品特点写一段广告语")
    assert overlap.of_text == 1.0
    assert overlap.of_question < 0.3
    assert overlap.contaminates


def test_the_texts_of_a_row_are_looked_at_one_by_one(index):
    halves = [QUESTIONS[5][:8], QUESTIONS[5][8:]]
    assert index.check([halves, ["".join(halves)], ["无关的话。", QUESTIONS[5]], []])[0] is None
    found = index.check([halves, ["".join(halves)], ["无关的话。", QUESTIONS[5]], []])
    assert [overlap and overlap.id for overlap in found] == [None, "5", "5", None]
    assert index.check([]) == []
    assert index.check([[], []]) == [None, None]


def test_of_several_overlaps_the_one_that_says_most():
    shared = "请写一篇介绍家乡的短文，要求语言生动"
    longer = shared + "，不少于三百字，并且要写到春天的油菜花和秋天的稻田。"
    index = Contamination([longer, shared + "。", shared + "！"])
    assert index.overlap(shared).id == "1"  # all of it, and the earlier of two alike


def test_a_row_s_verdict_is_its_own(index):
    rows = [[text] for text in [*QUESTIONS, "无关", "", "小明有48个苹果，分给7个同学"]]
    alone = [index.check([row])[0] for row in rows]
    assert index.check(rows) == alone
    assert index.check(rows[::-1]) == alone[::-1]
    assert pickle.loads(pickle.dumps(index)).check(rows) == alone  # noqa: S301 (our own bytes)


def test_evaluation_sets_are_loaded_with_their_ids_and_answers(tmp_path):
    path = tmp_path / "set.jsonl"
    answer = "造纸术由东汉的蔡伦在前人的基础上改进，他用树皮、麻头、破布和渔网作为原料。"
    jsonl.write(path, [{"question": "谁改进了造纸术，用了哪些原料？", "class": "open qa", "std_answer": answer}])
    index = Contamination.load({"history": path})
    assert index.ids == ["history/e-" + index.ids[0][-12:]]
    assert index.overlap(answer) is None
    assert Contamination.load({"history": path}, answers=30).overlap(answer).id == index.ids[0]
    assert Contamination.load({"history": path}, answers=60).overlap(answer) is None
    with pytest.raises(InputError, match=r"contamination\.answers"):
        Contamination.load({"history": path}, answers=-1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("gram", 1), ("share", 1.1), ("share", -0.1), ("text_share", 2.0), ("run", -1), ("short", 0), ("short", 14)],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(InputError, match=rf"contamination\.{setting}.*{value}"):
        Contamination(QUESTIONS, **{setting: value})


def test_no_questions_overlap_with_nothing():
    assert Contamination([]).overlap("随便一句话，长一点也没关系的一句话") is None
    assert Contamination(["", "？"]).overlap("随便一句话，长一点也没关系的一句话") is None


# --- the tally of a set -----------------------------------------------------------------------------------------------


def test_a_tally_names_what_was_found():
    index = Contamination(QUESTIONS, [f"set/{number}" for number in range(len(QUESTIONS))])
    texts = [
        QUESTIONS[0],
        QUESTIONS[1],
        "无关的一行。",
        "请把下面这段话改写成更正式的语气：这东西不好用，给我换个新的来，快。",
        QUESTIONS[1] + "请列式。",
    ]
    tally = Tally()
    for number, overlap in enumerate(index.check([[text] for text in texts])):
        tally.add(f"r-{number}", overlap)
    report = tally.as_json()
    assert report["rows"] == 5
    assert report["contaminated"] == 3
    assert report["overlapping"] == 1
    assert report["evaluation_sets"] == {"set": 3}
    assert report["evaluation_rows"] == {"set/1": 2, "set/0": 1}
    assert report["shares"]["contaminated"]["0.9"] == 3
    assert report["shares"]["kept"]["0.5"] + report["shares"]["kept"]["0.4"] == 1
    assert [item["row"] for item in report["top"]["contaminated"]] == ["r-0", "r-1", "r-4"]
    assert report["top"]["kept"] == [
        {
            "row": "r-3", "evaluation_row": "set/0", "of_question": 0.41, "of_text": 0.533, "run": 16,
            "shared": "请把下面这段话改写成更正式的语气",
        }
    ]  # fmt: skip
    assert json.loads(json.dumps(report)) == report


def test_tallies_of_parts_are_the_tally_of_the_whole():
    index = Contamination(QUESTIONS)
    rows = [[QUESTIONS[number % 3][: 15 + number % 40]] for number in range(400)]
    found = list(zip((f"r-{number:03}" for number in range(400)), index.check(rows), strict=True))
    whole, parts = Tally(), [Tally() for _ in range(7)]
    for row, overlap in found:
        whole.add(row, overlap)
    for place, (row, overlap) in enumerate(found):
        parts[place * 31 % 7].add(row, overlap)
    merged = parts[4]
    for part in (parts[0], parts[6], parts[1], parts[5], parts[3], parts[2]):
        merged.merge(part)
    assert json.dumps(merged.as_json()) == json.dumps(whole.as_json())
    assert whole.as_json()["contaminated"] > 50


# --- against a plain definition -------------------------------------------------------------------------------------


def plain(questions, text, gram, share, text_share, run, short):
    """The best overlap as the docstrings define it, by trying everything."""
    key = normalise.key(text)
    best = None
    for number, question in enumerate(map(normalise.key, questions)):
        if len(question) >= gram:
            shared = {question[i : i + gram] for i in range(len(question) - gram + 1)}
            shared &= {key[i : i + gram] for i in range(len(key) - gram + 1)}
            marks = [
                [any(of[j : j + gram] in shared for j in range(max(0, i - gram + 1), i + 1)) for i in range(len(of))]
                for of in (question, key)
            ]
            if not shared:
                continue
            stretches = "".join("x" if mark else " " for mark in marks[0]).split()
            longest = max(map(len, stretches))
        elif question and (question in key if len(question) >= short else question == key):
            marks = [[True] * len(question), [False] * len(key)]
            for i in range(len(key)):
                if key.startswith(question, i):
                    marks[1][i : i + len(question)] = [True] * len(question)
            longest = len(question)
        else:
            continue
        of_question, of_text = (sum(mark) / len(mark) for mark in marks)
        most = max(of_question, of_text)
        verdict = of_question >= share or of_text >= text_share or 0 < run <= longest
        ranked = ((verdict, most, of_question, longest, -number), (str(number), of_question, of_text, longest, verdict))
        if best is None or ranked > best:
            best = ranked
    return best and best[1]


words = st.text(alphabet="天地人a1，", max_size=14)


@given(
    questions=st.lists(words, max_size=5),
    texts=st.lists(st.lists(words, min_size=1, max_size=3).map("".join), max_size=6),
    gram=st.integers(2, 9),
    share=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    text_share=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    run=st.integers(0, 8),
    data=st.data(),
)
def test_it_is_what_the_definition_says(questions, texts, gram, share, text_share, run, data):
    short = data.draw(st.integers(1, gram))
    settings = {"gram": gram, "share": share, "text_share": text_share, "run": run, "short": short}
    found = Contamination(questions, **settings).check([[text] for text in texts])
    for text, overlap in zip(texts, found, strict=True):
        seen = overlap and (
            overlap.id, overlap.of_question, overlap.of_text, overlap.run, overlap.contaminates
        )  # fmt: skip
        assert seen == plain(questions, text, **settings), text


def test_it_is_what_the_definition_says_of_long_texts():
    rng = np.random.default_rng(7)
    alphabet = list(
        "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产"
    )
    pool = ["".join(rng.choice(alphabet, rng.integers(5, 80))) for _ in range(40)]
    texts = []
    for _ in range(80):
        parts = ["".join(rng.choice(alphabet, rng.integers(0, 40)))]
        for _ in range(rng.integers(0, 3)):
            other = pool[rng.integers(len(pool))]
            begin = rng.integers(0, len(other))
            parts += [other[begin : begin + rng.integers(5, 60)], "".join(rng.choice(alphabet, rng.integers(0, 20)))]
        texts.append("，".join(parts))
    for gram in (5, 13):
        found = Contamination(pool, gram=gram, short=5).check([[text] for text in texts])
        for text, overlap in zip(texts, found, strict=True):
            seen = overlap and (overlap.id, overlap.of_question, overlap.of_text, overlap.run, overlap.contaminates)
            assert seen == plain(pool, text, gram, 0.5, 0.8, 50, 5)
        assert sum(overlap is not None for overlap in found) > 20


# --- in a worker ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read the peak memory from")
def test_a_worker_stays_small():
    """A process that knows 1,000 questions and has looked at 20,000 rows holds less than 50 MiB."""
    code = """
import os
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"
import random
from belle.data.contamination.overlap import Contamination
from belle.data.contamination.tally import Tally
draw = random.Random(1)
text = lambda length: "".join(chr(draw.randrange(0x4E00, 0x9F00)) for _ in range(length))
questions = [text(65) for _ in range(1000)]
index = Contamination(questions)
for _ in range(20):
    rows = [[text(50), text(150)] for _ in range(1000)]
    rows[500] = [questions[7]]
    assert [row for row, overlap in enumerate(index.check(rows)) if overlap] == [500]
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 50 * 1024
