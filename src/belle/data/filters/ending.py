"""Filters of answers that do not end as answers do: stuck in a loop, or cut off."""

import re
from collections import Counter
from itertools import pairwise
from operator import eq

from belle.data.filters.row import OF_CODE, question
from belle.jsonl import Row

_WINDOW = 4096
_RUN_OF_ONE = re.compile(r"([^\s\d\W_])\1{9,}")
_LINES = 8
_ITEM_MARK = re.compile(r"^\s*(?:[(（]?\d{1,3}[.、．)）]|[-*•])?\s*")
_GRAM = 8
_STEP = 12
_PROBES_AGAIN = 2
_LONGEST_PERIOD, _TIMES, _SHORTEST_LOOP = 30, 6, 24
_LONG_ENOUGH = 48
_TO_REPEAT = re.compile(r"重复|循环|打印|叠句|输出\s*\d+\s*[次遍]|[一二三四五六七八九十百\d]\s*[次遍]")


def repetition(row: Row) -> str | None:
    """Drop an answer stuck in a loop.

    That is: one letter 10 times on end, a string 6 times on end over at least 24 characters, or, from 48
    characters on, fewer than 4 distinct runs of 8 characters in 10. Rules (-----) stay, and so does what
    the question asks to repeat. Of a long answer the first and the last 4,096 characters are looked at.
    """
    output = row["output"]
    parts = (output[:_WINDOW], output[-_WINDOW:]) if len(output) > 2 * _WINDOW else (output,)
    return "repetition" if any(map(_loops, parts)) and not _TO_REPEAT.search(row["instruction"]) else None


def _loops(output: str) -> bool:
    if output.count("\n") >= _LINES - 1 and _loops_by_line(output):
        return True
    if _has_run(output) and _RUN_OF_ONE.search(output):
        return True
    # A loop of 24 characters has one of these places where 8 characters come again a period later.
    last = len(output) - _GRAM
    for place in range(0, last + 1, _STEP):
        found = output.find(output[place : place + _GRAM], place + 1, place + 1 + _LONGEST_PERIOD + _GRAM)
        if found >= 0 and _loops_at(output, place, found - place):
            return True
    # Where 6 in 10 runs come again, 2 of these 6 hardly ever fail to.
    probes = range(last // 12, last + 1, max(last // 6, 1))
    if sum(output.count(output[place : place + _GRAM]) > 1 for place in probes) < _PROBES_AGAIN:
        return False
    letters = re.sub(r"[\W_]+", "", output)
    grams = len(letters) - _GRAM + 1
    if len(letters) < _LONG_ENOUGH:
        return False
    return len({letters[start : start + _GRAM] for start in range(grams)}) < 0.4 * grams


def _loops_at(output: str, place: int, period: int) -> bool:
    """Whether the text around ``place`` has its ``period`` 6 times on end, over at least 24 characters."""
    wanted = max(_TIMES * period, _SHORTEST_LOOP)
    begin, end = place, place + period
    while begin > 0 and end - begin < wanted and output[begin - 1] == output[begin - 1 + period]:
        begin -= 1
    while end < len(output) and end - begin < wanted and output[end] == output[end - period]:
        end += 1
    unit = output[begin : begin + period]
    if end - begin < wanted or "\n" in unit or len(set(unit)) == 1:
        return False
    return re.search(r"\w\w", unit * 2) is not None


def _has_run(output: str) -> bool:
    """Whether one character may stand 10 times on end: then it is at two of every fifth places, and between them."""
    fifths = output[::5]
    if not any(map(eq, fifths, fifths[1:])):
        return False
    return any(
        first == second and first.isalpha() and output[5 * place : 5 * place + 6] == first * 6
        for place, (first, second) in enumerate(pairwise(fifths))
    )


def _loops_by_line(output: str) -> bool:
    lines = [_ITEM_MARK.sub("", line) for line in output.split("\n")]
    counts = Counter(line for line in lines if len(line) > 2 and line[0].isalpha() and "\u3400" <= line[0] <= "\u9fff")
    return counts.total() >= _LINES and 2 * len(counts) <= counts.total() and max(counts.values()) >= 5


_ENDS = frozenset("。！？!?…；;）)】]》”’\"'」』~～.:：*`|>}—-_")
_OPEN_ENDS = frozenset("，、（“《【「『")
_TAIL = re.compile(r"[^。！？!?\n]*\Z")
_EMPTY_ITEM = re.compile(r"\n[ \t]*(?:\d{1,2}[.、．)）]|[-*•]|[（(]\d{1,2}[)）])[ \t]*\Z")
_ITEM_ENDS = frozenset(".、．)）-*•")
_DANGLING = (
    "例如", "比如", "包括", "以及", "并且", "而且", "因为", "所以", "但是", "如果", "虽然", "就会", "可以", "应该",
    "能够", "使用", "进行", "减少", "一个", "这个", "方程的解为", "解得", "化简得", "和", "或", "与", "及", "把", "被",
    "将", "从", "向", "对", "在", "是", "为", "而", "并", "的", "能", "会", "他", "她", "它", "我", "请问",
)  # fmt: skip
_SOFT = frozenset("哦呢吧啊啦吗呀嘛喔哟呐了等")
_CLOSING_WORDS = re.compile(r"答[:：]|答案|此致|敬上|谨[启上]|作者|——|出自|选自|[年月]\d*[日号]?$")
_LONG = 40


def truncated(row: Row) -> str | None:
    """Drop an answer that is cut off: in mid-sentence, in a code block, or at the number of an empty item.

    Titles, poems, lists, signatures and sums need no full stop; an answer that never uses one stays, too.
    """
    output = row["output"].rstrip()
    if len(output) >= _LONG and output[-1] in _ITEM_ENDS and _EMPTY_ITEM.search(output[-12:]):
        return "truncated"
    if not output or (output[-1] in _ENDS and "```" not in output and "{" not in output):
        return None
    last = output[-1]
    fences = output.count("```")
    if fences % 2 and not output.endswith("```"):
        return "truncated"
    if last in _OPEN_ENDS and len(output) >= 8:
        return "truncated"
    if len(output) < _LONG:
        return None
    open_block = not fences and "\n" in output and output.count("{") > output.count("}")
    if open_block and last not in "。！：）" and OF_CODE.search(question(row)):
        return "truncated"
    if last in _ENDS or fences or not ("\u4e00" <= last <= "\u9fff"):
        return None
    return "truncated" if _in_mid_sentence(output) else None


def _in_mid_sentence(output: str) -> bool:
    lines = [line.strip() for line in output[-2000:].split("\n") if line.strip()]
    line = lines[-1]
    tail = _TAIL.search(line)
    sentence = tail.group() if tail else line
    if _CLOSING_WORDS.search(sentence) or sentence[-1] in _SOFT:
        return False
    if line.endswith(_DANGLING) and len(line) >= 16 and ("，" in line or "。" in line or "：" in line):
        return True
    if line.count("（") > line.count("）") or line.count("“") > line.count("”"):
        return True
    if len(sentence) < 8:
        return False
    stops = line.count("。") + line.count("！")
    if stops:
        # Earlier lines that also go without a full stop show that the answer's style is such.
        bare = sum(earlier[-1] not in _ENDS and len(earlier) > 12 for earlier in lines[:-1])
        return bare == 0
    return len(lines) > 2 and "，" in line and all(earlier[-1] in "。！？；" for earlier in lines[:-1])
