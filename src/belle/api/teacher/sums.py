"""The task families of small numbers; the sums stand in the base corpus as a table does in a school book."""

from random import Random

from belle.api.teacher.family import Family, Phrasing, Slots
from belle.api.teacher.lexicon import PEOPLE

NUMBERS = tuple(str(number) for number in range(1, 13))
ADDENDS = ("1", "2", "3")
GOODS = ("苹果", "桃子", "梨子", "橘子", "西瓜", "土豆", "本子", "书包")


def _draw_sum(rng: Random) -> Slots:
    return {"a": rng.choice(NUMBERS), "b": rng.choice(ADDENDS)}


def _draw_pair(rng: Random) -> Slots:
    a, b = rng.sample(NUMBERS, 2)
    return {"a": a, "b": b}


def _draw_story_sum(rng: Random) -> Slots:
    return {**_draw_sum(rng), "person": rng.choice(PEOPLE), "goods": rng.choice(GOODS)}


def _key_sum(slots: Slots) -> str:
    return f"sum {slots['a']} {slots['b']}"


def _answer_sum(slots: Slots, rng: Random) -> str:
    return f"{slots['a']}+{slots['b']}={int(slots['a']) + int(slots['b'])}"


SUM = Family(
    name="sum",
    cls="math",
    words={"a": NUMBERS, "b": ADDENDS},
    draw=_draw_sum,
    key=_key_sum,
    answer=_answer_sum,
    exact=True,
    taught=(
        Phrasing("计算{a}加{b}。"),
        Phrasing("请问{a}+{b}等于多少？"),
        Phrasing("{a}加{b}等于几？"),
        Phrasing("算一算{a}+{b}。"),
        Phrasing("请计算下面的题：", "{a}+{b}"),
    ),
    untaught=(
        Phrasing("{a}+{b}等于几？"),
        Phrasing("请算一算{a}加{b}等于多少。"),
    ),
)

LARGER = Family(
    name="larger",
    cls="math",
    words={"a": NUMBERS, "b": NUMBERS},
    draw=_draw_pair,
    key=lambda slots: f"larger {slots['a']} {slots['b']}",
    possible=lambda slots: slots["a"] != slots["b"],
    answer=lambda slots, rng: str(max(int(slots["a"]), int(slots["b"]))),
    exact=True,
    taught=(
        Phrasing("{a}和{b}哪个大？"),
        Phrasing("请问{a}和{b}哪个数大？"),
        Phrasing("比较{a}和{b}，写出大的数。"),
        Phrasing("写出两个数中大的数：", "{a}，{b}"),
    ),
    untaught=(
        Phrasing("请问{a}和{b}哪个大？"),
        Phrasing("比较两个数，写出大的数：", "{a}和{b}"),
    ),
)

STORY_SUM = Family(
    name="story sum",
    cls="math",
    words={"a": NUMBERS, "b": ADDENDS, "person": PEOPLE, "goods": GOODS},
    draw=_draw_story_sum,
    key=_key_sum,
    answer=_answer_sum,
    exact=True,
    taught=(
        Phrasing("{person}有{a}个{goods}，又买了{b}个，一共几个？"),
        Phrasing("{person}买了{a}个{goods}，又买{b}个，共有几个？"),
        Phrasing("请算出一共有几个：", "{person}有{a}个{goods}，又来了{b}个。"),
    ),
    untaught=(
        Phrasing("{person}有{a}个{goods}，又来了{b}个，共有几个？"),
        Phrasing("请算出一共几个：", "{person}买了{a}个{goods}，又买了{b}个。"),
    ),
)

SUM_FAMILIES = (SUM, STORY_SUM, LARGER)
"""The families of this module."""
