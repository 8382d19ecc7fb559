"""Write the tiny world's raw web documents: pages of its corpus's sentences, and the faults that cleaning looks for."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from belle import jsonl
from belle.api.teacher.lexicon import THINGS
from belle.data.corpus import GRAMMARS
from belle.data.text.heuristics import STOP_CHARACTERS
from belle.errors import InputError

FURNITURE: dict[str, tuple[str, ...]] = {
    "line_navigation": (
        "首页 > 科普 > 生活 > 正文",
        "首页 | 新闻 | 图片 | 视频 | 论坛",
        "上一篇：怎样做面条",
        "返回列表",
        "当前位置：首页",
    ),
    "line_notice": (
        "京ICP备00000000号-1",
        "版权所有 © 2023 天天学",
        "本网站使用Cookie以改善您的体验，点击接受继续。",
        "责任编辑：小红",
        "未经本站授权，不得转载。",
    ),
    "line_links": ("https://www.example.com/a/1.html", "更多：https://example.com/1 https://example.com/2"),
    "line_symbols": ("★★★★★☆☆", "—— —— —— ～～ ♪"),
    "line_short": ("科普", "大图"),
}
"""Reason → lines of a page that are dropped for it."""

SLOGAN = "天天学一点，日日有进步，欢迎常来坐坐。"
"""A sentence like any other, but at the foot of very many pages."""

_FOREIGN = (
    ("The cat sleeps on the mat.", "We walked to the market in the morning.", "It was a quiet day by the lake."),
    ("これはとてもおもしろい本です。", "きのうは友だちと公園へ行きました。", "ねこがまどのそばでねています。"),
    ("오늘은 날씨가 아주 좋습니다.", "우리는 공원에서 점심을 먹었습니다.", "고양이가 창가에서 자고 있어요."),
)
_LURES = (
    "快来买{thing}吧！",
    "大家都来买{thing}！",
    "买{thing}就来这里！",
    "买一个{thing}，送一个{thing}！",
    "好{thing}，快来！",
)
_LISTED = tuple(thing for thing in THINGS if not set(thing) & set(STOP_CHARACTERS))
_FURNITURE_SHARE = 0.25
_MORE_THAT_SELL = 6  # for each page of another fault; a classifier learns from what is frequent

_Pages = list[list[str]]


def _sentences(rng: Random) -> list[str]:
    """Different sentences of a page."""
    wanted = rng.randint(6, 10)
    found: dict[str, None] = {}
    while len(found) < wanted:
        found[rng.choice(GRAMMARS)(rng)] = None
    return list(found)


def _again(rng: Random, good: _Pages) -> list[str]:
    return [line.replace("，", ", ").replace("1", "１") + " " for line in rng.choice(good)]


def _in_another_frame(rng: Random, good: _Pages) -> list[str]:
    return ["首页 > 科普 > 转载 > 正文", *rng.choice(good), f"点击数：{rng.randint(1, 10**6)}"]


def _foreign(rng: Random, good: _Pages) -> list[str]:
    sentences = rng.choice(_FOREIGN)
    return [f"{rng.choice(sentences)} {rng.randint(1, 10**6)}" for _ in range(8)]


def _one_sentence(rng: Random, good: _Pages) -> list[str]:
    return [f"{min((rng.choice(GRAMMARS)(rng) for _ in range(3)), key=len)[:25]}共{rng.randint(1, 10**6)}次。"]


def _measurements(rng: Random, good: _Pages) -> list[str]:
    return [f"第{n}次：{' '.join(str(rng.random()) for _ in range(4))}。" for n in range(1, 8)]


def _strewn(rng: Random, good: _Pages) -> list[str]:
    return ["".join(char + rng.choice(("★", "", "☆", "")) for char in line) for line in _sentences(rng)]


def _over_and_over(rng: Random, good: _Pages) -> list[str]:
    said = [line for line in _sentences(rng) if not re.search("[a-z]", line)]
    return ["".join(said[:2]) * rng.randint(6, 9)]


def _keywords(rng: Random, good: _Pages) -> list[str]:
    return ["，".join(rng.sample(_LISTED, 8)) + "。" for _ in range(6)]


def _headlines(rng: Random, good: _Pages) -> list[str]:
    return [line.rstrip("。！？").replace("。", "，") + "的消息" for line in _sentences(rng)]


def _shuffled(rng: Random, good: _Pages) -> list[str]:
    return ["".join(rng.sample(line[:-1], len(line) - 1)) + "的了。" for line in _sentences(rng)]


def _selling(rng: Random, good: _Pages) -> list[str]:
    return [sentence + rng.choice(_LURES).format(thing=rng.choice(THINGS)) for sentence in _sentences(rng)]


FAULTS: dict[str, Callable[[Random, _Pages], list[str]]] = {
    "duplicate_url": lambda rng, good: _sentences(rng),
    "duplicate_document": _again,
    "language": _foreign,
    "too_short": _one_sentence,
    "few_ideographs": _measurements,
    "many_symbols": _strewn,
    "repetition": _over_and_over,
    "few_stop_characters": _keywords,
    "few_sentence_ends": _headlines,
    "duplicate_text": _in_another_frame,
    "perplexity": _shuffled,
    "quality": _selling,
}
"""What a page can be dropped for → the lines of one that is."""


def webtext(*, out: Path, documents: int, fault_share: float, seed: int) -> None:
    """Write raw documents of the tiny world: ``id, url, text, planted`` as JSON Lines.

    ``planted`` says what was done to a page: ``document``, the fault that it is to be dropped for (empty: none), and
    ``lines``, how many of its lines are to be dropped for which reason. Faults of documents come equally often, only
    ``quality`` more so; the lines stand in pages without.

    Args:
        out: The JSON Lines file to write.
        documents: How many pages, at least 1. The first has no fault.
        fault_share: The share of pages that have a fault as a whole, 0 to 1.
        seed: Seed of the draw.

    Raises:
        InputError: a setting out of range.
    """
    if documents < 1 or not 0 <= fault_share <= 1:
        raise InputError(f"{documents} documents, {fault_share} of them with a fault", where="webtext")
    rng = Random(seed)
    names = [*FAULTS, *["quality"] * _MORE_THAT_SELL]
    faults = [names[number % len(names)] for number in range(int((documents - 1) * fault_share))]
    faults += [""] * (documents - 1 - len(faults))
    rng.shuffle(faults)
    good: _Pages = []
    rows: list[jsonl.Row] = []
    for number, fault in enumerate(["", *faults]):
        url = f"https://example.com/{number}"
        planted: dict[str, int] = {}
        if fault:
            lines = FAULTS[fault](rng, good)
            if fault == "duplicate_url":
                url = rows[rng.randrange(number)]["url"].partition("#")[0] + "#top"
        else:
            lines = _sentences(rng)
            for reason, choices in FURNITURE.items():
                if rng.random() < _FURNITURE_SHARE:
                    lines.insert(rng.randint(0, len(lines)), rng.choice(choices))
                    planted[reason] = 1
            if rng.random() < _FURNITURE_SHARE:
                lines.append(SLOGAN)
                planted["line_in_many_documents"] = 1
            good.append(lines)
        planted_here = {"document": fault, "lines": planted}
        rows.append({"id": f"w-{number:06}", "url": url, "text": "\n".join(lines), "planted": planted_here})
    jsonl.write(out, rows)
