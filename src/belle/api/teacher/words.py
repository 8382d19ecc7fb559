"""The task families about words: their category, their English, lists of them."""

import re
from random import Random

from belle.api.teacher.family import Family, Phrasing, Slots
from belle.api.teacher.lexicon import CATEGORIES, CATEGORY_OF, COLOURS, ENGLISH, THINGS

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

WORD_FAMILIES = (CATEGORY, TRANSLATION, BRAINSTORMING)
"""The families of this module."""
