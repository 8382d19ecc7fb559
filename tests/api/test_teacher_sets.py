"""The offline teacher's other kinds of reply, and that the first kinds stay as they were to the byte."""

import hashlib
import json
import re
from fractions import Fraction
from random import Random

import pytest

from belle.api import brief, judge_format
from belle.api.teacher import answers, identity
from belle.api.teacher.family import held_out
from belle.api.teacher.sets import category, chat, problems, reasoning, roles
from belle.api.teacher.sets.answers import KINDS, MOST, reply_to
from belle.api.teacher.tasks import draw_taught, find_task
from belle.data.kinds import dialogue

SHOTS = "\n###\n".join(f"{n}. 指令:甲{n}\n{n}. 输入:<无输入>\n{n}. 输出:乙" for n in (1, 2, 3))


def body(*texts, **more):
    roles_ = ("user", "assistant")
    messages = [{"role": roles_[place % 2], "content": text} for place, text in enumerate(texts)]
    return {"model": "offline-teacher", "messages": messages, **more}


def asked(title, text="", **fields):
    return body(brief.render("请写。", brief.Brief(title, fields, text)))


def test_the_replies_of_the_first_kinds_are_those_of_the_code_whose_name_they_go_by():
    """The digest was taken of the teacher named in ``KNOWN_AS``, before it learnt any other kind."""
    digest, rng = hashlib.sha256(), Random(5)
    for number in range(300):
        prompt = f"请写出{number}个任务。\n###\n{SHOTS}\n###\n4. 指令:"
        messages = [{"role": "system", "content": "你"}, {"role": "user", "content": prompt}]
        task = draw_taught(rng)
        question = task.instruction + task.input
        requests = [
            {"model": "offline-teacher", "messages": messages, "max_tokens": 1024},
            body(judge_format.render("评分", question, task.output, task.output[: number % 7]), max_tokens=3000),
            body(question, max_tokens=3000),
        ]
        for request in requests:
            answer = reply_to(request)
            assert answer == answers.reply_to(request)
            found = json.dumps([answer.kind, answer.text, answer.finish_reason], ensure_ascii=False)
            digest.update(found.encode())
    assert digest.hexdigest() == "8bc884ea742dbc0a6f772341c23837548050eddb47c52a0fe21e62c96f87e80d"
    assert identity.identity() == "offline-teacher/ddb3e31f9a46"


def test_the_kinds_of_set_have_a_name_of_their_own():
    assert re.fullmatch(r"offline-teacher/sets-[0-9a-f]{12}", identity.identity_for_sets())
    assert "sets" in KINDS


def test_a_brief_is_read_back_whatever_the_prompt_and_the_text_say():
    for title in brief.TITLES:
        fields, text = {"主题": "天 气", "轮数": "3"}, "用户：【多轮对话】\n主题：别的\n——\n助手：好"
        found = brief.parse(brief.render("按【多轮对话】写：\n主题：x", brief.Brief(title, fields, text)))
        assert found == brief.Brief(title, fields, text)
        assert brief.parse(brief.render("写", brief.Brief(title, {}))) == brief.Brief(title, {})
    assert brief.parse("你好") is None
    assert brief.parse("\n【多轮对话】\n没有冒号的一行\n") is None


@pytest.mark.parametrize(
    "request_",
    [
        asked(brief.DIALOGUE, 主题="天气", 轮数="3"), asked(brief.ROLES, 身份="老师、医生", 个数="3"),
        asked(brief.ROLE_DIALOGUE, roles.describe("老师", Random(1)), 轮数="3"),
        asked(brief.QUESTIONS, 主题="天气", 个数="5"),
        asked(brief.PROBLEMS, 知识点="行程问题", 个数="4"), asked(brief.TASKS, 话题="天气", 任务类型="翻译", 个数="4"),
        asked(brief.CATEGORY, "用户：计算3加4。", 可选类别="数学、翻译"), asked(brief.FOLLOW_UP, "用户：好\n助手：好"),
    ],
    ids=lambda request: brief.parse(request["messages"][-1]["content"]).title,
)  # fmt: skip
def test_equal_requests_get_equal_replies_and_max_tokens_cuts(request_):
    answer = reply_to(request_)
    assert answer.kind == "sets"
    assert answer.text
    assert reply_to({**request_, "temperature": 0.3}) == answer
    short = reply_to({**request_, "max_tokens": 4})
    assert (short.text, short.finish_reason) == (answer.text[:4], "length")
    assert len({reply_to({**request_, "seed": seed}).text for seed in range(12)}) > 1
    assert not re.search(r"\{\w*\}", answer.text)


@pytest.mark.parametrize("count", ["0", "-3", "九", "99999999999", ""])
def test_an_odd_count_is_bounded(count):
    text = reply_to(asked(brief.QUESTIONS, 主题="天气", 个数=count)).text
    assert text.count("问题：") <= MOST


def numbers(text):
    return [Fraction(value) for value in re.findall(r"\d+(?:\.\d+)?", text)]


@pytest.mark.parametrize("maker", sorted(problems._POINTS))
def test_every_step_of_a_worked_problem_is_right(maker):
    checked = 0
    for seed in range(200):
        problem, solution = problems.problem(maker, Random(seed))
        steps = re.findall(r"([\d+\-×÷()]+)=(\d+)(……\d+)?", solution)
        assert steps or "x=" in solution or "分" in solution
        for left, right, rest in steps:
            if not re.search(r"[+\-×÷]", left) or re.search(r"^[^\d(]", left):
                continue
            value = eval(left.replace("×", "*").replace("÷", "//" if rest else "/"))  # noqa: S307
            assert value == int(right), (problem, solution)
            checked += 1
        assert "答：" in solution
        assert not re.search(r"-\d|应找回0元", solution.partition("答：")[2])
    assert checked >= 200 or maker == "方程"


def test_a_word_problem_and_its_answer_hold_together():
    for seed in range(100):
        problem, solution = problems.problem("鸡兔同笼", Random(seed))
        heads, feet = (int(n) for n in re.findall(r"共(?:有)?(\d+)只", problem))
        hens, rabbits = map(int, re.findall(r"鸡(\d+)只，兔(\d+)只", solution)[0])
        assert (hens + rabbits, 2 * hens + 4 * rabbits) == (heads, feet)
        problem, solution = problems.problem("解方程", Random(seed))
        factor, more, total = (int(n) for n in numbers(problem))
        assert factor * int(numbers(solution)[-1]) + more == total


def test_a_role_keeps_to_its_description():
    rng = Random(4)
    for _ in range(50):
        role = roles.describe("牙医", rng)
        said = " ".join(told for _, told in roles.exchanges(role, 6, rng))
        years, place = re.search(r"在(.+)工作了(\d+)年", role).group(2, 1)
        assert "牙医" in said
        assert re.search(r"[0-9]+年", said) is None or f"{years}年" in said
        for other in re.findall(r"我在(..)工作", said):
            assert other == place
    assert len(roles.exchanges("你是一只会说话的猫。", 5, rng)) >= 1


def test_dialogues_go_on_from_what_was_said():
    recalled = repeated = 0
    for seed in range(400):
        said = ["法国的首都是哪里？", "法国的首都是巴黎", "谢谢你的回答。", "不用谢，很高兴能帮到你。"]
        asked_ = chat.follow_up(said, Random(seed))
        told = chat.answer([*said, asked_], Random(seed))
        assert told, asked_
        if asked_ in chat.RECALL:
            recalled += 1
            assert told.endswith("法国的首都是哪里？")
        if asked_ in chat.REPEAT:
            repeated += 1
            assert told == said[-1]
    assert recalled > 20
    assert repeated > 20


def test_most_dialogues_are_sound_and_some_have_faults():
    reasons = []
    for seed in range(600):
        answer = reply_to({**asked(brief.DIALOGUE, 主题="天气", 轮数="3"), "seed": seed})
        pairs, reason = dialogue.parse(answer.text, answer.finish_reason)
        reasons.append(reason)
        assert len(pairs) <= 3
    assert 0.90 < reasons.count("") / 600 < 0.98
    assert set(reasons) >= {"", "format", "turns", "empty"}


def test_no_question_is_held_out_for_the_evaluation_set():
    rng = Random(8)
    for _ in range(3_000):
        asked_, told = chat.question(rng)
        found = find_task(asked_)
        if found:
            assert not held_out(found[0].key(found[1]))
            assert not any(asked_ == p.instruction.format_map(found[1]) + p.input.format_map(found[1])
                           for p in found[0].untaught)  # fmt: skip
        assert told
        assert category.category_of(asked_) in category.NAMES.values()


def test_questions_of_all_thirteen_categories_in_equal_shares():
    rng = Random(2)
    found = [category.category_of("用户：" + chat.question(rng)[0]) for _ in range(2_600)]
    assert set(found) == set(category.NAMES.values())
    assert all(140 < found.count(name) < 260 for name in set(found))


def test_reasoning_is_right_from_either_end():
    for seed in range(100):
        question, answer = reasoning.chain(Random(seed))
        more = "(?:高|跑得快|年纪大|起得早|重)"
        first, _, third = re.match(rf"(.+?)比(.+?){more}，.+?比(.+?){more}。", question).groups()
        most = re.search(r"最(高|快|大|早|重)", question)
        assert answer.count(first if most else third) >= 2
        assert reasoning.answer(question) == answer
        assert reasoning.category(question) == "cot"
        remark, reply = reasoning.talk(Random(seed))
        assert reasoning.answer(remark) == reply
        assert reasoning.category(remark) == "chat"
    assert reasoning.answer("今天天气怎么样？") is None


def test_the_teacher_answers_a_conversation_by_its_last_question():
    assert reply_to(body("你好", "你好。", "法国的首都是哪里？")).text.endswith("法国的首都是巴黎")
    assert reply_to(body("法国的首都是哪里？", "法国的首都是巴黎", "请再说一遍刚才的答案。")).text.endswith("巴黎")
    assert reply_to(body("你好", "你好。", "今天股市怎么样？")).text == answers.POLITE
