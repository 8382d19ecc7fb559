"""Near-duplicates: ``belle.data.minhash`` beside datasketch and rensa, in one run on one machine.

The rows are made here: an instruction from a template and a body of words, both of ideographs by a law of frequency;
a tenth are an earlier row with a few edits (a character set, put in or taken out; other punctuation, width or space),
and of these the exact Jaccard similarity of the shingles is known. All keep first: a row goes when one kept before is
similar. The same shingles (characters, five at a time, of the folded text), permutations and threshold for all.

- datasketch: ``MinHash`` and ``MinHashLSH`` in the loop of its documentation, an ``update`` for each shingle; again
  with ``update_batch``. Its ``query`` does not look at the estimate.
- rensa: ``RMinHash`` for each row and ``RMinHashDeduplicator``, which does look at the estimate as we do; again with
  ``RMinHashLSH``, which does not.

The peers take the first rows only and are given folded texts at no cost; we begin with the text as it stands. Speed is
rows a second on the clock (we use all cores, the peers one), and in rows ``_cpu`` rows a second of processor time; a
ratio is ours over the peer's, of medians taken in turns. Recall is over the planted rows, among those that the peer
had, whose exact similarity reaches the threshold; ``others`` is the share of all other rows that went. Memory is
measured in a process of its own that makes the rows block by block: its peak over what it had before the first.

    pip install -r benchmarks/requirements.txt
    python benchmarks/near_duplicates.py --out benchmarks/results/near_duplicates.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import device

from belle.data.minhash.folding import folded
from belle.data.minhash.keeping import NearDuplicates
from belle.data.minhash.similarity import Similarity

PERMUTATIONS, SHINGLE, THRESHOLD = 128, 5, 0.8
SIMILARITY = Similarity(THRESHOLD, PERMUTATIONS, SHINGLE)
RENSA_BANDS = 16
"""As near to our number as it takes: a divisor of the permutations."""
BLOCK = 10_000

OPENINGS = (
    "请写一篇关于{}的短文，要求语言流畅。", "列出三个与{}有关的例子，并说明理由。", "把下面关于{}的句子翻译成英文：",
    "如何向一个孩子解释{}？", "根据以下材料，概括{}的要点。", "比较{}与{}的异同。", "为{}写一段广告词", "什么是{}？",
    "给出{}的定义，然后举例。", "我想学习{}，应该从哪里开始？", "请续写下面的故事，主角是{}：", "{}有哪些优点和缺点？",
)  # fmt: skip
"""Of instructions; ``{}`` is a topic of one to three words."""


@dataclass
class Rows:
    """Rows made by ``made``.

    Attributes:
        texts: As they stand.
        origin: For each row that is planted, the row that it was made of; -1 for the others.
    """

    texts: list[str]
    origin: list[int]


def made(count: int, seed: int = 1) -> Iterator[Rows]:
    """Rows in blocks; an origin is a position over all of them and lies in the same block."""
    chance = np.random.default_rng(seed)
    letters = np.array([chr(0x4E00 + at) for at in chance.permutation(6000)[:3500]])
    frequency = 1 / (np.arange(3500) + 10.0)
    frequency /= frequency.sum()
    lexicon = ["".join(chance.choice(letters, size, p=frequency)) for size in chance.choice([1, 2, 2, 2, 3, 4], 30_000)]
    words = 1 / (np.arange(30_000) + 5.0)
    reach = np.cumsum(words / words.sum())
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        texts: list[str] = []
        origin = [-1] * size
        picked = iter(lexicon[at] for at in np.minimum(np.searchsorted(reach, chance.random(size * 160)), 29_999))
        lengths = np.clip(chance.lognormal(3.9, 0.6, size), 8, 150).astype(int)
        planted = chance.random(size) < 0.1
        sources: list[int] = []
        for row in range(size):
            if planted[row] and sources:
                origin[row] = first + sources[chance.integers(len(sources))]
                texts.append(edited(texts[origin[row] - first], chance))
                continue
            sources.append(row)
            opening = OPENINGS[chance.integers(len(OPENINGS))]
            topics = ["".join(next(picked) for _ in range(chance.integers(1, 4))) for _ in range(opening.count("{}"))]
            body = [next(picked) for _ in range(lengths[row])]
            for at in range(int(chance.integers(4, 9)), len(body), 7):
                body[at] += "。" if at % 3 == 0 else "，"
            texts.append(opening.format(*topics) + "\n" + "".join(body) + "。")
        yield Rows(texts, origin)


def edited(text: str, chance: np.random.Generator) -> str:
    """A text with one to eight edits, or only looks changed."""
    letters = list(text)
    for _ in range(chance.integers(0, 9)):
        at = int(chance.integers(len(letters)))
        new = chr(0x4E00 + int(chance.integers(3000)))
        letters[at : at + int(chance.integers(0, 2))] = [new] * int(chance.integers(0, 2))
    changed = "".join(letters)
    look = chance.integers(4)
    return (changed, changed.replace("，", ", "), changed.replace("。", "．"), f" {changed}\n")[look]


def shingles(text: str) -> list[str]:
    """The n-grams of a folded text."""
    return [text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1))]


def ours(texts: Sequence[str]) -> list[bool]:
    """Which rows are kept."""
    return (NearDuplicates(SIMILARITY).keep(texts) < 0).tolist()


def datasketch(texts: Sequence[str], batch: bool) -> list[bool]:
    """Which rows are kept, of folded texts."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    kept = []
    for row, text in enumerate(texts):
        sketch = MinHash(num_perm=PERMUTATIONS)
        if batch:
            sketch.update_batch([shingle.encode() for shingle in shingles(text)])
        else:
            for shingle in shingles(text):
                sketch.update(shingle.encode())
        kept.append(not index.query(sketch))
        if kept[-1]:
            index.insert(row, sketch)
    return kept


def rensa(texts: Sequence[str], verified: bool) -> list[bool]:
    """Which rows are kept, of folded texts."""
    from rensa import RMinHash, RMinHashDeduplicator, RMinHashLSH

    near = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=PERMUTATIONS, use_lsh=True, num_bands=RENSA_BANDS)
    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=RENSA_BANDS)
    kept = []
    for row, text in enumerate(texts):
        sketch = RMinHash(num_perm=PERMUTATIONS, seed=42)
        sketch.update(shingles(text))
        if verified:
            kept.append(near.add(str(row), sketch))
            continue
        kept.append(not index.query(sketch))
        if kept[-1]:
            index.insert(row, sketch)
    return kept


def exact(texts: Sequence[str], origin: Sequence[int]) -> list[float]:
    """The Jaccard similarity of each planted row and its origin; 0 for the others."""
    found = []
    for text, source in zip(texts, origin, strict=True):
        one, other = (set(shingles(text)), set(shingles(texts[source]))) if source >= 0 else (set(), {""})
        found.append(len(one & other) / len(one | other))
    return found


def judged(kept: Sequence[bool], similarity: Sequence[float]) -> dict[str, float | int]:
    """Recall over the planted rows that reach the threshold, and the share of other rows that went."""
    due = [not keep for keep, value in zip(kept, similarity, strict=True) if value >= THRESHOLD]
    other = [not keep for keep, value in zip(kept, similarity, strict=True) if value < THRESHOLD]
    return {"recall": round(statistics.mean(due), 4), "planted": len(due), "others": round(statistics.mean(other), 5)}


def timed(work: Callable[[Sequence[str]], list[bool]], texts: Sequence[str]) -> tuple[tuple[float, float], list[bool]]:
    """Rows a second on the clock and of processor time, and which rows were kept."""
    wall, cpu = time.perf_counter(), time.process_time()
    kept = work(texts)
    return (len(texts) / (time.perf_counter() - wall), len(texts) / (time.process_time() - cpu)), kept


def memory(rows: int) -> float:
    """Bytes a row: this process's peak over what it had when it began."""
    near = NearDuplicates(SIMILARITY)
    near.keep(next(made(BLOCK, seed=2)).texts)
    near = NearDuplicates(SIMILARITY)
    before = psutil.Process().memory_info().rss
    for block in made(rows):
        near.keep(block.texts)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / rows


def main() -> None:
    """Make the rows, measure in turns, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="for ours (default: %(default)s)")
    parser.add_argument("--rensa", type=int, default=100_000, help="rows for rensa (default: %(default)s)")
    parser.add_argument("--datasketch", type=int, default=5_000, help="rows for datasketch (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--memory", action="store_true", help="print only the bytes a row")
    args = parser.parse_args()
    if args.memory:
        print(memory(args.rows))
        return
    words = [sys.executable, __file__, "--memory", "--rows", str(args.rows)]
    each = float(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)
    texts: list[str] = []
    origin: list[int] = []
    for block in made(args.rows):
        texts += block.texts
        origin += block.origin
    plain = [folded(text) for text in texts[: max(args.rensa, args.datasketch)]]
    ours(texts[:1000])  # compiles
    peers: dict[str, tuple[int, Callable[[Sequence[str]], list[bool]]]] = {
        "datasketch": (args.datasketch, lambda some: datasketch(some, batch=False)),
        "datasketch_update_batch": (args.datasketch, lambda some: datasketch(some, batch=True)),
        "rensa": (args.rensa, lambda some: rensa(some, verified=True)),
        "rensa_unverified": (args.rensa, lambda some: rensa(some, verified=False)),
    }
    own: list[tuple[float, float]] = []
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    verdicts: dict[str, list[bool]] = {}
    common = {"device": device(), "load": round(os.getloadavg()[0], 2), "date": datetime.now(UTC).date().isoformat()}
    for _ in range(args.repeats):
        speed, kept = timed(ours, texts)
        own.append(speed)
        for name, (count, work) in peers.items():
            speed, verdicts[name] = timed(work, plain[:count])
            taken[name].append(speed)
    found: list[dict[str, Any]] = []
    for name, speeds in taken.items():
        count = min(peers[name][0], len(texts))
        similarity = exact(plain[:count], origin[:count])
        quality = {"ours": judged(kept[:count], similarity), "peer": judged(verdicts[name], similarity)}
        for kind, suffix in enumerate(("", "_cpu")):
            mine, theirs = ([speed[kind] for speed in side] for side in (own, speeds))
            found.append(
                {
                    "name": f"near_duplicates_vs_{name}{suffix}",
                    "ours": round(statistics.median(mine)),
                    "peer": round(statistics.median(theirs)),
                    "unit": "rows/s CPU" if kind else "rows/s",
                    "ratio": round(statistics.median(mine) / statistics.median(theirs), 2),
                    "n": args.repeats,
                    "spread": {
                        "ours": [round(min(mine)), round(max(mine))],
                        "peer": [round(min(theirs)), round(max(theirs))],
                    },
                    "rows": {"ours": len(texts), "peer": count},
                    "found": quality,
                    **common,
                }
            )
    for row in found:
        print(f"{row['name']:46} {row['ours']:8} / {row['peer']:8} {row['unit']:10} = {row['ratio']:.1f}", row["found"])
    found.append(
        {"name": "near_duplicates_memory", "ours": round(each), "unit": "B/row", "rows": args.rows, "n": 1, **common}
    )
    print(
        f"{each:.0f} bytes a row; {sum(kept)} of {len(texts)} kept; {np.mean([*map(len, texts)]):.0f} characters a row"
    )
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
