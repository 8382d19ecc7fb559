"""Novelty by ROUGE-L: ours beside the loop of Stanford Alpaca's ``generate_instruction.py``, at pools of three sizes.

Makes instructions, of which a pool is taken for kept and some candidates are judged. The peer compares
each candidate's tokens with those of every row of the pool by ``rouge_score``, one after the other, and takes the ten
highest and the mean, as Alpaca does; it is sampled, for it takes seconds a candidate. Ours decides all candidates, and
in another call finds ten and the mean of each. What reading the pool takes is taken off on both sides: for ours, the
same call without candidates.

Every score and neighbour of the sampled candidates is compared with rouge_score's, and every decision on a set of that
size gone through from nothing with the highest score among all rows kept before. A difference ends the run.

    pip install -r benchmarks/requirements.txt
    python benchmarks/novelty.py --out benchmarks/results/novelty.json
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import publish, row
from rouge_score import rouge_scorer
from rows import ASKS, lexicon

from belle.data.rouge.deciding import decide
from belle.data.rouge.packed import Rows, pack
from belle.data.rouge.ranking import rank
from belle.data.rouge.tokens import tokens

THRESHOLD, TOP = 0.7, 10


def instructions(count: int) -> list[str]:
    """Instructions of about 23 characters, as BELLE's seeds have: a template about a topic, a sentence, or both."""
    rng = random.Random(7)
    words, weights = lexicon(rng)

    def some(least: int, most: int) -> str:
        return "".join(rng.choices(words, weights, k=rng.randint(least, most)))

    found = []
    for _ in range(count):
        kind = rng.random()
        ask = rng.choice(ASKS).format(topic=some(1, 3), other=some(1, 2), n=rng.randint(2, 10)) if kind < 0.7 else ""
        found.append(ask + (some(4, 12) if kind > 0.5 else ""))
    for _ in range(count // 50):  # some come again, with a word put in
        text = rng.choice(found)
        found[rng.randrange(count)] = text[: len(text) // 2] + some(1, 1) + text[len(text) // 2 :]
    return found


def by_alpaca(pool: list[list[str]], candidate: list[str]) -> tuple[float, list[int], float]:
    """The highest score, the ten nearest rows, and the mean, by ``rouge_score``."""
    scores = [rouge_scorer._score_lcs(candidate, other).fmeasure for other in pool]
    nearest = np.argsort(-np.array(scores), kind="stable")[:TOP]
    return max(scores), nearest.tolist(), float(np.mean(scores))


def part(packed: Rows, end: int) -> Rows:
    """The first rows of some."""
    return Rows(packed.flat[: packed.starts[end]], packed.starts[: end + 1], packed.vocabulary)


def timed(work: Any) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def measure(size: int, candidates: int, sampled: int, repeats: int) -> list[dict[str, Any]]:
    """Both ways at one size of the pool."""
    texts = instructions(size + candidates)
    split = [tokens(text) for text in texts]
    packed = pack(split)
    pool, own = part(packed, size), np.ones(size + candidates, np.bool_)
    own[size:] = False  # candidates against the pool alone, as the peer's are
    taken: dict[str, list[float]] = {"decide": [], "decide_idle": [], "rank": [], "rank_idle": []}
    peer: list[float] = []
    for _ in range(repeats):
        taken["decide_idle"].append(timed(lambda: decide(pool, size, THRESHOLD))[0])
        seconds, (keep, _) = timed(lambda: decide(packed, size, THRESHOLD))
        taken["decide"].append(seconds)
        taken["rank_idle"].append(timed(lambda: rank(pool, size, own[:size], TOP))[0])
        seconds, (scores, whom, mean) = timed(lambda: rank(packed, size, own, TOP))
        taken["rank"].append(seconds)
    deciding, ranking = (
        [(seconds - statistics.median(taken[f"{way}_idle"])) / candidates * 1e6 for seconds in taken[way]]
        for way in ("decide", "rank")
    )
    check_decisions(pool)
    for number in random.Random(1).sample(range(candidates), sampled):
        seconds, (best, nearest, average) = timed(lambda number=number: by_alpaca(split[:size], split[size + number]))
        peer.append(seconds * 1e6)
        found = [other for other, score in zip(whom[number].tolist(), scores[number].tolist(), strict=True) if score]
        if scores[number, 0] != best or found != nearest[: len(found)] or abs(mean[number] - average) > 1e-12:
            raise AssertionError(f"candidate {number}: {scores[number]}, {found}; rouge_score: {best}, {nearest}")
        if best >= THRESHOLD and keep[size + number]:
            raise AssertionError(f"candidate {number} was kept with a score of {best}")
    print(
        f"{size} rows: decide {statistics.median(deciding):.1f} µs, rank {statistics.median(ranking):.1f} µs, "
        f"rouge_score {statistics.median(peer) / 1e6:.2f} s a candidate", file=sys.stderr, flush=True,
    )  # fmt: skip
    more = {
        "pool": size,
        "candidates": candidates,
        "sampled": sampled,
        "mean_tokens": round(len(packed.flat) / len(packed), 1),
    }
    return [
        row(f"novelty_decide_vs_alpaca_{size}", deciding, peer, "µs a candidate", **more),
        row(f"novelty_top_{TOP}_and_mean_vs_alpaca_{size}", ranking, peer, "µs a candidate", **more),
    ]


def check_decisions(rows_: Rows) -> None:
    """A row is kept exactly if none kept before it reaches the threshold, by every pair's score."""
    keep, _ = decide(rows_, 0, THRESHOLD)
    scores, _, _ = rank(rows_, 0, keep, 1)
    if ((scores[:, 0] < THRESHOLD) != keep).any():
        raise AssertionError("a decision is not what all pairs say")


def to_the_end(size: int) -> dict[str, Any]:
    """All of a large set, each row against every one kept before it: on the clock, with tokens made and packed."""
    texts = instructions(size)
    seconds_packing, packed = timed(lambda: pack(map(tokens, texts)))
    seconds, (keep, _) = timed(lambda: decide(packed, 0, THRESHOLD))
    print(f"{size} rows: packed in {seconds_packing:.0f} s, decided in {seconds:.0f} s", file=sys.stderr, flush=True)
    return row(
        f"novelty_{size}_rows", [seconds_packing + seconds], [seconds_packing + seconds], "s", kept=int(keep.sum())
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pools", type=int, nargs="+", default=[2_000, 10_000, 50_000])
    parser.add_argument("--candidates", type=int, default=2_000)
    parser.add_argument("--sampled", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", type=int, default=0, help="rows to go through from nothing, as 1000000")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    measure(200, 20, 1, 1)  # compiles
    found = [line for size in args.pools for line in measure(size, args.candidates, args.sampled, args.repeats)]
    if args.million:
        found.append(to_the_end(args.million))
    publish(found, args.out)


if __name__ == "__main__":
    main()
