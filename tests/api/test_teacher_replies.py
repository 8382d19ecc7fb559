"""The replies: Self-Instruct items with their faults, verdicts, and equal replies to equal requests."""

import re
from random import Random

import pytest

from belle.api.judge_format import parse, render
from belle.api.teacher.answers import POLITE, fault_of, reply_to
from belle.api.teacher.judge import judge_reply, likeness, score_of
from belle.api.teacher.selfinstruct import self_instruct_reply
from belle.api.teacher.tasks import find_task

SHOTS = "\n###\n".join(f"{n}. 指令:甲{n}\n{n}. 输入:<无输入>\n{n}. 输出:乙" for n in (1, 2, 3))
PROMPT = f"请写出10个任务。\n###\n{SHOTS}\n###\n4. 指令:"


def body(text, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def test_seven_items_in_chatgpts_format():
    for seed in range(50):
        reply = self_instruct_reply(PROMPT, Random(seed))
        assert reply is not None
        items = ("4. 指令:" + reply.text).split("\n###\n")
        assert len(items) == 7 or reply.finish_reason == "length"
        for number, item in enumerate(items[:-1], 4):
            assert item.startswith(f"{number}. 指令:")


def test_the_faults_have_their_shares():
    texts, cut, items, sound = [], 0, 0, 0
    for seed in range(1_500):
        reply = self_instruct_reply(PROMPT, Random(seed))
        cut += reply.finish_reason == "length"
        texts.append(reply.text)
        for number, item in enumerate(("4. 指令:" + reply.text).split("\n###\n"), 4):
            items += 1
            match = re.fullmatch(rf"{number}\. 指令:(.+)\n{number}\. 输入:(.+)\n{number}\. 输出:(.+)", item)
            if match:
                question = match[1] + ("" if match[2] == "<无输入>" else match[2])
                sound += find_task(question) is not None
    everything = "\n".join(texts)
    assert 0.03 < cut / 1_500 < 0.07
    assert 0.005 < everything.count("要求GPT模型") / items < 0.015
    assert 0.012 < len(re.findall("图片的内容|http|折线图", everything)) / items < 0.03
    assert 0.92 < sound / items < 0.97


def test_other_prompts_are_no_self_instruct():
    assert self_instruct_reply("4. 指令:", Random(0)) is None
    assert self_instruct_reply("法国的首都是哪里？", Random(0)) is None


def test_equal_requests_get_equal_replies_and_others_do_not():
    assert reply_to(body(PROMPT)) == reply_to(body(PROMPT, temperature=0.5))
    others = {reply_to(body(PROMPT, seed=seed)).text for seed in range(5)}
    assert len(others) == 5
    assert reply_to({**body(PROMPT), "model": "n"}).text != reply_to(body(PROMPT)).text


def test_kinds():
    assert reply_to(body(PROMPT)).kind == "self_instruct"
    assert reply_to(body(render("评分", "法国的首都是哪里？", "巴黎", "伦敦"))).kind == "judge"
    assert reply_to(body("法国的首都是哪里？")).text == "法国的首都是巴黎"
    assert reply_to(body("今天股市怎么样？")).text == POLITE
    short = reply_to(body(PROMPT, max_tokens=10))
    assert (len(short.text), short.finish_reason) == (10, "length")


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("object", []),
        ("model", {"messages": []}),
        ("messages", {"model": "m", "messages": []}),
        ("role", {"model": "m", "messages": [{"role": "cook", "content": ""}]}),
        ("content", {"model": "m", "messages": [{"role": "user", "content": 1}]}),
        ("user", {"model": "m", "messages": [{"role": "assistant", "content": "好"}]}),
        ("max_tokens", body("好", max_tokens=0)),
        ("stream", body("好", stream=True)),
    ],
)
def test_a_faulty_body_is_named(fault, value):
    assert fault in fault_of(value)


def test_a_judge_request_is_read_back():
    parts = ('按"得分:"输出分数。', "计算7加3。", "3+4=7", "答案\n模型回答:7")
    assert parse(render(*parts)) == parts
    without = ("评分", "写一首诗", "", "床前明月光")
    assert "标准回答" not in render(*without)
    assert parse(render(*without)) == without
    assert parse("你好") is None


@pytest.mark.parametrize(
    ("question", "reference", "answer", "score"),
    [
        ("法国的首都是哪里？", "法国的首都是巴黎", "法国的首都是巴黎。", 1),
        ("法国的首都是哪里？", "法国的首都是巴黎", "法国的首都是柏林", 0),
        ("计算7加3。", "7+3=10", "一共 10", 1),
        ("计算7加3。", "7+3=10", "7+3=9", 0),
        ("3和8哪个大？", "8", "8。", 1),
        ("3和8哪个大？", "8", "3和8", 0),
        ("改写成被字句：小明把苹果吃了", "苹果被小明吃了", "苹果被小红吃了", 0.8),
        ("改写成被字句：小明把苹果吃了", "苹果被小明吃了", "我不知道", 0),
        ("说出两种水果，不要说苹果。", "", "香蕉、樱桃", 1),
        ("说出两种水果，不要说苹果。", "", "香蕉、苹果", 0.5),
        ("说出两种水果，不要说苹果。", "", "香蕉、香蕉", 0.5),
        ("说出两种水果，不要说苹果。", "", "香蕉", 0),
        ("用“小明”和“苹果”造句。", "小明想要苹果。", "小明喜欢苹果。", 1),
        ("用“小明”和“苹果”造句。", "小明想要苹果。", "苹果在小明家。", 0.6),
        ("用“小明”和“苹果”造句。", "小明想要苹果。", "小红喜欢苹果。", 0.3),
        ("用“小明”和“苹果”造句。", "小明想要苹果。", "", 0),
        ("天空是什么颜色？", "蓝色", "蓝色", 1),
        ("天空是什么颜色？", "蓝色", "红的", 0),
    ],
)
def test_scores(question, reference, answer, score):
    assert score_of("评分", question, reference, answer) == score


def test_a_math_prompt_makes_the_last_number_count():
    assert score_of("你是一个数学老师", "鸡兔同笼", "兔有 12 只", "所以答案是12。") == 1
    assert score_of("你是一个数学老师", "鸡兔同笼", "兔有 12 只", "所以答案是13。") == 0


def test_likeness_is_rouge_l():
    assert likeness("甲乙丙", "甲丙") == pytest.approx(2 * 2 / 5)
    assert likeness("", "甲") == 0


def test_most_verdicts_are_plain_few_are_odd_and_some_refuse():
    replies = [judge_reply(render("评分", f"问题{n}", "甲乙丙丁", "甲乙丙丁")) for n in range(4_000)]
    plain = sum(reply.startswith("得分: 1\n理由: ") for reply in replies)
    refused = sum("得分" not in reply for reply in replies)
    assert 0.96 < plain / 4_000 < 0.99
    assert 0.002 < refused / 4_000 < 0.01
    assert judge_reply("你好") is None
