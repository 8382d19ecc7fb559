"""The 13 categories of rows: the 12 instruction classes of arXiv 2303.14742, and chat.

BELLE published categories of its 3.5M set, but neither their meaning nor the classifier; these are ours. Those of the
classes make a set's categories comparable with the classes of an evaluation set.
"""

import re

from belle import jsonl
from belle.records import INSTRUCTION_CLASSES, turns

CATEGORIES = (*INSTRUCTION_CLASSES, "chat")
"""The categories, by the names that rows carry."""

WORDS = {
    "math": "数学", "code": "编程", "cot": "推理", "classification": "分类", "extract": "抽取", "rewrite": "改写",
    "open qa": "开放问答", "closed qa": "阅读问答", "generation": "创作", "brainstorming": "头脑风暴",
    "translation": "翻译", "summarization": "摘要", "chat": "闲聊",
}  # fmt: skip
"""Each category as the prompt calls it; ``prompts/sets/category.txt`` says what each means."""

REASONS = ("cut_off", "format", "unknown")
"""Why a verdict names no category, in the order in which it is looked at."""

LONGEST = 2000
"""So many characters of a text are looked at."""

_VERDICT = re.compile(r"^\W*类别\W*[:：]\W*(.+?)\W*$", re.MULTILINE)
_OF_WORD = {word: name for name, word in WORDS.items()}


def text_of(row: jsonl.Row, where: str) -> str:
    """What is categorised: a row's first question (``instruction`` and ``input``, or the first human turn)."""
    return turns(row, where)[0].text.strip()[:LONGEST]


def parse(verdict: str, finish_reason: str) -> tuple[str, str]:
    """The category that a verdict names ("" for none), and why it names none."""
    found = _VERDICT.findall(verdict)
    if not found:
        return "", "cut_off" if finish_reason == "length" else "format"
    name = _OF_WORD.get(found[-1].strip(), "")
    return name, "" if name else "unknown"
