"""What users ask, how they ask on, and the answers to both."""

import re
from collections.abc import Sequence
from random import Random

from belle.api.teacher.family import draw_task
from belle.api.teacher.sets import faults, reasoning
from belle.api.teacher.tasks import CLASSES, draw_taught, families_of, find_task

KINDS = (*CLASSES, "cot", "chat")
"""Eleven classes of the task families and the two of ``reasoning``, drawn in equal shares."""

REPEAT = ("请再说一遍刚才的答案。", "你刚才的回答是什么？", "麻烦把答案重复一下。")
RECALL = ("我第一个问题问的是什么？", "还记得我最开始问了什么吗？")
THANKS = {
    "谢谢你的回答。": "不用谢，很高兴能帮到你。",
    "好的，我明白了。": "明白了就好，有问题随时再问。",
    "你说得真好，谢谢。": "谢谢夸奖，还有什么想问的吗？",
}


def question(rng: Random) -> tuple[str, str]:
    """A user's first question and its answer, of any of ``KINDS``; none is held out for the evaluation set."""
    kind = rng.choice(KINDS)
    if kind == "cot":
        return reasoning.chain(rng)
    if kind == "chat":
        return reasoning.talk(rng)
    task = draw_task(rng.choice(families_of(kind)), rng)
    return task.instruction + task.input, task.output


def follow_up(turns: Sequence[str], rng: Random) -> str:
    """What a user says next, after ``turns`` (the user's and the assistant's in turn)."""
    choices = [*REPEAT, *THANKS]
    if len(turns) >= 4:
        choices += RECALL
    if rng.random() < 0.5:
        task = draw_taught(rng)
        return rng.choice(("再问一个问题：", "另外，", "还有，", "")) + task.instruction + task.input
    return rng.choice([choice for choice in choices if choice not in turns] or choices)


def answer(turns: Sequence[str], rng: Random) -> str | None:
    """The answer to the last of ``turns``, which is the user's; ``None`` if the teacher knows none."""
    said = turns[-1].strip()
    if said in THANKS:
        return THANKS[said]
    if said in REPEAT and len(turns) >= 3:
        return turns[-2]
    if said in RECALL and len(turns) >= 3:
        return f"你最开始问的是：{turns[0].strip()}"
    bare = re.sub(r"^(?:再问一个问题：|另外，|还有，)", "", said)
    if (found := reasoning.answer(bare)) is not None:
        return found
    task = find_task(bare)
    return task[0].answer(task[1], rng) if task else None


def questions_reply(count: int, rng: Random) -> tuple[str, str]:
    """``count`` numbered questions, one a line block, as a reply and its ``finish_reason``."""
    if refusal := faults.refuses(rng):
        return refusal, "stop"
    items = []
    for number in range(1, count + 1):
        text, fault = question(rng)[0], faults.fault_of_item(rng)
        if fault == "empty":
            items.append(f"{number}. 问题：")
        elif fault == "spoilt":
            items.append(f"（{number}）{text}")
        else:
            items.append(f"{number}. 问题：{text}")
    return faults.cut("\n###\n".join(items), rng)


def answer_reply(turns: Sequence[str], rng: Random) -> str | None:
    """As ``answer``, now and then with a claim to be a model in front."""
    text = answer(turns, rng)
    if text is None:
        return None
    return faults.CLAIM + text if faults.fault_of_item(rng) == "claimed" else text
