"""What filters have in common: their type, and what a question is about."""

import re
from collections.abc import Callable

from belle.jsonl import Row

Filter = Callable[[Row], str | None]
"""Looks at one row with ``instruction``, ``input`` and ``output``; its reason to drop it, or None."""

LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
"""The letters of Latin script, as a character class has them."""

IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")

OF_CODE = re.compile(
    r"代码|编程|程序|函数|脚本|算法|网页|标签|前端|正则|变量|数组|类型|接口|数据库|查询|命令|语句|C语言"
    r"|HTML|XML|CSS|SQL|JSON|YAML|Markdown|Python|Java|PHP|Ruby|Rust|Golang|Linux|Shell|Bash|C\+\+|C#|LaTeX|Code",
    re.IGNORECASE,
)
"""A text about code."""

OF_OTHER_LANGUAGE = re.compile(
    r"译|英|中文|汉语|Chinese|translat|[法德日韩俄西]语|[法德日]文|外语|外文|西班牙|拼音|字母|单词|缩写|罗马"
    r"|English|网址|邮箱|公式|方程|化学式|序列",
    re.IGNORECASE,
)
"""A text about another language, or about what is written in Latin letters anyway."""

# Bounded words, and none begun in the middle: a long line without a space costs no more than its length.
_LATIN_RUN = re.compile(rf"(?<![{LATIN}'’-])(?:[{LATIN}][{LATIN}'’-]{{0,30}}[,;:.!?]? ){{7,}}[{LATIN}]{{1,31}}")


def question(row: Row) -> str:
    """All that is asked: the instruction, and what it is about."""
    return f"{row['instruction']}\n{row['input']}"


def has_english(text: str) -> bool:
    """Whether ``text`` has a run of 8 words in Latin letters, half of them or more in lower case: no list of names."""
    for run in _LATIN_RUN.finditer(text):
        found = run.group().split()
        if 2 * sum(word[0].islower() for word in found) >= len(found):
            return True
    return False
