"""Chinese instruction rows for benchmarks, as many as are wanted: as long, as alike and as faulty as real ones are."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

TOPICS = (
    "人工智能", "环境保护", "时间管理", "健康饮食", "城市交通", "古典文学", "远程办公", "儿童教育", "心理压力",
    "新能源汽车",
    "传统节日", "网络安全", "体育锻炼", "家庭理财", "旅行计划", "职业发展", "量子物理", "机器学习", "农业技术",
    "电影评论",
)  # fmt: skip
ASKS = (
    "请写一篇关于{topic}的短文，不少于{n}字。", "用{n}句话介绍{topic}。", "列举{n}个与{topic}有关的问题。",
    "为什么{topic}对普通人很重要？请举{n}个例子。", "给一位{n}岁的学生解释什么是{topic}。",
    "比较{topic}和{other}的异同。",
    "以{topic}为题写一首诗，要提到{other}。", "根据下面的材料，总结{topic}的{n}个要点。",
    "把下面这句关于{topic}的话改写得更正式。",
)  # fmt: skip
PHRASES = (
    "首先", "其次", "此外", "因此", "总的来说", "值得注意的是", "在日常生活中", "随着社会的发展",
    "对于大多数人而言", "从长远来看",
    "我们应当", "可以考虑", "往往会带来", "有助于提高", "并不意味着", "需要逐步改善", "得到了广泛的应用",
    "受到越来越多的关注",
    "既有优点也有不足", "离不开每个人的努力", "可以分为几个阶段", "是一个复杂的过程", "取决于具体的情况",
    "效果十分明显",
)  # fmt: skip
FAULTS = (
    ("", 0.004), ("对不起，我无法回答这个问题。", 0.006),
    ("作为一个AI语言模型，我没有个人经历，但可以提供一些建议。", 0.01),
    ("Sorry, I cannot help with that because the information that you asked for is not available here.", 0.004),
    ("ä¸­å\u009b½ç\u009a\u0084é¦\u0096é\u0083½", 0.002),
)  # fmt: skip


def lexicon(rng: random.Random) -> tuple[list[str], list[float]]:
    """Words of one to three of 3,500 common ideographs, and their weights: both by Zipf's law, as in any language."""
    # GB 2312's first level holds the common ones: rows 16 to 55 of 94
    ideographs = [bytes([0xB0 + at // 94, 0xA1 + at % 94]).decode("gb2312") for at in range(3_500)]
    rng.shuffle(ideographs)
    by_rank = [1 / (rank + 20) for rank in range(len(ideographs))]
    words = ["".join(rng.choices(ideographs, by_rank, k=rng.choice((1, 2, 2, 2, 3)))) for _ in range(20_000)]
    return words, [1 / (rank + 20) for rank in range(len(words))]


_WORDS, _WEIGHTS = lexicon(random.Random(5))
_TOTALS = list(accumulate(_WEIGHTS))


def sentence(rng: random.Random) -> str:
    """A clause or three of words, some begun by a set phrase."""
    parts = []
    for _ in range(rng.randint(1, 3)):
        opening = rng.choice(PHRASES) if rng.random() < 0.3 else ""
        parts.append(opening + "".join(rng.choices(_WORDS, cum_weights=_TOTALS, k=rng.randint(2, 8))))
    return "，".join(parts) + "。"


def rows(count: int, seed: int = 0, repeats: float = 0.03) -> Iterator[dict[str, Any]]:
    """Rows of about 200 characters; a share ``repeats`` of them has come before, word for word or nearly."""
    rng = random.Random(seed)
    kept: list[dict[str, Any]] = []
    for number in range(count):
        if kept and rng.random() < repeats:
            row = dict(rng.choice(kept))
            if rng.random() < 0.5:
                row["output"] = row["output"].replace("，", ",").replace("。", "。 ")
            else:
                row["output"] += sentence(rng)
        else:
            ask = rng.choice(ASKS).format(topic=rng.choice(TOPICS), other=rng.choice(TOPICS), n=rng.randint(3, 200))
            if rng.random() < 0.5:
                ask += sentence(rng)
            given = sentence(rng) if "下面" in ask else ""
            row = {
                "instruction": ask,
                "input": given,
                "output": "".join(sentence(rng) for _ in range(rng.randint(1, 9))),
            }
            draw = rng.random()
            for text, share in FAULTS:
                if draw < share:
                    row["output"] = text
                    break
                draw -= share
            if len(kept) < 20_000:
                kept.append(dict(row))
        request = f"{rng.getrandbits(256):064x}"
        yield {"id": f"r-{seed:02d}{number:08d}-1", "request": request, "sample": number, **row}


def write(path: Path, some: Iterator[dict[str, Any]]) -> None:
    """Write rows as JSON Lines."""
    with open(path, "w", encoding="utf-8") as file:
        for row in some:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
