"""Which of the categories on offer a text belongs to: by its task family, else by its words."""

import re
from random import Random

from belle.api.teacher.sets import reasoning
from belle.api.teacher.tasks import find_task

NAMES = {
    "math": "数学", "code": "编程", "cot": "推理", "classification": "分类", "extract": "抽取", "rewrite": "改写",
    "open qa": "开放问答", "closed qa": "阅读问答", "generation": "创作", "brainstorming": "头脑风暴",
    "translation": "翻译", "summarization": "摘要", "chat": "闲聊",
}  # fmt: skip
"""The teacher's own words for the classes; only those that the brief offers are used."""

WRONG, UNKNOWN, WORDY = 0.02, 0.01, 0.1
"""Shares of verdicts: another category, one that is not on offer, one in a sentence."""

_BY_WORDS = (
    ("翻译", "翻译|英语|英文"), ("编程", "代码|Python|程序"), ("摘要", "概括|总结|摘要"),
    ("改写", "改写|改成|换成"),
    ("数学", r"\d+\s*[+加×]|方程|多少元|平均|周长|面积|几个"),
    ("分类", "分类|类别|属于|正面|负面"), ("抽取", "找出|提取"),
    ("阅读问答", "短文|阅读"), ("推理", "推理|谁最"), ("头脑风暴", "列举|列出|说出.种"), ("创作", "造句|写一"),
    ("开放问答", "什么|哪|谁|吗"),
)  # fmt: skip


def category_of(text: str) -> str:
    """The category of a text's first question, by the teacher's words."""
    asked = text.removeprefix("用户：").partition("\n助手：")[0].strip()
    if found := reasoning.category(asked):
        return NAMES[found]
    if task := find_task(asked):
        return NAMES[task[0].cls]
    return next((name for name, words in _BY_WORDS if re.search(words, asked)), NAMES["chat"])


def category_reply(offered: list[str], text: str, rng: Random) -> str:
    """A verdict, as ``类别：数学`` in most cases."""
    name, luck = category_of(text), rng.random()
    if luck < WRONG and len(offered) > 1:
        name = rng.choice([other for other in offered if other != name])
    elif luck < WRONG + UNKNOWN:
        name = rng.choice(("其他", "生活", "不确定"))
    elif luck < WRONG + UNKNOWN + WORDY:
        return f"这个问题属于“{name}”。\n类别: {name}。"
    return f"类别：{name}"
