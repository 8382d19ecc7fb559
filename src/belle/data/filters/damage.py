"""Filters of damage that a text took on its way: wrong decoding, left-over markup."""

import re

from belle.data.filters.row import OF_CODE, question
from belle.data.filters.suspects import Signs, Suspects
from belle.jsonl import Row

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u202a-\u202e\u2066-\u2069\ud800-\uf8ff]")
_SIGNS_OF_MOJIBAKE = re.compile(
    r"锟斤|烫烫烫|屯屯屯"
    # UTF-8 read as Latin-1 or Windows-1252: a lead byte, then continuation bytes, at least twice in a row.
    r"|(?:[\u00c2-\u00ef][\u00a0-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2026\u2030"
    r"\u2039\u203a\u20ac\u2122]{1,2}){2,}"
    # GBK read as Latin-1: hardly a word has six such letters on end, but for a row of dots (······).
    r"|(?!(.)\1{5})[\u00a1-\u00ff]{6,}"
)
# One accented letter alone, where it is a capital tilde or circumflex A and a sign that no word has behind it.
_SHORT_LATIN = re.compile(r"[A-Za-z][\u00c3\u00c2][\u00a1-\u00bf]")
# What a comma, a full stop and a quotation mark become when UTF-8 is read as GBK; hardly a word has them.
_UTF8_READ_AS_GBK = "锛銆鈥"
# Read so, an ideograph begins with one of these: the first two of its three bytes as one GBK character.
_HEADS = "".join(bytes([lead, trail]).decode("gbk") for lead in range(0xE4, 0xEA) for trail in range(0x80, 0xC0))
_HEAD_OF_PAIR = re.compile(f"[{_HEADS}{_UTF8_READ_AS_GBK}]")
_SIGNS = re.compile("[銆鈥]|锛(?![子是头刃的来和一把可用削、，。？！”])")
_IDEOGRAPH = re.compile(r"[\u4e00-\u9fff]")
# One of these characters is among the first of a field that was decoded wrongly as a whole.
_SUSPECT = re.compile(f"[\\xc2-\\xd6\\xd8-\\xf6{_HEADS}{_UTF8_READ_AS_GBK}]")
_HEAD = 24
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){3}|(?:%[0-9A-F]{2}){9}")
_LOST = re.compile(r"\?{8,}|[\u4e00-\u9fff，、]\?\?|\?\?[\u4e00-\u9fff，、]")
_OF_DECODING = re.compile(r"编码|解码|乱码|Unicode|UTF|GBK", re.IGNORECASE)
_OF_CODING = re.compile(r"编码|转义|URL|Unicode|UTF|乱码|字符", re.IGNORECASE)


def mojibake(row: Row) -> str | None:
    """Drop a row with text that was decoded wrongly, with control characters or with private code points.

    Tabs and line ends stay; so do accents, emoji and rare ideographs, and a question about encodings. Text in the
    wrong encoding is looked for where it begins a field, or has punctuation; lost characters (U+FFFD) anywhere.
    """
    text = f"{row['instruction']} {row['input']} {row['output']}"
    # All control characters and private code points are unprintable; so are a few that stay, such as tabs.
    if not (text.isprintable() or text.replace("\n", " ").isprintable()) and _CONTROL.search(text):
        return "mojibake"
    if "\ufffd" in text:
        return "mojibake"
    if _may_be_damaged(row, text):
        latin = _SIGNS_OF_MOJIBAKE.search(text) or _SHORT_LATIN.search(text)
        if (latin or len(_SIGNS.findall(text)) > 1 or _as_gbk(row)) and not _OF_DECODING.search(text):
            return "mojibake"
    if "?" in text and "??" in text and (len(_LOST.findall(text)) >= 3 or "????????" in text):
        return None if OF_CODE.search(question(row)) else "mojibake"
    # Percent signs of an ideograph begin with %E4 to %E9.
    escaped = ("\\" in text and "\\u" in text) or ("%" in text and "%E" in text)
    if escaped and _ESCAPES.search(text):
        asked = question(row)
        return None if OF_CODE.search(asked) or _OF_CODING.search(asked) or "http" in text else "mojibake"
    return None


def mojibake_suspects() -> Suspects:
    """Rows with any of the signs, with what cannot be printed, or with a suspect at the beginning of a field."""
    anywhere = Signs(
        "\ufffd", "锟", "锛", "銆", "â", "Ã", "烫烫烫", "屯屯屯", "??", "\\u", "%E",
        # U+0000 is in no text here, and of a surrogate there is always the other half, which is a character
        chars=_CONTROL.pattern.replace(r"\x00-", r"\x01-").replace(r"\ud800-\uf8ff", r"\ue000-\uf8ff"),
    )  # fmt: skip
    return Suspects((anywhere, Signs(chars=_SUSPECT, within=2 * _HEAD)))


def _may_be_damaged(row: Row, text: str) -> bool:
    """Whether the costly patterns should look: a sign of damage anywhere, or a suspect at the beginning of a field."""
    if "锟" in text or "锛" in text or "銆" in text or "â" in text or "Ã" in text:
        return True
    if ("烫" in text and "烫烫烫" in text) or ("屯" in text and "屯屯屯" in text):
        return True
    heads = f"{row['output'][:_HEAD]}{row['instruction'][:_HEAD]}{row['input'][:_HEAD]}"
    return _SUSPECT.search(heads) is not None


def _as_gbk(row: Row) -> bool:
    """Whether a text has as many heads of pairs as only UTF-8 read as GBK has: one ideograph in three."""
    for field in ("instruction", "input", "output"):
        heads = len(_HEAD_OF_PAIR.findall(row[field]))
        if heads >= 2 and 4 * heads >= len(_IDEOGRAPH.findall(row[field])):
            return True
    return False


_TAG = re.compile(
    r"</?(?:p|br|div|span|a|img|li|ul|ol|td|tr|th|table|tbody|font|b|i|u|strong|em|h[1-6]|html|body|script|style|sup|sub"
    r"|ref|center)(?:\s[^<>]*)?/?>|&(?:nbsp|lt|gt|amp|quot|ldquo|rdquo|lsquo|rsquo|middot|hellip|mdash|#\d+|#x[0-9a-f]+);|<!--"
    r"|\[/(?:b|i|u|url|img|color|size|quote)\]|<\|(?:endoftext|im_start|im_end|endofpiece)\|>|</s>\s*$",
    re.IGNORECASE,
)
_REPLY_FORMAT = re.compile(
    r"<无输入>|<noinput>|^[ \t]*#{3,}[ \t]*$|^[ \t]*\d+[ \t]*[.．、][ \t]*(?:指令|输入|输出)[ \t]*[:：]"
    r"|^[ \t]*(?:Human|Assistant)[ \t]*[:：]"
    r"|^[ \t]*#{2,3}[ \t]*(?:Instruction|Input|Response|Output|指令|输入|输出)[ \t]*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_TURNS = re.compile(r"^[ \t]*用户[:：].*\n+[ \t]*(?:助手|助理)[:：]", re.MULTILINE)
_OF_TURNS = re.compile(r"对话|聊天|客服|剧本|问答|角色|Human|Assistant|助手", re.IGNORECASE)


def markup_left(row: Row) -> str | None:
    """Drop a row with HTML that its question does not call for, or with pieces of the reply format in it.

    The reply format is Self-Instruct's (``3. 输出:``, ``###`` alone on a line, ``<无输入>``) or a chat's
    (``Human:``, at the start of a line). Markdown stays, and a play whose figures are called so.
    """
    asked, output = question(row), row["output"]
    text = f"{asked}\n{output}"
    if "##" in text or "输" in text or "指令" in text or "uman" in text or "ssistant" in text or "noinput" in text:
        for found in _REPLY_FORMAT.finditer(text):
            speaker = "uman" in found.group() or "ssistant" in found.group()
            if not speaker or not _OF_TURNS.search(asked):
                return "markup_left"
    if "用户" in output and _TURNS.search(output) and not _OF_TURNS.search(asked):
        return "markup_left"
    if ("<" in text or "&" in text or "[/" in text) and (_TAG.search(output) or _TAG.search(row["input"])):
        return None if OF_CODE.search(text) else "markup_left"
    return None
