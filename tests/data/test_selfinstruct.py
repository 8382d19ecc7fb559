"""The Self-Instruct exchange on replies as chat models write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belle.data.selfinstruct import BLACKLIST, REASONS, parse, render
from belle.records import SeedTask

GOOD = " 写一首关于秋天的诗。\n4. 输入:\n<无输入>\n4. 输出:\n秋风起兮\n白云飞"


def an_item(number: int, instruction: str = "把句子译成英文", input_: str = "你好", output: str = "Hello") -> str:
    return f"{number}. 指令: {instruction}\n{number}. 输入:\n{input_}\n{number}. 输出:\n{output}"


def reasons(reply: str, finish_reason: str = "stop") -> list[str]:
    return [item.reason for item in parse(reply, finish_reason=finish_reason)]


def test_the_prompt_shows_the_shots_and_opens_the_next_item() -> None:
    shots = [
        SeedTask("s1", "n", "给出同义词:\n", "惊人地", "出乎意料地", False),
        SeedTask("s2", "n", "写一首  诗", "", "床前明月光", False),
    ]
    assert render("请写任务\n", shots) == (
        "请写任务\n"
        "###\n1. 指令: 给出同义词\n1. 输入:\n惊人地\n1. 输出:\n出乎意料地\n"
        "###\n2. 指令: 写一首 诗\n2. 输入:\n<无输入>\n2. 输出:\n床前明月光\n"
        "###\n3. 指令:"
    )


def test_a_reply_that_goes_on_with_the_open_item() -> None:
    first, second = parse(GOOD + "\n###\n" + an_item(5), finish_reason="stop")
    assert (first.number, first.instruction, first.input, first.output) == (
        1,
        "写一首关于秋天的诗。",
        "",
        "秋风起兮\n白云飞",
    )
    assert (second.number, second.instruction, second.input, second.output) == (2, "把句子译成英文", "你好", "Hello")
    assert not first.reason
    assert not second.reason


@pytest.mark.parametrize(
    "reply",
    [
        an_item(4) + "\n###\n" + an_item(5),
        an_item(1) + "\n###\n" + an_item(2) + "\n###\n",
        "###\n" + an_item(4) + "\n###\n" + an_item(5),
        an_item(4).replace(":", "：") + "\n\n###\n\n" + an_item(5).replace(": ", "："),
        an_item(4) + "\n### " + an_item(5),
        an_item(4) + "\n###" + an_item(5),
        an_item(4) + "\n\n" + an_item(5),
        an_item(4).replace(". ", "．") + "\n###\n" + an_item(5).replace(". ", "、"),
        (an_item(4) + "\n###\n" + an_item(5)).replace("\n", "\r\n"),
        (an_item(4) + "\n###\n" + an_item(5)).replace("4. 输", "输").replace("5. 输", "输"),
        an_item(4).replace("4. 指令:", "**4. 指令:**") + "\n###\n" + an_item(5),
        an_item(4) + "\n##########\n" + an_item(12),
    ],
)
def test_the_ways_in_which_models_number_and_separate(reply: str) -> None:
    items = parse(reply, finish_reason="stop")
    assert [(item.instruction, item.input, item.output, item.reason) for item in items] == [
        ("把句子译成英文", "你好", "Hello", "")
    ] * 2


def test_words_before_the_first_item_are_counted_and_spoil_nothing() -> None:
    assert reasons("好的，以下是任务：\n\n" + an_item(1) + "\n###\n" + an_item(2)) == ["format", "", ""]


def test_a_hash_within_a_text_separates_nothing() -> None:
    (item,) = parse(an_item(4, output="### 标题\n正文 ### 注"), finish_reason="stop")
    assert item.output == "### 标题\n正文 ### 注"


def test_field_names_within_a_text_are_text_where_the_fields_are_numbered() -> None:
    (item,) = parse(an_item(4, output="示例\n输入: 3\n输出: 9"), finish_reason="stop")
    assert item.output == "示例\n输入: 3\n输出: 9"


def test_the_cut_off_last_item_is_dropped_and_a_closed_one_is_kept() -> None:
    reply = an_item(4) + "\n###\n" + an_item(5)
    assert reasons(reply, "length") == ["", "cut_off"]
    assert reasons(reply[:-20], "length") == ["", "cut_off"]
    assert reasons(reply + "\n###\n", "length") == ["", ""]
    assert reasons(reply + "\n###\n6.", "length") == ["", "", "cut_off"]
    assert reasons(reply, "stop") == ["", ""]


@pytest.mark.parametrize("word", BLACKLIST)
@pytest.mark.parametrize("place", ["instruction", "input_", "output"])
def test_the_blacklist_looks_at_the_whole_item(word: str, place: str) -> None:
    values = {"instruction": "请概括下面的话", "input_": "今天下雨", "output": "下雨了"}
    values[place] += word
    assert reasons(an_item(4, **values)) == ["blacklist"]


def test_the_blacklist_heeds_case_and_keeps_neighbours() -> None:
    assert reasons(an_item(4, "比较ChatGPX和HTTP协议", "", "图书馆与照明的说明文")) == [""]


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("要求GPT模型写一首诗", "写一首诗"),
        ("请让GPT模型能够回答这个问题", "这个问题"),
        ("请GPT翻译这句话", "翻译这句话"),
        ("使用GPT模型生成一段对话", "生成一段对话"),
    ],
)
def test_addresses_to_the_teacher_are_stripped(told: str, left: str) -> None:
    (item,) = parse(an_item(4, told), finish_reason="stop")
    assert (item.instruction, item.reason) == (left, "")


def test_what_still_speaks_of_gpt_is_dropped() -> None:
    assert reasons(an_item(4, "解释GPT的原理")) == ["gpt"]
    assert reasons(an_item(4, input_="GPT是什么")) == ["gpt"]
    assert reasons(an_item(4, output="GPT是一种模型")) == [""]


def test_length_rules_at_their_bounds() -> None:
    assert reasons(an_item(4, "字" * 3)) == ["too_short"]
    assert reasons(an_item(4, "字" * 4)) == [""]
    assert reasons(an_item(4, "字" * 99)) == [""]
    assert reasons(an_item(4, "字" * 100)) == ["too_long"]
    assert reasons(an_item(4, "字" * 100, input_="<无输入>")) == [""]
    assert reasons(an_item(4, "示例" + "字" * 147)) == [""]
    assert reasons(an_item(4, "例子" + "字" * 148)) == ["too_long"]


@pytest.mark.parametrize("nothing", ["<无输入>", "＜无输入＞", "无输入", "<无输入>。", "", "（无输入）"])
def test_the_ways_to_say_no_input(nothing: str) -> None:
    (item,) = parse(an_item(4, input_=nothing), finish_reason="stop")
    assert item.input == ""
    assert not item.reason


@pytest.mark.parametrize(
    "spoilt",
    [
        "我是语言模型，不能编写任务。",
        "4. 指令: 写一首诗\n4. 输出:\n床前",
        "4. 指令: 写一首诗\n4. 输出:\n床前\n4. 输入:\n无",
        "4. 指令: 写一首诗\n4. 输入:\n无",
        an_item(4) + "\n4. 输出:\n第二个",
    ],
)
def test_an_item_without_its_three_fields_in_order(spoilt: str) -> None:
    assert reasons(spoilt) == ["format"]


def test_empty_things() -> None:
    assert reasons("") == reasons(" \n###\n") == []
    assert reasons(an_item(4, output="")) == ["empty_output"]


@given(st.text(alphabet="4. 指令输入出:：#\n*无<>a字GPT", max_size=300), st.sampled_from(["stop", "length"]))
def test_any_text_ends_as_rows_and_known_reasons(reply: str, finish_reason: str) -> None:
    for number, item in enumerate(parse(reply, finish_reason=finish_reason), 1):
        assert item.number == number
        assert item.reason in ("", *REASONS)
        if not item.reason:
            assert len(item.instruction) > 3
            assert item.output
            assert not re.search("GPT", item.instruction + item.input)
