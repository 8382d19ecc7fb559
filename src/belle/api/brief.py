"""What a request for rows says besides its prompt: a title, a line for each field, and perhaps a text.

One module renders it and reads it, so that the asker and the offline teacher cannot drift apart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

DIALOGUE, ROLES, ROLE_DIALOGUE, QUESTIONS, FOLLOW_UP, PROBLEMS, TASKS, CATEGORY = TITLES = (
    "多轮对话", "设计角色", "角色对话", "提出问题", "用户追问", "数学应用题", "编写任务", "判断类别",
)  # fmt: skip
"""The titles: what is asked for."""

TEXT = "——"
"""The line that the text stands under."""

_BRIEF = re.compile(rf"\n【({'|'.join(TITLES)})】\n((?:[^\n：]+：[^\n]*\n)*)(?:{TEXT}\n(.*))?\Z", re.DOTALL)


@dataclass(frozen=True)
class Brief:
    """A title (one of ``TITLES``), fields of one line each, and a text of any length."""

    title: str
    fields: Mapping[str, str]
    text: str = ""


def render(prompt: str, brief: Brief) -> str:
    """Write the user message of a request: the prompt, then the brief."""
    fields = "".join(f"{name}：{' '.join(value.split())}\n" for name, value in brief.fields.items())
    text = f"{TEXT}\n{brief.text}" if brief.text else ""
    return f"{prompt.rstrip()}\n\n【{brief.title}】\n{fields}{text}"


def parse(message: str) -> Brief | None:
    """Read a brief back, or ``None`` if ``message`` holds none."""
    found = _BRIEF.search(message)
    if found is None:
        return None
    fields = dict(line.split("：", 1) for line in found[2].splitlines())
    return Brief(found[1], fields, found[3] or "")
