"""Answer BELLE's Self-Instruct prompt: ``N. 指令:``, ``N. 输入:``, ``N. 输出:``, items separated by ``###``.

The prompt ends with ``4. 指令:`` and the reply goes on right after it. A share of ChatGPT's faults is mixed in,
so that the filters of the chain have something to find.
"""

import re
from dataclasses import dataclass
from random import Random

from belle.api.teacher.tasks import draw_taught

LAST_ITEM = 10
"""The number of the last item that the prompt asks for."""

NO_INPUT = "<无输入>"

KNOWN_ROWS = 0.03
BLACKLISTED = 0.02
FOR_GPT = 0.01
MISNUMBERED = 0.01
TOO_SHORT = 0.01
CUT_OFF = 0.05
"""Shares of the faults: of the items, but the last, which is of the replies."""

WELL_KNOWN = (
    ("把下面的词翻译成英文：", "红苹果", "red apple"),
    ("用一句话概括：", "小明在公园跑步，小红也在公园跑步。", "小明和小红都在公园跑步"),
    ("计算1加1。", "", "1+1=2"),
    ("改写成被字句：", "小刚把苹果吃了", "苹果被小刚吃了"),
)
"""What it says again and again. A test holds that none of them is held out."""

IMPOSSIBLE = (
    ("描述下面这张图片的内容：", "一张风景图片", "图片里有山和湖。"),
    ("总结这个链接里的文章：", "http://example.com", "我打不开这个链接。"),
    ("根据折线图写出结论。", "", "数量一直在上升。"),
)

_ENDS_WITH_ITEM = re.compile(r"(\d+)\.\s*指令[:：]\s*$")
_IS_SELF_INSTRUCT = re.compile(r"1\.\s*指令[:：].*###", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """The text of a reply and why it ended: ``stop`` or ``length``."""

    text: str
    finish_reason: str


def _item(rng: Random, number: int) -> str:
    """One item without the mark of its instruction, which the prompt or the caller has written."""
    task = draw_taught(rng)
    instruction, given, output = task.instruction, task.input, task.output
    luck = rng.random()
    bounds = (KNOWN_ROWS, BLACKLISTED, FOR_GPT, MISNUMBERED, TOO_SHORT)
    fault = next((place for place in range(len(bounds)) if luck < sum(bounds[: place + 1])), None)
    if fault == 0:
        instruction, given, output = rng.choice(WELL_KNOWN)
    elif fault == 1:
        instruction, given, output = rng.choice(IMPOSSIBLE)
    elif fault == 2:
        instruction = f"要求GPT模型{instruction}"
    elif fault == 4:
        instruction, output = rng.choice((("嗯", output), (instruction, "")))
    if fault == 3:
        return rng.choice(
            (
                f"{instruction}\n{number + 1}. 输入:{given or NO_INPUT}\n{number}. 输出:{output}",
                f"{instruction}\n输入是{given or NO_INPUT}\n输出是{output}",
            )
        )
    return f"{instruction}\n{number}. 输入:{given or NO_INPUT}\n{number}. 输出:{output}"


def self_instruct_reply(prompt: str, rng: Random) -> Reply | None:
    """Answer a Self-Instruct prompt, or ``None`` if ``prompt`` is none.

    Args:
        prompt: The user's message; the number at its end is the first item's.
        rng: Source of the draw; the caller seeds it from the request, so that equal requests get equal replies.
    """
    end = _ENDS_WITH_ITEM.search(prompt)
    if end is None or not _IS_SELF_INSTRUCT.search(prompt):
        return None
    first = int(end.group(1))
    items = [_item(rng, number) for number in range(first, max(first, LAST_ITEM) + 1)]
    text = items[0]
    for number, item in enumerate(items[1:], first + 1):
        text += f"\n###\n{number}. 指令:{item}"
    if rng.random() < CUT_OFF:
        return Reply(text[: len(text) - rng.randint(1, len(items[-1]) - 1)], "length")
    return Reply(text, "stop")
