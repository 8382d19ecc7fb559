"""Descriptions of roles, and dialogues in which such a role keeps to its description."""

import re
from random import Random

from belle.api.teacher.lexicon import ACTIVITIES, CATEGORIES, PLACES
from belle.api.teacher.sets import faults

_STYLES = {"热情": "很高兴见到你！", "温和": "慢慢说，我听着呢。", "幽默": "哈哈，你问对人了。",
           "严肃": "请直接说事情。", "耐心": "别着急，我们一步一步来。", "直爽": "有话就说。"}  # fmt: skip
_YEARS = tuple(str(number) for number in range(2, 31))
_FOODS = (*CATEGORIES["水果"], *CATEGORIES["蔬菜"])
_ROLE = re.compile(
    rf"你是一位({'|'.join(_STYLES)})的(.+?)，在({'|'.join(PLACES)})工作了({'|'.join(reversed(_YEARS))})年，"
    rf"平时喜欢({'|'.join(ACTIVITIES)})，最爱吃({'|'.join(_FOODS)})。"
)


def describe(occupation: str, rng: Random) -> str:
    """The description of one role."""
    style, place, years, act, food = (
        rng.choice(words) for words in (tuple(_STYLES), PLACES, _YEARS, ACTIVITIES, _FOODS)
    )
    return f"你是一位{style}的{occupation}，在{place}工作了{years}年，平时喜欢{act}，最爱吃{food}。"


def roles_reply(occupations: list[str], count: int, rng: Random) -> tuple[str, str]:
    """``count`` numbered descriptions, and the ``finish_reason``."""
    if refusal := faults.refuses(rng):
        return refusal, "stop"
    items = []
    for number in range(1, count + 1):
        text, fault = describe(occupations[(number - 1) % len(occupations)], rng), faults.fault_of_item(rng)
        if fault == "empty":
            items.append(f"{number}. 角色：")
        elif fault == "spoilt":
            items.append(f"{number}）{text}")
        else:
            items.append(f"{number}. 角色：{text}")
    return faults.cut("\n###\n".join(items), rng)


def exchanges(role: str, count: int, rng: Random) -> list[tuple[str, str]]:
    """What is said to a role and what it answers; a role that this module did not describe stays general."""
    found = _ROLE.fullmatch(" ".join(role.split()))
    if not found:
        known = [("你好，请介绍一下自己。", role.replace("你是", "我是", 1)), ("很高兴认识你。", "我也很高兴认识你。")]
        return known[:count]
    style, occupation, place, years, act, food = found.groups()
    hello = _STYLES[style]
    pool = [
        (("你在哪里工作？", "请问你的工作地点在哪里？"), (f"我在{place}工作。", f"我就在{place}上班。")),
        (("你做这一行多久了？", "你工作几年了？"), (f"我已经做了{years}年{occupation}。", f"算起来有{years}年了。")),
        (("你休息的时候做什么？", "你平时有什么爱好？"), (f"我平时喜欢{act}。", f"有空的时候我就去{act}。")),
        (("你最爱吃什么？", "午饭想吃点什么？"), (f"我最爱吃{food}。", f"当然是{food}，我最爱吃了。")),
        (("我也想做这份工作，可以吗？", "怎样才能做好这份工作？"),
         (f"想做好{occupation}，要先喜欢这份工作，我坚持了{years}年。", f"多学多练，来{place}找我，我教你。")),
        ((f"有人说{occupation}很辛苦，是吗？", "你的工作累吗？"),
         (f"有时候累，{act}一会儿就好了。", "习惯了就不觉得累了。")),
    ]  # fmt: skip
    first = rng.choice(("你好，你是做什么的？", "请问你是谁？", "你好，可以认识一下吗？"))
    made = [(first, f"{hello}我是一位{occupation}。")]
    for asked, told in rng.sample(pool, min(count - 1, len(pool))):
        made.append((rng.choice(asked), rng.choice(told)))
    return made[:count]
