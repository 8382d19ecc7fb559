"""Filters for training rows: each looks at one row and returns its name as the reason to drop it, or None.

They are written for Chinese instruction data as ChatGPT and its kin write it. Each errs on the side of
keeping a row: what it looks for must be a fault of the row, not its subject ("写一封道歉信" may say sorry).
"""

import re
from collections.abc import Callable

from belle.jsonl import Row

Filter = Callable[[Row], str | None]

_IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_ASCII_WORD = re.compile(r"[A-Za-z]+")
_FOREIGN_LETTER = re.compile(r"[^\W\d_A-Za-z\u3400-\u9fff\uf900-\ufaff]")

_A = r"(?:一|一个|一名|一款|一位|一种)?\s*"
_AI = r"(?:AI|人工智能)"
_ASSISTANT = r"(?:语言|对话|聊天)?(?:模型|助手|助理|程序|系统|机器人)"
_CLAIM = re.compile(
    rf"(?:作为|身为){_A}(?:{_AI}(?:\s*[，,]|\s*我|的?\s*{_ASSISTANT})|[^，。\n]{{0,8}}语言模型)"
    rf"|我(?:只|仅|仅仅|就)?是{_A}(?:{_AI}\s*(?:[，,。]|{_ASSISTANT})|[^，。\n]{{0,8}}语言模型)"
    r"|(?:GPT|OpenAI)\s*(?:语言)?(?:模型|训练|开发)|由\s*OpenAI"
    r"|\bas an? (?:large |AI )*language model\b|\bas an AI\b|\bI(?:'m| am) an? (?:AI|language model)\b",
    re.IGNORECASE,
)
_CLAIM_NEEDS = ("ai", "人工智能", "模型", "gpt", "language")  # one of them is in all that the pattern matches
_ASKS_GPT = re.compile(r"GPT\s*模型|ChatGPT|GPT-?[34]", re.IGNORECASE)

_CANNOT = r"(?:无法|不能|没有办法|没法|不便|不可以)"
_SERVE = r"(?:回答|提供|完成|处理|理解|执行|满足|确定|判断|生成|访问|查看|识别|给出|浏览|协助|为您|为你)"
_SORRY = r"(?:非常|十分|很|真的)?(?:抱歉|对不起|不好意思|遗憾)"
_REFUSAL = re.compile(
    # "We" and "our shop" speak for somebody in the text; "I", or nobody, is the teacher.
    rf"^\s*(?:{_SORRY}(?:(?!我们|本店|本公司)[^。！!\n]){{0,24}}?{_CANNOT}[^。！!\n]{{0,6}}?{_SERVE}"
    rf"|我{_CANNOT}{_SERVE}"
    r"|(?:I'?m sorry|Sorry)[,.]? (?:but )?I (?:can(?:no|')t|am unable))",
    re.IGNORECASE,
)
_ASKS_BACK = re.compile(
    r"^\s*(?:请(?:您|你)?(?:先|再)?(?:提供|输入|给出|补充|上传|发送|告诉我)"
    r"|(?:您|你)?(?:没有|还没有|未|并未)(?:提供|给出|输入|说明)"
    r"|(?:由于|因为)?(?:没有|未|缺少|缺乏)(?:提供|给出|具体|足够)?的?(?:输入|上下文|原文|文本内容)"
    rf"|{_SORRY}[，,]?\s*(?:您|你)?(?:没有|未)(?:提供|给出|输入))"
)
_SHORT_ANSWER = 60

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u202a-\u202e\u2066-\u2069\ud800-\uf8ff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SIGNS_OF_MOJIBAKE = re.compile(
    r"\ufffd|锟斤拷|锟斤|烫烫烫|屯屯屯"
    # UTF-8 read as Latin-1 or Windows-1252: a lead byte, then continuation bytes, at least twice in a row.
    r"|(?:[\u00c2-\u00ef][\u00a0-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2026\u2030"
    r"\u2039\u203a\u20ac\u2122]{1,2}){2,}"
)
# What a comma, a full stop and a quotation mark become when UTF-8 is read as GBK; hardly a word has them.
_UTF8_READ_AS_GBK = re.compile("[锛銆鈥]")

_RUN_OF_ONE = re.compile(r"([^\s\d\W_])\1{9,}")
_RUN_OF_FEW = re.compile(r"([^\n]{2,30}?)\1{5,}")
_GRAM = 8
_LONG_ENOUGH = 48

_TAG = re.compile(
    r"</?(?:p|br|div|span|a|img|li|ul|ol|td|tr|th|table|tbody|font|b|i|u|strong|em|h[1-6]|html|body|script|style)"
    r"(?:\s[^<>]*)?/?>|&(?:nbsp|lt|gt|amp|quot|#\d+);",
    re.IGNORECASE,
)
_REPLY_FORMAT = re.compile(
    r"<无输入>|<noinput>|^\s*#{3,}\s*$|^\s*\d+\s*[.．、]\s*(?:指令|输入|输出)\s*[:：]|^\s*(?:Human|Assistant)\s*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_OF_CODE = re.compile(
    r"代码|编程|程序|函数|脚本|算法|网页|标签|前端|正则|变量|数组|类型|接口|数据库|查询|命令|语句|C语言"
    r"|HTML|XML|CSS|SQL|JSON|YAML|Markdown|Python|Java|PHP|Ruby|Rust|Golang|Linux|Shell|Bash|C\+\+|C#|LaTeX|Code",
    re.IGNORECASE,
)
_OF_OTHER_LANGUAGE = re.compile(
    r"译|英|中文|汉语|Chinese|translat|[法德日韩俄西]语|[法德日]文|外语|外文|西班牙|拼音|字母|单词|缩写|罗马|English|网址|邮箱|公式|方程|化学式|序列",
    re.IGNORECASE,
)
_MANY_WORDS = 8
_ENGLISH_RUN = re.compile(r"(?:[A-Za-z][A-Za-z'’-]*[,;:.!?]? ){7,}[A-Za-z]+")


def _question(row: Row) -> str:
    return f"{row['instruction']}\n{row['input']}"


def instruction_empty(row: Row) -> str | None:
    """Drop a row that asks nothing."""
    return None if row["instruction"].strip() else "instruction_empty"


def output_empty(row: Row) -> str | None:
    """Drop a row without an answer."""
    return None if row["output"].strip() else "output_empty"


def output_equals_input(row: Row) -> str | None:
    """Drop an answer that only repeats what was given.

    An answer that equals the input stays where the task is to mend it: some inputs have no fault.
    """
    output = row["output"].strip()
    if not output:
        return None
    if output == row["instruction"].strip():
        return "output_equals_input"
    mends = re.search(r"改|纠|修正|润色|检查|校对|错", row["instruction"])
    return "output_equals_input" if output == row["input"].strip() and not mends else None


def gpt_self_reference(row: Row) -> str | None:
    """Drop an answer in which the teacher speaks of itself (作为AI语言模型…), or a question that names GPT.

    A text about artificial intelligence stays.
    """
    output, question = row["output"].lower(), _question(row).lower()
    claims = any(word in output for word in _CLAIM_NEEDS) and _CLAIM.search(output)
    asks = "gpt" in question and _ASKS_GPT.search(question)
    return "gpt_self_reference" if claims or asks else None


def refusal(row: Row) -> str | None:
    """Drop an answer that begins by declining the task; an apology that is the task stays."""
    return "refusal" if _REFUSAL.search(row["output"]) else None


def asks_back(row: Row) -> str | None:
    """Drop a short answer that asks for the input (请提供需要翻译的句子); a row with an input stays."""
    output = row["output"].strip()
    if len(output) <= _SHORT_ANSWER and not row["input"].strip() and _ASKS_BACK.search(output):
        return "asks_back"
    return None


def not_chinese(row: Row) -> str | None:
    """Drop a question that is mostly in another language, or an answer that is and should not be.

    A question is Chinese with at least one ideograph for three English words, and no more letters of other
    scripts than ideographs, or if it is about a language (translations). An answer without an ideograph stays
    unless it has a run of 8 English words, half of them in lower case, or 8 letters of another script, and the
    question speaks neither of code nor of a language. Text without letters (3+5=?) stays.
    """
    instruction, question, output = row["instruction"], _question(row), row["output"]
    if not _OF_OTHER_LANGUAGE.search(instruction):
        ideographs = len(_IDEOGRAPH.findall(instruction))
        letters = len(_FOREIGN_LETTER.findall(instruction))
        if letters > ideographs or 3 * ideographs < len(_ASCII_WORD.findall(instruction)):
            return "not_chinese"
    if _IDEOGRAPH.search(output) or _OF_CODE.search(question) or _OF_OTHER_LANGUAGE.search(question):
        return None
    if len(_FOREIGN_LETTER.findall(output)) >= _MANY_WORDS:
        return "not_chinese"
    for run in _ENGLISH_RUN.findall(output):
        words = run.split()
        if 2 * sum(word[0].islower() for word in words) >= len(words):
            return "not_chinese"
    return None


def mojibake(row: Row) -> str | None:
    """Drop a row with text that was decoded wrongly, with control characters or with private code points.

    Tabs and line ends stay; so do accents, emoji and rare ideographs.
    """
    text = f"{_question(row)}\n{row['output']}"
    damaged = _CONTROL.search(text) or _SIGNS_OF_MOJIBAKE.search(text) or len(_UTF8_READ_AS_GBK.findall(text)) > 1
    return "mojibake" if damaged else None


def repetition(row: Row) -> str | None:
    """Drop an answer stuck in a loop.

    That is: one letter 10 times on end, a string 6 times on end over at least 24 characters, or, from 48
    characters on, fewer than 4 distinct runs of 8 characters in 10. Rules (-----) stay, and so does what
    the question asks to repeat.
    """
    output = row["output"].strip()
    if re.search(r"重复|循环|打印|输出\s*\d+\s*[次遍]", row["instruction"]):
        return None
    # Whatever repeats as often as that has equal runs of 8; without any, the costly patterns need not look.
    if len({output[start : start + _GRAM] for start in range(len(output) - _GRAM + 1)}) > len(output) - _GRAM:
        return None
    if _RUN_OF_ONE.search(output):
        return "repetition"
    for run in _RUN_OF_FEW.finditer(output):
        if len(run.group()) >= 24 and re.search(r"\w\w", run.group(1)):
            return "repetition"
    letters = re.sub(r"[\W_]+", "", output)
    grams = len(letters) - _GRAM + 1
    if len(letters) >= _LONG_ENOUGH:
        distinct = len({letters[start : start + _GRAM] for start in range(grams)})
        if distinct < 0.4 * grams:
            return "repetition"
    return None


def markup_left(row: Row) -> str | None:
    """Drop a row with HTML that its question does not call for, or with pieces of the reply format in it.

    The reply format is Self-Instruct's (``3. 输出:``, ``###`` alone on a line, ``<无输入>``) or a chat's
    (``Human:``, at the start of a line). Markdown stays.
    """
    question, output = _question(row), row["output"]
    if _REPLY_FORMAT.search(question) or _REPLY_FORMAT.search(output):
        return "markup_left"
    return "markup_left" if _TAG.search(output) and not _OF_CODE.search(f"{question}\n{output}") else None


def not_utf8(row: Row) -> str | None:
    """Drop a row with half of a surrogate pair (as by ``\\ud83d`` alone): no UTF-8 file can hold it."""
    return "not_utf8" if any(_SURROGATE.search(value) for value in row.values() if isinstance(value, str)) else None


def output_too_short(min_chars: int) -> Filter:
    """Make the filter that drops answers of fewer than ``min_chars`` characters, outer white space aside."""
    return lambda row: "output_too_short" if len(row["output"].strip()) < min_chars else None


def output_too_long(max_chars: int) -> Filter:
    """Make the filter that drops answers of more than ``max_chars`` characters, outer white space aside."""
    return lambda row: "output_too_long" if len(row["output"].strip()) > max_chars else None


FILTERS: dict[str, Filter] = {
    "instruction_empty": instruction_empty,
    "output_empty": output_empty,
    "output_equals_input": output_equals_input,
    "gpt_self_reference": gpt_self_reference,
    "refusal": refusal,
    "asks_back": asks_back,
    "not_chinese": not_chinese,
    "mojibake": mojibake,
    "repetition": repetition,
    "markup_left": markup_left,
}
"""The filters that a recipe can name; those of lengths, UTF-8 and duplicates always apply."""
