"""Duplicates in meaning: how well a base model tells them, how many the search finds, and how long it takes.

1. *A base model's judgement*: of hand-written pairs (tests/data/labelled/pairs.jsonl) half are paraphrases, which must
   go, half two questions of one template, which must stay. Each row gets its vector as the stage ``weigh`` gives it;
   for several thresholds, recall over the paraphrases and precision among the pairs that would go. AUC is the chance
   that a paraphrase is more similar than a pair of one template.
2. *The search*: planted vectors at and above the threshold among random ones; recall against comparing all with all.
3. *Its time*: all rows decided from nothing, and the pairs of 1% of the rows; beside comparing all with all by a
   matrix product, on as many rows as that can take (it grows with the square).

    python benchmarks/semantic.py --base models/tiny-base --rows 1000000 --out benchmarks/results/semantic.json
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from common import device, publish

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT / "tests" / "data" / "labelled" / "pairs.jsonl"
SEEDS = ROOT / "data" / "seeds" / "seed_tasks.jsonl"
THRESHOLDS = (0.7, 0.8, 0.9, 0.95, 0.98)


def judged(base: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """How a base model's vectors judge the pairs."""
    from belle.stages import numeric_environment

    numeric_environment(1)
    from belle import jsonl
    from belle.data.weigh import weigh
    from belle.data.weighing import folder

    pairs = list(jsonl.read(PAIRS, "labelled pairs"))
    rows = [{"id": f"{pair['id']}-{side}", **row} for pair in pairs for side, row in enumerate(pair["rows"])]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        jsonl.write(place / "rows.jsonl", rows)
        weigh(
            raw=place / "rows.jsonl", base=base, reference=SEEDS, out=place / "out", report=place / "report.json",
            **settings,
        )  # fmt: skip
        vectors = np.array(folder.load(place / "out").vectors, np.int64)
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    cosines = (vectors[::2] * vectors[1::2]).sum(axis=1) / (lengths[::2] * lengths[1::2])
    same = np.array([pair["kind"] == "paraphrase" for pair in pairs])
    found: dict[str, Any] = {
        "pairs": [int(same.sum()), int((~same).sum())],
        "auc": round(float(np.mean(cosines[same][:, None] > cosines[~same][None])), 3),
        "median_cosine": {"paraphrase": round(float(np.median(cosines[same])), 3),
                          "template": round(float(np.median(cosines[~same])), 3)},
    }  # fmt: skip
    for threshold in THRESHOLDS:
        gone = cosines >= threshold
        right = int((gone & same).sum())
        found[f"at {threshold}"] = {
            "recall": round(right / int(same.sum()), 3),
            "precision": round(right / int(gone.sum()), 3) if gone.any() else None,
        }
    return found


def planted(rng: np.random.Generator, rows: int, of_each: int, cosine: float, size: int) -> tuple[Any, Any]:
    """Groups of vectors that have the given cosine with the first of their group; and each one's group."""
    groups = rows // of_each
    centres = rng.standard_normal((groups, size), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    parts = [centres]
    for _ in range(of_each - 1):
        aside = rng.standard_normal((groups, size), np.float32)
        aside -= (aside * centres).sum(axis=1, keepdims=True) * centres
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        parts.append(cosine * centres + math.sqrt(1 - cosine**2) * aside)
    whole = np.concatenate(parts)
    vectors = np.rint(whole * (127 / np.abs(whole).max(axis=1, keepdims=True))).astype(np.int8)
    names = np.tile(np.arange(groups), of_each)
    order = rng.permutation(len(vectors))
    return vectors[order], names[order]


def recall(threshold: float, cosine: float, size: int) -> dict[str, Any]:
    """Of planted rows that are similar by exact arithmetic, the share that the search drops; and of others."""
    from belle.data.semantic.keeping import keep_first
    from belle.data.semantic.similarity import Semantic

    vectors, names = planted(np.random.default_rng(1), 20_000, 2, cosine, size)
    first: dict[int, int] = {}
    later = []
    for at, name in enumerate(names.tolist()):
        if first.setdefault(name, at) != at:
            later.append((at, first[name]))
    whole = vectors.astype(np.int64)
    one, other = np.array(later).T
    exact = (whole[one] * whole[other]).sum(axis=1) / np.sqrt(
        (whole[one] ** 2).sum(axis=1) * (whole[other] ** 2).sum(axis=1)
    )
    rivals = keep_first(vectors, Semantic(threshold))
    wanted = exact >= threshold
    hit = rivals[one] == other
    others = np.setdiff1d(np.arange(len(vectors)), one)
    return {
        "threshold": threshold, "planted_at": cosine, "wanted": int(wanted.sum()),
        "recall": round(float(hit[wanted].mean()), 4), "others_dropped": int((rivals[others] >= 0).sum()),
    }  # fmt: skip


def times(rows: int, size: int) -> dict[str, Any]:
    """Seconds to decide all rows from nothing, and to find the pairs of 1% of them."""
    from belle.data.semantic.keeping import keep_first, pairs
    from belle.data.semantic.similarity import Semantic

    similarity = Semantic(0.9)
    keep_first(planted(np.random.default_rng(0), 2000, 2, 0.95, size)[0], similarity)  # compiles
    vectors, _ = planted(np.random.default_rng(2), rows, 4, 0.95, size)
    begin = time.perf_counter()
    rivals = keep_first(vectors, similarity)
    cold = time.perf_counter() - begin
    few = np.sort(np.random.default_rng(3).choice(rows, rows // 100, replace=False))
    begin = time.perf_counter()
    pairs(vectors, few, np.arange(len(vectors)), similarity)
    warm = time.perf_counter() - begin
    part = vectors[: min(rows, 20_000)].astype(np.float32)
    begin = time.perf_counter()
    for start in range(0, len(part), 2000):
        (part[start : start + 2000] @ part.T >= 1e6).sum()
    brute = time.perf_counter() - begin
    return {
        "rows": rows, "dimensions": size, "dropped": int((rivals >= 0).sum()), "cold_s": round(cold, 2),
        "pairs_of_1_percent_s": round(warm, 2), "all_with_all": {"rows": len(part), "s": round(brute, 2),
        "s_at_these_rows_by_the_square": round(brute * (rows / len(part)) ** 2 / 2, 1)},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a model folder whose judgement is measured")
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--answer-weight", type=float, default=0.7)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    stamp = {"device": device(), "load": round(os.getloadavg()[0], 2), "date": datetime.now(UTC).date().isoformat()}
    found = []
    if args.base:
        settings = {
            "max_length": args.max_length, "layer": args.layer, "answer_weight": args.answer_weight,
            "dimensions": args.dimensions, "bf16": False, "threads": 1,
        }  # fmt: skip
        found.append({"name": f"judgement of {args.base.name}", **judged(args.base, settings), **settings, **stamp})
    for threshold, cosine in ((0.9, 0.9), (0.9, 0.92), (0.9, 0.95), (0.8, 0.8), (0.8, 0.85), (0.95, 0.96)):
        found.append({"name": "recall of the search", **recall(threshold, cosine, args.dimensions), **stamp})
    found.append({"name": "time of the search", **times(args.rows, args.dimensions), **stamp})
    publish(found, args.out)


if __name__ == "__main__":
    main()
