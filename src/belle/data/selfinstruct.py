"""BELLE's Self-Instruct exchange: the prompt with its shots, and the reply turned into rows or reasons.

A prompt ends in an open item (``4. 指令:`` after three shots) that the reply goes on with; items stand apart by
``###``. The rules are BELLE's, with a parser that also takes full-width colons and a numbering that starts anew.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from belle.records import SeedTask

NO_INPUT = "<无输入>"
"""What stands for an empty input."""

BLACKLIST = (
    "图像", "图片", "照片", "文件", "图表", "图层", "曲线图", "折线图", "直线图", "柱形图", "饼状图", "链接",
    "http", "OpenAI", "chatgpt", "gpt-3", "gpt-3.5", "gpt-4",
)  # fmt: skip
"""Words of tasks that text alone cannot do, or that talk about the teacher; substrings, case-sensitive."""

REASONS = ("cut_off", "format", "blacklist", "gpt", "too_short", "too_long", "empty_output")
"""Why an item is no row, in the order in which it is looked at."""

MIN_CHARS = 4
MAX_CHARS, MAX_CHARS_WITH_EXAMPLE = 99, 149
"""Bounds of an instruction, in characters; the upper two count only where there is an input."""

_TITLE = re.compile(r"(?:^|#{3,})[ \t]*\**\d+[ \t]*[.．、][ \t]*指令[ \t]*[:：]\**", re.MULTILINE)
_SEPARATOR = re.compile(r"^[ \t]*#{3,}[ \t]*$", re.MULTILINE)
# Fields go by their numbers; only where a reply leaves those out do bare names count, which a text may hold too.
_FIELDS = (
    re.compile(r"^[ \t]*\**\d+[ \t]*[.．、][ \t]*(输入|输出)[ \t]*[:：]\**", re.MULTILINE),
    re.compile(r"^[ \t]*\**(输入|输出)[ \t]*[:：]\**", re.MULTILINE),
)
_NO_INPUT = re.compile(r"[<＜《〈(（\[【]?\s*无输入\s*[>＞》〉)）\]】]?[。.]?")

# "要求GPT模型写诗" means "写诗": what addresses the teacher goes, what it should do stays.
_ADDRESS = re.compile(
    r"(?:请?(?:要求|请求|需要|使用|训练|让|向|用)|请)GPT(?:模型)?(?:能够|应该|应|需要|来|去)?(?:回答)?|GPT模型(?:应该|应|需要|能够)"
)


@dataclass(frozen=True)
class Item:
    """One item of a reply. ``number`` counts from 1; ``reason`` is empty for a row, else one of ``REASONS``."""

    number: int
    reason: str
    instruction: str = ""
    input: str = ""
    output: str = ""


def render(prompt: str, shots: Sequence[SeedTask]) -> str:
    """Append the shots to ``prompt`` as numbered items and open the next one."""
    blocks = [prompt.rstrip("\n")]
    for number, seed in enumerate(shots, 1):
        instruction = " ".join(seed.instruction.split()).rstrip(":：")
        blocks.append(
            f"{number}. 指令: {instruction}\n"
            f"{number}. 输入:\n{seed.input.strip() or NO_INPUT}\n"
            f"{number}. 输出:\n{seed.output.strip()}"
        )
    blocks.append(f"{len(shots) + 1}. 指令:")
    return "\n###\n".join(blocks)


def parse(reply: str, *, finish_reason: str) -> list[Item]:
    """Turn a reply into items, each a row or a reason.

    ``finish_reason`` ``length`` means that the reply was cut: its last item is dropped, unless ``###`` closed it.
    """
    reply = reply.replace("\r\n", "\n").lstrip("# \t\n")
    if not reply:
        return []
    if not _TITLE.match(reply):
        reply = "0. 指令:" + reply
    # A title opens an item even where the separator was forgotten.
    pieces = _SEPARATOR.split(_TITLE.sub(lambda title: "\n###\n" + title.group().lstrip("# \t"), reply))
    open_end = bool(pieces[-1].strip())
    pieces = [piece.strip() for piece in pieces if piece.strip()]
    items = []
    for number, piece in enumerate(pieces, 1):
        if number == len(pieces) and open_end and finish_reason == "length":
            items.append(Item(number, "cut_off"))
        else:
            items.append(_item(number, piece))
    return items


def _item(number: int, piece: str) -> Item:
    title = _TITLE.match(piece)
    for field in _FIELDS:
        parts = field.split(piece[title.end() :]) if title else []
        if parts[1::2] == ["输入", "输出"]:
            break
    else:
        return Item(number, "format")
    if any(word in piece for word in BLACKLIST):
        return Item(number, "blacklist")
    instruction, input_, output = parts[0].strip(), parts[2].strip(), parts[4].strip()
    if _NO_INPUT.fullmatch(input_):
        input_ = ""
    instruction, input_ = _ADDRESS.sub("", instruction).strip(), _ADDRESS.sub("", input_).strip()
    return Item(number, _reason(instruction, input_, output), instruction, input_, output)


def _reason(instruction: str, input_: str, output: str) -> str:
    if "GPT" in instruction or "GPT" in input_:
        return "gpt"
    if len(instruction) < MIN_CHARS:
        return "too_short"
    longest = MAX_CHARS_WITH_EXAMPLE if "示例" in instruction or "例子" in instruction else MAX_CHARS
    if input_ and len(instruction) > longest:
        return "too_long"
    return "" if output else "empty_output"
