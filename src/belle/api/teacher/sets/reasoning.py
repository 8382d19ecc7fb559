"""Questions that the task families lack: those with steps of thought, and small talk."""

import re
from random import Random

from belle.api.teacher.lexicon import ACTIVITIES, PEOPLE, PLACES, TIMES

_ORDERS = (("高", "最高", "最矮"), ("跑得快", "跑得最快", "跑得最慢"), ("年纪大", "年纪最大", "年纪最小"),
           ("起得早", "起得最早", "起得最晚"), ("重", "最重", "最轻"))  # fmt: skip
_NAME = "|".join(sorted(PEOPLE, key=len, reverse=True))
_WORD = "|".join(word for word, _, _ in _ORDERS)
_ENDS = "|".join(end for order in _ORDERS for end in order[1:])
_CHAIN = re.compile(
    rf"({_NAME})比({_NAME})({_WORD})，\2比({_NAME})\3。(?:请一步一步推理：)?谁({_ENDS})？(?:请说明理由。)?"
)

_MOODS = {
    "真开心": "听起来真不错，开心的一天值得记住。",
    "有点累": "辛苦了，早点休息，明天会更好的。",
    "觉得很无聊": "不如找个朋友一起玩，时间会过得快一些。",
    "有点想家": "想家是很正常的，给家里打个电话吧。",
    "心情很好": "真为你高兴，希望你一直有好心情。",
    "有点紧张": "深呼吸，慢慢来，你一定可以的。",
}
_GREETINGS = ("你好，", "嗨，", "早啊，", "在吗？", "跟你说件事，", "")
_TALK = re.compile(
    rf"(?:{'|'.join(filter(None, _GREETINGS))})?({'|'.join(TIMES)})我在({'|'.join(PLACES)})({'|'.join(ACTIVITIES)})，"
    rf"({'|'.join(_MOODS)})。"
)


def chain(rng: Random) -> tuple[str, str]:
    """A question about the order of three people, and its answer in steps."""
    first, second, third = rng.sample(PEOPLE, 3)
    word, most, least = rng.choice(_ORDERS)
    end = rng.choice((most, least))
    ask = rng.choice((f"谁{end}？", f"请一步一步推理：谁{end}？", f"谁{end}？请说明理由。"))
    question = f"{first}比{second}{word}，{second}比{third}{word}。{ask}"
    return question, _chain_answer(first, second, third, word, end, most)


def _chain_answer(first: str, second: str, third: str, word: str, end: str, most: str) -> str:
    who = first if end == most else third
    return f"因为{first}比{second}{word}，{second}比{third}{word}，所以顺序是{first}、{second}、{third}，{who}{end}。"


def talk(rng: Random) -> tuple[str, str]:
    """A remark about the day, and a kind word."""
    mood = rng.choice(tuple(_MOODS))
    greeting, time, place, act = (rng.choice(words) for words in (_GREETINGS, TIMES, PLACES, ACTIVITIES))
    return f"{greeting}{time}我在{place}{act}，{mood}。", _MOODS[mood]


def answer(question: str) -> str | None:
    """The answer to a question of this module, or ``None`` if it is none."""
    if found := _CHAIN.fullmatch(question.strip()):
        order = next(order for order in _ORDERS if order[0] == found[3])
        if found[5] in order[1:]:
            return _chain_answer(found[1], found[2], found[4], found[3], found[5], order[1])
    if found := _TALK.fullmatch(question.strip()):
        return _MOODS[found[4]]
    return None


def category(question: str) -> str | None:
    """The category of a question of this module, or ``None`` if it is none."""
    if _CHAIN.fullmatch(question.strip()):
        return "cot"
    return "chat" if _TALK.fullmatch(question.strip()) else None
