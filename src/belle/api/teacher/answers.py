"""Answer one chat completion request: find its kind, then the rule for it."""

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any

from belle import jsonl
from belle.api.teacher.judge import judge_reply
from belle.api.teacher.selfinstruct import self_instruct_reply
from belle.api.teacher.tasks import find_task

KINDS = ("self_instruct", "judge", "chat")

POLITE = "这个问题我还不会回答，请换一个问题。"


@dataclass(frozen=True)
class Answer:
    """A reply: its kind (one of ``KINDS``), text, and ``finish_reason`` (``stop`` or ``length``)."""

    kind: str
    text: str
    finish_reason: str = "stop"


def fault_of(body: Any) -> str:
    """What is wrong with a request body, in one sentence, or ""."""
    if not isinstance(body, dict):
        return "The body must be a JSON object."
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "`model` must be a string that is not empty."
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "`messages` must be a list that is not empty."
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
            return f"`messages[{place}].role` must be system, user or assistant."
        if not isinstance(message.get("content"), str):
            return f"`messages[{place}].content` must be a string."
    if messages[-1]["role"] != "user":
        return "The last message must be the user's."
    limit = body.get("max_tokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        return "`max_tokens` must be a positive integer."
    if body.get("stream"):
        return "`stream` is not offered here."
    if body.get("n") not in (None, 1):
        return "`n` must be 1."
    return ""


def reply_to(body: dict[str, Any]) -> Answer:
    """Answer a request that ``fault_of`` found no fault in. Equal requests get equal answers.

    Only model, messages and ``seed`` count for equality. ``max_tokens`` cuts the text, one character a token.
    """
    identity = {"model": body["model"], "messages": body["messages"], "seed": body.get("seed")}
    rng = Random(hashlib.sha256(jsonl.canonical(identity)).digest())
    message = body["messages"][-1]["content"]
    answer = _uncut(message, rng)
    limit = body.get("max_tokens")
    if limit is not None and len(answer.text) > limit:
        return Answer(answer.kind, answer.text[:limit], "length")
    return answer


def _uncut(message: str, rng: Random) -> Answer:
    items = self_instruct_reply(message, rng)
    if items is not None:
        return Answer("self_instruct", items.text, items.finish_reason)
    verdict = judge_reply(message)
    if verdict is not None:
        return Answer("judge", verdict)
    found = find_task(message)
    return Answer("chat", found[0].answer(found[1], rng) if found else POLITE)
