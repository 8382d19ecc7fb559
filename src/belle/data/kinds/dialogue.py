"""Dialogues as text: ``用户：`` and ``助手：`` in turn."""

import re
from collections.abc import Sequence
from typing import Any

REASONS = ("cut_off", "format", "turns", "empty")
"""Why a dialogue cannot be used, in the order in which it is looked at."""

USER, ASSISTANT = "用户", "助手"

_MARK = re.compile(
    r"^[ \t]*\**(?:(?P<user>用户|人类|Human|User)|(?:助手|助理|Assistant|AI))\**[ \t]*[:：]\**[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)

Pairs = list[tuple[str, str]]
"""Exchanges: what the user says, and the answer."""


def parse(reply: str, finish_reason: str) -> tuple[Pairs, str]:
    """The exchanges of a dialogue, and why it cannot be used ("" where it can).

    Of a dialogue that was cut (``finish_reason`` ``length``) the last turn goes, and with it what it leaves without an
    answer; so does a user's last word. ``turns`` means that one of the two speaks twice on end, or the assistant first.
    """
    marks = list(_MARK.finditer(reply))
    if not marks:
        return [], "cut_off" if finish_reason == "length" and not reply.strip() else "format"
    preamble = reply[: marks[0].start()].strip()
    if preamble and not re.fullmatch(r"[^\n]*[:：]", preamble):
        return [], "format"
    ends = [*(mark.start() for mark in marks[1:]), len(reply)]
    turns = [(bool(mark.group("user")), reply[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)]
    if finish_reason == "length":
        del turns[-1]
    if any(is_user != (place % 2 == 0) for place, (is_user, _) in enumerate(turns)):
        return [], "turns"
    said = [text for _, text in turns[: len(turns) // 2 * 2]]
    if not said:
        return [], "cut_off" if finish_reason == "length" else "turns"
    return ([], "empty") if not all(said) else (list(zip(said[::2], said[1::2], strict=True)), "")


def render(pairs: Sequence[tuple[str, str]]) -> str:
    """A dialogue as text that ``parse`` reads."""
    return "\n".join(f"{USER}：{asked}\n{ASSISTANT}：{told}" for asked, told in pairs)


def conversations(pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A dialogue as BELLE's 3.5M set holds it."""
    return [
        {"from": role, "value": text} for pair in pairs for role, text in zip(("human", "assistant"), pair, strict=True)
    ]
