"""Replies as chat models write them, read as numbered items, dialogues and JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belle.data.kinds import crawl, dialogue, numbered

TWO = [("小明有3个苹果，又买2个，共几个？", "3+2=5（个）。答：5个。"), ("解方程：2x=8。", "x=4。")]


def math(number: int, pair: tuple[str, str], colon: str = "：", dot: str = ". ") -> str:
    return f"{number}{dot}题目{colon}{pair[0]}\n{number}{dot}解答{colon}{pair[1]}"


@pytest.mark.parametrize(
    "reply",
    [
        math(1, TWO[0]) + "\n###\n" + math(2, TWO[1]),
        math(1, TWO[0], ":") + "\n###\n" + math(2, TWO[1], ": "),
        math(1, TWO[0]) + "\n\n" + math(2, TWO[1]),
        math(1, TWO[0], dot="、") + "\n### \n" + math(2, TWO[1], dot="．"),
        (math(1, TWO[0]) + "\n###\n" + math(2, TWO[1]) + "\n###\n").replace("\n", "\r\n"),
        "**" + math(1, TWO[0]).replace("\n", "\n**") + "\n###\n" + math(2, TWO[1]),
        "题目：" + TWO[0][0] + "\n解答：" + TWO[0][1] + "\n###\n题目：" + TWO[1][0] + "\n解答：" + TWO[1][1],
    ],
)
def test_the_ways_in_which_models_number_items(reply: str) -> None:
    items = numbered.parse(reply, ["题目", "解答"], "stop")
    assert [item.fields for item in items] == TWO
    assert [item.number for item in items] == [1, 2]


@pytest.mark.parametrize(
    ("reply", "finish", "reasons"),
    [
        (math(1, TWO[0]) + "\n###\n" + math(2, TWO[1]), "length", ["", "cut_off"]),
        (math(1, TWO[0]) + "\n###\n" + math(2, TWO[1]) + "\n###\n", "length", ["", ""]),
        (math(1, TWO[0]) + "\n###\n2. 题目：", "length", ["", "cut_off"]),
        ("好的，以下是题目：\n" + math(1, TWO[0]), "stop", ["format", ""]),
        ("1. 题目：一\n1. 解答：二\n1. 解答：三", "stop", ["format"]),
        ("1. 解答：二\n1. 题目：一", "stop", ["format", "format"]),
        ("1. 题目：\n1. 解答：二", "stop", ["empty"]),
        ("我不能编写题目。", "stop", ["format"]),
        ("", "stop", []),
        ("###\n###", "stop", []),
    ],
)
def test_items_that_cannot_be_used(reply: str, finish: str, reasons: list[str]) -> None:
    assert [item.reason for item in numbered.parse(reply, ["题目", "解答"], finish)] == reasons


def test_field_names_within_a_numbered_text_are_text() -> None:
    (item,) = numbered.parse(
        "1. 题目：怎样读题？\n题目：小明有3个。\n1. 解答：先看题目：再算。", ["题目", "解答"], "stop"
    )
    assert item.fields == ("怎样读题？\n题目：小明有3个。", "先看题目：再算。")


PAIRS = [("你好", "你好，请说。"), ("写一首诗", "床前明月光，\n疑是地上霜。")]


@pytest.mark.parametrize(
    "reply",
    [
        dialogue.render(PAIRS),
        dialogue.render(PAIRS).replace("：", ":"),
        dialogue.render(PAIRS).replace("\n助手", "\n\n助手").replace("：", "： "),
        dialogue.render(PAIRS).replace("用户", "Human").replace("助手", "Assistant"),
        dialogue.render(PAIRS).replace("用户：", "**用户：** ").replace("助手：", "**助手**："),
        "好的，下面是一段对话：\n\n" + dialogue.render(PAIRS),
        dialogue.render(PAIRS) + "\n用户：谢谢！",
    ],
)
def test_the_ways_in_which_models_write_dialogues(reply: str) -> None:
    assert dialogue.parse(reply, "stop") == (PAIRS, "")


@pytest.mark.parametrize(
    ("reply", "finish", "pairs", "reason"),
    [
        (dialogue.render(PAIRS), "length", PAIRS[:1], ""),
        (dialogue.render(PAIRS[:1]), "length", [], "cut_off"),
        ("", "length", [], "cut_off"),
        ("", "stop", [], "format"),
        ("抱歉，我不能编写对话。", "stop", [], "format"),
        ("第一段\n用户：你好\n助手：好", "stop", [], "format"),
        ("用户：你好\n用户：在吗\n助手：在", "stop", [], "turns"),
        ("助手：你好\n用户：在吗", "stop", [], "turns"),
        ("用户：你好", "stop", [], "turns"),
        ("用户：\n助手：你好", "stop", [], "empty"),
        ("用户：你好\n助手：\n用户：再见\n助手：再见", "stop", [], "empty"),
    ],
)
def test_dialogues_that_were_cut_or_cannot_be_used(reply: str, finish: str, pairs: dialogue.Pairs, reason: str) -> None:
    assert dialogue.parse(reply, finish) == (pairs, reason)


def test_a_speaker_s_name_within_a_line_opens_no_turn() -> None:
    pairs, reason = dialogue.parse("用户：什么是助手？\n助手：帮助用户：回答问题的程序。", "stop")
    assert (pairs, reason) == ([("什么是助手？", "帮助用户：回答问题的程序。")], "")


@given(st.text(alphabet="用户助手：:\n好 *A", max_size=80), st.sampled_from(["stop", "length"]))
def test_any_text_is_a_dialogue_or_a_known_reason(reply: str, finish: str) -> None:
    pairs, reason = dialogue.parse(reply, finish)
    assert bool(pairs) != bool(reason)
    assert reason in ("", *dialogue.REASONS)
    assert all(asked and told for asked, told in pairs)


@given(st.text(alphabet="1.题目解答：:#\n x*", max_size=120), st.sampled_from(["stop", "length"]))
def test_any_text_ends_as_items_and_known_reasons(reply: str, finish: str) -> None:
    for place, item in enumerate(numbered.parse(reply, ["题目", "解答"], finish), 1):
        assert item.number == place
        assert item.reason in ("", *numbered.REASONS)
        assert bool(item.reason) != bool(item.fields)


TASKS = [{"instruction": f"任务{n}", "input": "", "output": f"答{n}"} for n in range(3)]


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(TASKS, ensure_ascii=False),
        json.dumps(TASKS, indent=2),
        "```json\n" + json.dumps(TASKS) + "\n```",
        "好的：\n" + "\n".join(map(json.dumps, TASKS)),
        json.dumps(TASKS).replace('"input": "", ', ""),
    ],
)
def test_json_as_models_write_it(reply: str) -> None:
    assert crawl.parse(reply, "stop") == [("", task) for task in TASKS]


@pytest.mark.parametrize(
    ("reply", "finish", "reasons"),
    [
        (json.dumps(TASKS)[:-12], "length", ["", "", "cut_off"]),
        (json.dumps(TASKS, indent=1)[:-12], "stop", ["", "", "format"]),
        ('[{"instruction": "一", "output": 2},\n{"instruction": "二", "output": "2"}]', "stop", ["format", ""]),
        ('[{"instruction": "一" "output": "1"},\n{"instruction": "二", "output": "2"}]', "stop", ["format", ""]),
        ('[{"instruction": " ", "output": "1"}]', "stop", ["empty"]),
        ("[", "length", ["cut_off"]),
        ("对不起", "stop", ["format"]),
        ("", "stop", []),
    ],
)
def test_json_that_cannot_be_used(reply: str, finish: str, reasons: list[str]) -> None:
    assert [reason for reason, _ in crawl.parse(reply, finish)] == reasons


@given(st.text(alphabet='[{"instruction:o,utp}] \\n', max_size=120), st.sampled_from(["stop", "length"]))
def test_any_text_ends_as_tasks_and_known_reasons(reply: str, finish: str) -> None:
    for reason, fields in crawl.parse(reply, finish):
        assert reason in ("", *crawl.REASONS)
        assert bool(reason) != bool(fields)
