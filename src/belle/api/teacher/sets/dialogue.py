"""Whole dialogues, or more of one: ``用户：`` and ``助手：`` in turn."""

import re
from collections.abc import Sequence
from random import Random

from belle.api.teacher.lexicon import ACTIVITIES, PEOPLE, PLACES, TIMES
from belle.api.teacher.sets import chat, faults, roles

_OPENINGS = (
    ("我想聊聊{topic}。", "好的，{topic}是个有意思的话题，你想从哪里说起？"),
    ("你对{topic}了解吗？", "了解一些，你想知道{topic}的哪个方面？"),
    ("最近我对{topic}很感兴趣。", "那很好，是什么让你对{topic}感兴趣的？"),
    ("能陪我说说{topic}吗？", "当然可以，说到{topic}，你先想到什么？"),
)
_REASONS = (
    ("{time}我和{person}在{place}{act}，说起了这件事。", "原来是和{person}在{place}说起的，{act}的时候聊天最自在。"),
    ("{person}{time}告诉我的，他常去{place}{act}。", "{person}常去{place}，一定知道不少，你可以再问问他。"),
    ("我{time}在{place}看到有人在{act}，就想到了。", "在{place}{act}确实让人想到很多事。"),
)
_TURN = re.compile(r"^(?:用户|助手)：", re.MULTILINE)


def turns_of(text: str) -> list[str]:
    """What is said in a dialogue, turn by turn."""
    return [turn.strip() for turn in _TURN.split(text)[1:]]


def _next(topic: str, said: Sequence[str], rng: Random) -> tuple[str, str]:
    if not said:
        asked, told = rng.choice(_OPENINGS)
        return asked.format(topic=topic), told.format(topic=topic)
    if len(said) == 2:
        asked, told = rng.choice(_REASONS)
        words = {"time": TIMES, "person": PEOPLE, "place": PLACES, "act": ACTIVITIES}
        slots = {name: rng.choice(choices) for name, choices in words.items()}
        return asked.format_map(slots), told.format_map(slots)
    asked = chat.follow_up(said, rng)
    return asked, chat.answer([*said, asked], rng) or "这个问题我还不会回答，我们换一个吧。"


def _written(pairs: Sequence[tuple[str, str]], rng: Random) -> tuple[str, str]:
    """The reply that holds ``pairs``, with its faults, and the ``finish_reason``."""
    fault = faults.fault_of_item(rng)
    spoilt = rng.randrange(len(pairs))
    lines = []
    for place, (asked, told) in enumerate(pairs):
        if place == spoilt and fault == "claimed":
            told = faults.CLAIM + told
        elif place == spoilt and fault == "empty":
            told = ""
        lines.append(f"用户：{asked}")
        if not (place == spoilt and fault == "spoilt"):
            lines.append(f"助手：{told}")
    if rng.random() < 0.1:
        lines = [line.replace("：", ":", 1) for line in lines]
    return faults.cut("\n".join(lines), rng)


def dialogue_reply(topic: str, count: int, before: str, rng: Random) -> tuple[str, str]:
    """``count`` more exchanges on a topic after those of the text ``before``, and the ``finish_reason``."""
    if refusal := faults.refuses(rng):
        return refusal, "stop"
    said, pairs = turns_of(before), []
    for _ in range(count):
        pairs.append(_next(topic, said, rng))
        said.extend(pairs[-1])
    return _written(pairs, rng)


def role_dialogue_reply(role: str, count: int, rng: Random) -> tuple[str, str]:
    """A dialogue of ``count`` exchanges with somebody of this role, and the ``finish_reason``."""
    if refusal := faults.refuses(rng):
        return refusal, "stop"
    return _written(roles.exchanges(role, count, rng), rng)
