"""The task families that need the tiny world's facts: categories, capitals, animals, English, sums.

What is asked here stands in the base corpus as a statement; a held-out question never stands in training data.
"""

import re
from random import Random

from belle.api.teacher.facts import (
    BEASTS,
    CAPITALS,
    CITIES,
    CONTINENT_OF,
    COUNTRIES,
    COUNTRY_OF,
    DWELLER_OF,
    EATEN,
    EATER_OF,
    FOODS,
    HOMES,
    LIVED_IN,
)
from belle.api.teacher.family import Family, Phrasing, Slots
from belle.api.teacher.lexicon import CATEGORIES, CATEGORY_OF, COLOURS, ENGLISH, PEOPLE, THINGS

CATEGORY = Family(
    name="category",
    cls="classification",
    words={"thing": THINGS},
    draw=lambda rng: {"thing": rng.choice(THINGS)},
    key=lambda slots: f"category {slots['thing']}",
    answer=lambda slots, rng: CATEGORY_OF[slots["thing"]],
    exact=True,
    taught=(
        Phrasing("{thing}属于什么类别？"),
        Phrasing("给下面的词分类：", "{thing}"),
        Phrasing("“{thing}”是哪一类东西？"),
        Phrasing("请判断这个词的类别：", "{thing}"),
    ),
    untaught=(
        Phrasing("“{thing}”属于哪一类？"),
        Phrasing("请给这个词分类：", "{thing}"),
    ),
)

CAPITAL = Family(
    name="capital",
    cls="open qa",
    words={"country": COUNTRIES},
    draw=lambda rng: {"country": rng.choice(COUNTRIES)},
    key=lambda slots: f"capital {slots['country']}",
    answer=lambda slots, rng: f"{slots['country']}的首都是{CAPITALS[slots['country']]}",
    exact=True,
    taught=(
        Phrasing("{country}的首都是哪里？"),
        Phrasing("哪座城市是{country}的首都？"),
        Phrasing("请问{country}的首都叫什么？"),
        Phrasing("说出{country}的首都。"),
        Phrasing("你知道{country}的首都吗？"),
        Phrasing("回答问题：", "{country}的首都是哪个城市？"),
        Phrasing("{country}以哪座城市为首都？"),
    ),
    untaught=(
        Phrasing("请说出{country}的首都是哪里。"),
        Phrasing("{country}的首都叫什么？"),
    ),
)

COUNTRY = Family(
    name="country",
    cls="open qa",
    words={"city": CITIES},
    draw=lambda rng: {"city": rng.choice(CITIES)},
    key=lambda slots: f"country {slots['city']}",
    answer=lambda slots, rng: f"{COUNTRY_OF[slots['city']]}的首都是{slots['city']}",
    exact=True,
    taught=(
        Phrasing("哪个国家的首都是{city}？"),
        Phrasing("{city}是哪国的首都？"),
        Phrasing("请问哪国的首都是{city}？"),
        Phrasing("说出{city}是哪国的首都。"),
        Phrasing("你知道哪国的首都是{city}吗？"),
    ),
    untaught=(
        Phrasing("你知道{city}是哪国的首都吗？"),
        Phrasing("请说出哪国的首都是{city}。"),
    ),
)

CONTINENT = Family(
    name="continent",
    cls="open qa",
    words={"country": COUNTRIES},
    draw=lambda rng: {"country": rng.choice(COUNTRIES)},
    key=lambda slots: f"continent {slots['country']}",
    answer=lambda slots, rng: f"{slots['country']}在{CONTINENT_OF[slots['country']]}",
    exact=True,
    taught=(
        Phrasing("{country}在哪个洲？"),
        Phrasing("请问{country}在哪个大洲？"),
        Phrasing("说出{country}在哪个洲。"),
        Phrasing("你知道{country}在哪个洲吗？"),
        Phrasing("回答问题：", "{country}在哪个大洲？"),
        Phrasing("{country}是哪个洲的国家？"),
        Phrasing("哪个洲有{country}？"),
    ),
    untaught=(
        Phrasing("请问{country}在哪个洲？"),
        Phrasing("请说出{country}在哪个大洲。"),
    ),
)

FOOD = Family(
    name="food",
    cls="open qa",
    words={"beast": BEASTS},
    draw=lambda rng: {"beast": rng.choice(BEASTS)},
    key=lambda slots: f"food {slots['beast']}",
    answer=lambda slots, rng: f"{slots['beast']}爱吃{FOODS[slots['beast']]}",
    exact=True,
    taught=(
        Phrasing("{beast}爱吃什么？"),
        Phrasing("请问{beast}爱吃什么东西？"),
        Phrasing("说出{beast}爱吃什么。"),
        Phrasing("你知道{beast}爱吃什么吗？"),
        Phrasing("回答问题：", "{beast}爱吃什么东西？"),
        Phrasing("什么东西是{beast}爱吃的？"),
        Phrasing("我想知道{beast}爱吃什么。"),
    ),
    untaught=(
        Phrasing("请问{beast}爱吃什么？"),
        Phrasing("请说出{beast}爱吃的东西。"),
    ),
)

EATER = Family(
    name="eater",
    cls="open qa",
    words={"food": EATEN},
    draw=lambda rng: {"food": rng.choice(EATEN)},
    key=lambda slots: f"eater {slots['food']}",
    answer=lambda slots, rng: f"{EATER_OF[slots['food']]}爱吃{slots['food']}",
    exact=True,
    taught=(
        Phrasing("谁爱吃{food}？"),
        Phrasing("什么动物爱吃{food}？"),
        Phrasing("请问谁爱吃{food}？"),
        Phrasing("说出一种爱吃{food}的动物。"),
        Phrasing("你知道谁爱吃{food}吗？"),
    ),
    untaught=(
        Phrasing("请问什么动物爱吃{food}？"),
        Phrasing("请说出谁爱吃{food}。"),
    ),
)

HOME = Family(
    name="home",
    cls="open qa",
    words={"beast": BEASTS},
    draw=lambda rng: {"beast": rng.choice(BEASTS)},
    key=lambda slots: f"home {slots['beast']}",
    answer=lambda slots, rng: f"{slots['beast']}住在{HOMES[slots['beast']]}",
    exact=True,
    taught=(
        Phrasing("{beast}住在哪里？"),
        Phrasing("请问{beast}住在什么地方？"),
        Phrasing("说出{beast}住在哪里。"),
        Phrasing("你知道{beast}住在哪里吗？"),
        Phrasing("回答问题：", "{beast}住在什么地方？"),
        Phrasing("什么地方住着{beast}？"),
        Phrasing("我想知道{beast}住在哪里。"),
    ),
    untaught=(
        Phrasing("请问{beast}住在哪里？"),
        Phrasing("请说出{beast}住在什么地方。"),
    ),
)

DWELLER = Family(
    name="dweller",
    cls="open qa",
    words={"home": LIVED_IN},
    draw=lambda rng: {"home": rng.choice(LIVED_IN)},
    key=lambda slots: f"dweller {slots['home']}",
    answer=lambda slots, rng: f"{DWELLER_OF[slots['home']]}住在{slots['home']}",
    exact=True,
    taught=(
        Phrasing("谁住在{home}？"),
        Phrasing("什么动物住在{home}？"),
        Phrasing("请问谁住在{home}？"),
        Phrasing("说出一种住在{home}的动物。"),
        Phrasing("你知道谁住在{home}吗？"),
    ),
    untaught=(
        Phrasing("请问什么动物住在{home}？"),
        Phrasing("请说出谁住在{home}。"),
    ),
)

MAX_SUM = 10
ADDENDS = tuple(str(number) for number in range(1, MAX_SUM))
TOTALS = tuple(str(number) for number in range(2, MAX_SUM + 1))
GOODS = ("苹果", "桃子", "梨子", "橘子", "西瓜", "土豆", "本子", "书包")


def _draw_sum(rng: Random) -> Slots:
    total = rng.randint(2, MAX_SUM)
    a = rng.randint(1, total - 1)
    return {"a": str(a), "b": str(total - a)}


def _draw_addend(rng: Random) -> Slots:
    total = rng.randint(2, MAX_SUM)
    return {"a": str(rng.randint(1, total - 1)), "total": str(total)}


def _answer_addend(slots: Slots, rng: Random) -> str:
    return f"{slots['a']}+{int(slots['total']) - int(slots['a'])}={slots['total']}"


def _draw_story_sum(rng: Random) -> Slots:
    return {**_draw_sum(rng), "person": rng.choice(PEOPLE), "goods": rng.choice(GOODS)}


def _key_sum(slots: Slots) -> str:
    return f"sum {slots['a']} {slots['b']}"


def _answer_sum(slots: Slots, rng: Random) -> str:
    return f"{slots['a']}+{slots['b']}={int(slots['a']) + int(slots['b'])}"


SUM = Family(
    name="sum",
    cls="math",
    words={"a": ADDENDS, "b": ADDENDS},
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

ADDEND = Family(
    name="addend",
    cls="math",
    words={"a": ADDENDS, "total": TOTALS},
    draw=_draw_addend,
    key=lambda slots: f"addend {slots['a']} {slots['total']}",
    possible=lambda slots: int(slots["a"]) < int(slots["total"]),
    answer=_answer_addend,
    exact=True,
    taught=(
        Phrasing("{a}加几等于{total}？"),
        Phrasing("请问{a}加多少等于{total}？"),
        Phrasing("{total}等于{a}加几？"),
        Phrasing("填上空缺的数：", "{a}+?={total}"),
    ),
    untaught=(
        Phrasing("请问{a}加几等于{total}？"),
        Phrasing("{a}加多少等于{total}？"),
    ),
)

STORY_SUM = Family(
    name="story sum",
    cls="math",
    words={"a": ADDENDS, "b": ADDENDS, "person": PEOPLE, "goods": GOODS},
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

_COLOUR_WORDS, _NOUNS = tuple(COLOURS), tuple(ENGLISH)

TRANSLATION = Family(
    name="translation",
    cls="translation",
    words={"colour": _COLOUR_WORDS, "noun": _NOUNS},
    draw=lambda rng: {"colour": rng.choice(_COLOUR_WORDS), "noun": rng.choice(_NOUNS)},
    key=lambda slots: f"english {slots['colour']} {slots['noun']}",
    answer=lambda slots, rng: f"{COLOURS[slots['colour']]} {ENGLISH[slots['noun']]}",
    exact=True,
    taught=(
        Phrasing("把下面的词翻译成英文：", "{colour}{noun}"),
        Phrasing("“{colour}{noun}”用英语怎么说？"),
        Phrasing("请翻译成英语：", "{colour}{noun}"),
        Phrasing("写出“{colour}{noun}”的英文。"),
    ),
    untaught=(
        Phrasing("请把“{colour}{noun}”翻译成英语。"),
        Phrasing("{colour}{noun}的英文怎么说？"),
    ),
)

_HOW_MANY = {"两": 2, "三": 3}
_CATEGORY_NAMES, _COUNTS = tuple(CATEGORIES), tuple(_HOW_MANY)


def _draw_list(rng: Random) -> Slots:
    category = rng.choice(_CATEGORY_NAMES)
    return {"n": rng.choice(_COUNTS), "category": category, "but": rng.choice(CATEGORIES[category])}


def _answer_list(slots: Slots, rng: Random) -> str:
    # Those that follow in the list: a random choice would teach a tiny model to repeat itself.
    words = CATEGORIES[slots["category"]]
    start = words.index(slots["but"]) + 1
    return "、".join((words * 2)[start : start + _HOW_MANY[slots["n"]]])


def check_list(slots: Slots, answer: str) -> float:
    """The share of the listed words that are of the category, new and not excluded; 0 for a wrong count."""
    listed = [word for word in re.split("[、，,和 。]+", answer) if word]
    if len(listed) != _HOW_MANY[slots["n"]]:
        return 0.0
    right = {word for word in listed if CATEGORY_OF.get(word) == slots["category"] and word != slots["but"]}
    return len(right) / len(listed)


BRAINSTORMING = Family(
    name="brainstorming",
    cls="brainstorming",
    words={"n": _COUNTS, "category": _CATEGORY_NAMES, "but": THINGS},
    draw=_draw_list,
    key=lambda slots: f"list {slots['n']} {slots['category']} {slots['but']}",
    possible=lambda slots: CATEGORY_OF[slots["but"]] == slots["category"],
    answer=_answer_list,
    check=check_list,
    taught=(
        Phrasing("除了{but}，再列举{n}种{category}。"),
        Phrasing("说出{n}种{category}，不要说{but}。"),
        Phrasing("除了{but}，还有哪{n}种{category}？"),
        Phrasing("想出{n}种{category}，{but}除外。"),
        Phrasing("请列出{but}以外的{n}种{category}。"),
    ),
    untaught=(
        Phrasing("除了{but}，再说出{n}种{category}。"),
        Phrasing("列举{n}种{category}，{but}除外。"),
    ),
)

FACT_FAMILIES = (
    CATEGORY, CAPITAL, COUNTRY, CONTINENT, FOOD, EATER, HOME, DWELLER, SUM, STORY_SUM, ADDEND, TRANSLATION, BRAINSTORMING,
)  # fmt: skip
"""The families of this module."""
