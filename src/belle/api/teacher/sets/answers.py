"""Answer one request of any kind: those of the sets here, all others as ``belle.api.teacher.answers`` does."""

import hashlib
from random import Random
from typing import Any

from belle import jsonl
from belle.api import brief as briefs
from belle.api.teacher import answers as first
from belle.api.teacher.answers import Answer
from belle.api.teacher.sets.category import category_reply
from belle.api.teacher.sets.chat import answer_reply, follow_up, questions_reply
from belle.api.teacher.sets.crawl import tasks_reply
from belle.api.teacher.sets.dialogue import dialogue_reply, role_dialogue_reply, turns_of
from belle.api.teacher.sets.problems import problems_reply
from belle.api.teacher.sets.roles import roles_reply

KINDS = (*first.KINDS, "sets")

MOST = 40
"""The most items or exchanges that one reply holds."""


def reply_to(body: dict[str, Any]) -> Answer:
    """Answer a request that ``fault_of`` found no fault in. Equal requests get equal answers.

    Only model, messages and ``seed`` count for equality. ``max_tokens`` cuts the text, one character a token.
    """
    identity = {"model": body["model"], "messages": body["messages"], "seed": body.get("seed")}
    rng = Random(hashlib.sha256(b"sets" + jsonl.canonical(identity)).digest())
    brief = briefs.parse(body["messages"][-1]["content"])
    said = [message["content"] for message in body["messages"] if message["role"] != "system"]
    if brief is not None:
        kind, (text, finish_reason) = "sets", _of_brief(brief, rng)
    elif len(said) > 1 or first.reply_to(body).text == first.POLITE:
        kind, text, finish_reason = "chat", answer_reply(said, rng) or first.POLITE, "stop"
    else:
        return first.reply_to(body)
    limit = body.get("max_tokens")
    return Answer(kind, text[:limit], "length") if limit and len(text) > limit else Answer(kind, text, finish_reason)


def _of_brief(brief: briefs.Brief, rng: Random) -> tuple[str, str]:
    fields, text = brief.fields, brief.text
    count = _number(fields.get("轮数") or fields.get("个数") or "1")
    if brief.title == briefs.DIALOGUE:
        return dialogue_reply(fields.get("主题", "生活"), count, text, rng)
    if brief.title == briefs.ROLES:
        return roles_reply(fields.get("身份", "老师").split("、"), count, rng)
    if brief.title == briefs.ROLE_DIALOGUE:
        return role_dialogue_reply(text.strip(), count, rng)
    if brief.title == briefs.QUESTIONS:
        return questions_reply(count, rng)
    if brief.title == briefs.FOLLOW_UP:
        return follow_up(turns_of(text), rng), "stop"
    if brief.title == briefs.PROBLEMS:
        return problems_reply(fields.get("知识点", ""), count, rng)
    if brief.title == briefs.TASKS:
        return tasks_reply(fields.get("话题", "生活"), fields.get("任务类型", ""), count, rng)
    return category_reply(fields.get("可选类别", "").split("、"), text, rng), "stop"


def _number(text: str) -> int:
    return min(MOST, max(1, int(text))) if text.strip().isdecimal() else 1
