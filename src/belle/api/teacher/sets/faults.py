"""A share of ChatGPT's faults, so that parsers and filters have something to find."""

from random import Random

REFUSED, CUT_OFF, CLAIMED, EMPTY, SPOILT = 0.02, 0.02, 0.015, 0.01, 0.015
"""Shares: of replies that refuse, of replies that are cut, and of items that speak of the teacher, are empty, or whose
form is spoilt."""

REFUSALS = (
    "很抱歉，我无法完成这个请求。",
    "对不起，作为AI语言模型，我不能编写这样的内容。",
    "抱歉，我暂时无法处理您的请求，请稍后再试。",
)
CLAIM = "作为一个AI语言模型，我没有亲身经历，不过可以告诉你："


def refuses(rng: Random) -> str:
    """A refusal in place of a reply, or "" (mostly)."""
    return rng.choice(REFUSALS) if rng.random() < REFUSED else ""


def cut(text: str, rng: Random) -> tuple[str, str]:
    """The text, now and then cut as by a limit on tokens, and its ``finish_reason``."""
    if rng.random() < CUT_OFF and len(text) > 8:
        return text[: rng.randint(len(text) // 3, len(text) - 1)], "length"
    return text, "stop"


def fault_of_item(rng: Random) -> str:
    """What is wrong with one item: ``claimed``, ``empty``, ``spoilt``, or "" (mostly)."""
    luck = rng.random()
    for share, fault in ((CLAIMED, "claimed"), (EMPTY, "empty"), (SPOILT, "spoilt")):
        if luck < share:
            return fault
        luck -= share
    return ""
