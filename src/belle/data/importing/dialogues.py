"""Rows of several turns, by the names that the sets use for roles and texts."""

import re
from collections.abc import Iterable
from typing import Any

from belle.data.importing.fields import Dropped, missing, text, wrong
from belle.data.importing.single import looks_as_dialogue
from belle.errors import InputError
from belle.jsonl import Row

HUMAN, ASSISTANT, SYSTEM, TOOL = "human", "assistant", "system", "tool"

ROLES = {
    "human": HUMAN, "user": HUMAN, "prompter": HUMAN,
    "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "model": ASSISTANT, "bot": ASSISTANT,
    "bing": ASSISTANT, "bard": ASSISTANT, "moss": ASSISTANT,
    "system": SYSTEM, "developer": SYSTEM,
    "tool": TOOL, "function": TOOL, "function_call": TOOL, "function_response": TOOL, "tool_call": TOOL,
    "observation": TOOL, "tool_response": TOOL,
}  # fmt: skip
"""What the sets call a role, in lower case → what it is."""

Turn = tuple[str, str]


def conversation(turns: Iterable[Turn], system: str = "") -> Row:
    """``conversations`` (and ``system``) of (role, text) turns, human first, in turn, answered.

    Raises:
        Dropped: they are not.
    """
    turns = list(turns)
    if turns and turns[0][0] == SYSTEM:
        system = "\n\n".join(part for part in (system, turns[0][1]) if part.strip())
        turns = turns[1:]
    if any(role == TOOL for role, _ in turns):
        raise Dropped("tool_turn")
    if not turns:
        raise Dropped("no_turns")
    if any(role != (HUMAN, ASSISTANT)[position % 2] for position, (role, _) in enumerate(turns)):
        raise Dropped("roles_out_of_turn")
    if any(not value.strip() for _, value in turns):
        raise Dropped("empty")
    if len(turns) % 2:
        raise Dropped("unanswered")
    row: Row = {"conversations": [{"from": role, "value": value} for role, value in turns]}
    return {**row, "system": system} if system.strip() else row


def _turns_of(row: Row, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _has_turns(row: Row, names: tuple[str, ...], role: str) -> bool | None:
    """Whether the turns say who speaks under ``role``; None where what stands there does not tell."""
    turns = _turns_of(row, names)
    if turns is None:
        return False
    return role in turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else None


_SHAREGPT, _MESSAGES = ("conversations", "items", "conversation"), ("messages", "conversations", "conversation")


def is_sharegpt(row: Row) -> bool | None:
    """ShareGPT's and BELLE-3.5M's: turns of ``from, value``."""
    return _has_turns(row, _SHAREGPT, "from")


def is_messages(row: Row) -> bool | None:
    """OpenAI's: turns of ``role, content``."""
    return _has_turns(row, _MESSAGES, "role")


def sharegpt(row: Row, where: str) -> Row:
    """Turns of ``from, value`` under ``conversations`` or ``items``; ``system`` as a turn or a field."""
    turns = [(_role(turn, "from", place), text(turn, "value", place)) for turn, place in _each(row, _SHAREGPT, where)]
    return conversation(turns, text(row, "system", where, optional=True))


def messages(row: Row, where: str) -> Row:
    """Turns of ``role, content``; content is text, or parts of which all are text."""
    turns = []
    for turn, place in _each(row, _MESSAGES, where):
        role = TOOL if turn.get("tool_calls") or turn.get("function_call") else _role(turn, "role", place)
        turns.append((role, _content(turn, place)))
    return conversation(turns, text(row, "system", where, optional=True))


def _each(row: Row, names: tuple[str, ...], where: str) -> Iterable[tuple[Row, str]]:
    turns = _turns_of(row, names)
    if turns is None:
        raise missing(row, names[0], where)
    if not isinstance(turns, list):
        raise wrong(next(name for name in names if row.get(name) is not None), "a list of turns", turns, where)
    for number, turn in enumerate(turns, 1):
        place = f"{where}, turn {number}"
        if not isinstance(turn, dict):
            raise wrong(f"turn {number}", "an object with who speaks and what", turn, where)
        yield turn, place


def _role(turn: Row, key: str, where: str) -> str:
    value = turn.get(key)
    if key not in turn:
        raise missing(turn, key, where)
    if not isinstance(value, str):
        raise wrong(key, "the name of a role", value, where)
    role = ROLES.get(value.strip().lower())
    if role is None:
        raise Dropped("unknown_role")
    return role


def _content(turn: Row, where: str) -> str:
    content = turn.get("content")
    if not isinstance(content, list):
        return text(turn, "content", where)
    parts = []
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise wrong("content", "text, or a list of parts that have a `type`", content, where)
        if part["type"] not in {"text", "input_text", "output_text"}:
            raise Dropped("not_text")
        parts.append(text(part, "text", where))
    return "\n".join(parts)


# --- BELLE's dialogues as text ----------------------------------------------------------------------------------

_TAG = re.compile(r"(?:^|\n)[ \t]*(Human|Assistant)[:：]")


def is_belle_multiturn(row: Row) -> bool:
    """BELLE's multiturn_chat_0.8M: all turns but the last reply stand in ``instruction``."""
    return looks_as_dialogue(row) and "output" in row


def belle_multiturn(row: Row, where: str) -> Row:
    """``instruction`` of ``Human:…`` and ``Assistant:…`` lines that end with ``Assistant:``; ``output``, the reply."""
    history = text(row, "instruction", where) + text(row, "input", where, optional=True)
    parts = _TAG.split(f"{history.rstrip()}{text(row, 'output', where)}")
    if parts[0].strip() or len(parts) < 3 or not history.rstrip().endswith(("Assistant:", "Assistant：")):
        raise Dropped("roles_out_of_turn")
    return conversation((tag.lower(), value.strip()) for tag, value in zip(parts[1::2], parts[2::2], strict=True))


_SPEAKER = re.compile(r"^[ \t]*([^\s：:][^：:\n]{0,19})[：:]", re.MULTILINE)


def role_dialogue(row: Row, where: str) -> Row:
    """BELLE's generated_chat_0.4M as turns: who speaks first is the human; the roles become ``system``.

    A speaker is a name that stands before a colon at the start of a line of ``output`` and in ``instruction``, too.
    """
    roles = text(row, "instruction", where)
    parts = _SPEAKER.split(text(row, "output", where))
    turns: list[list[str]] = []
    for name, value in zip(parts[1::2], parts[2::2], strict=True):
        if name.strip() in roles:
            turns.append([name.strip(), value])
        elif turns:
            turns[-1][1] += f"{name}：{value}"  # a colon within a speech
    if not turns or parts[0].strip():
        raise Dropped("no_turns")
    speakers = list(dict.fromkeys(name for name, _ in turns))
    if len(speakers) != 2:
        raise Dropped("unknown_role")
    return conversation(
        [((HUMAN, ASSISTANT)[speakers.index(name)], value.strip()) for name, value in turns], roles.strip()
    )


# --- MOSS -------------------------------------------------------------------------------------------------------

_MOSS_TAG = re.compile(r"\s*(?:<\|(Human|MOSS)\|>|\[(Human|MOSS)\])[:：]\s*")
_MOSS_START = re.compile(r"^\s*<\|[A-Za-z ]+\|>[:：]\s*")
_MOSS_END = re.compile(r"\s*<eo[a-z]>\s*$")
_MOSS_TOOLS = ("Commands", "Tool Responses")


def is_moss(row: Row) -> bool:
    """MOSS's later sets: ``chat`` of numbered turns."""
    return isinstance(row.get("chat"), dict)


def moss(row: Row, where: str) -> Row:
    """``chat: {turn_1: {Human, MOSS, …}, …}``; ``meta_instruction`` becomes ``system``."""
    chat = row.get("chat")
    if chat is None:
        raise missing(row, "chat", where)
    if not isinstance(chat, dict):
        raise wrong("chat", "an object of turns", chat, where)
    turns: list[Turn] = []
    for name in sorted(chat, key=lambda name: _place(name, where)):
        turn, place = chat[name], f"{where}, {name}"
        if not isinstance(turn, dict):
            raise wrong(name, "an object with Human and MOSS", turn, where)
        if any(_bare(text(turn, key, place, optional=True)) not in {"", "None"} for key in _MOSS_TOOLS):
            raise Dropped("tool_turn")
        turns += [(HUMAN, _bare(text(turn, "Human", place))), (ASSISTANT, _bare(text(turn, "MOSS", place)))]
    return conversation(turns, text(row, "meta_instruction", where, optional=True).strip())


def _place(name: str, where: str) -> int:
    number = name.removeprefix("turn_")
    if not number.isascii() or not number.isdigit():
        raise InputError(
            f"`chat`: {name[:40]!r} is no turn",
            where=where,
            cause="another set's `chat`",
            fix="write turns as turn_1, turn_2, …",
        )
    return int(number)


def _bare(value: str) -> str:
    return _MOSS_END.sub("", _MOSS_START.sub("", value)).strip()


def is_moss_text(row: Row) -> bool:
    """MOSS's earlier sets: all turns in ``plain_text``."""
    return isinstance(row.get("plain_text"), str)


def moss_text(row: Row, where: str) -> Row:
    """``plain_text`` of ``[Human]: …<eoh> [MOSS]: …<eoa>``; ``prefix`` becomes ``system``."""
    parts = _MOSS_TAG.split(text(row, "plain_text", where))
    if parts[0].strip():
        raise Dropped("roles_out_of_turn")
    turns = [
        (ROLES[(one or other).lower()], _bare(value))
        for one, other, value in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    ]
    return conversation(turns, text(row, "prefix", where, optional=True).strip())
