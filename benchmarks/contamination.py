"""What decontamination costs a row: our index beside a set of 13-grams in plain Python and beside a JSON loop.

Rows are sentences of the tiny world's corpus put together to about 200 characters, cut into a question and an answer;
the questions are those of data/eval/real.jsonl. The plain loop does what is usually written: NFKC, lower case, letters
and digits only, then every 13-gram asked of a set. It decides less (no share, no ids, no variants). One round takes
each in turn; times are the process's own CPU time, in microseconds a row.

    python benchmarks/contamination.py --out benchmarks/results/contamination.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from common import device

from belle.data.contamination.overlap import Contamination
from belle.data.corpus import GRAMMARS
from belle.records import load_eval

ROOT = Path(__file__).resolve().parents[1]
GRAM = 13
PORTION = 500
"""Rows that a call is given, as a worker would."""


def rows(count: int, seed: int) -> list[list[str]]:
    """Pairs of a question and an answer, about 200 characters together."""
    rng = Random(seed)
    made = []
    for _ in range(count):
        text = ""
        while len(text) < 200:
            text += rng.choice(GRAMMARS)(rng)
        made.append([text[:50], text[50:]])
    return made


def plain_key(text: str) -> str:
    """The usual normalisation."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).lower()))


def main() -> None:
    """Take the rounds and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    questions = [row.question for row in load_eval(ROOT / "data/eval/real.jsonl")]
    given = rows(args.rows, args.seed)
    lines = [json.dumps({"instruction": a, "output": b}, ensure_ascii=False) for a, b in given]
    index = Contamination(questions)
    grams = {key[start : start + GRAM] for key in map(plain_key, questions) for start in range(len(key) - GRAM + 1)}

    def ours() -> int:
        portions = (given[start : start + PORTION] for start in range(0, len(given), PORTION))
        return sum(overlap is not None for portion in portions for overlap in index.check(portion))

    def plain() -> int:
        keys = ((plain_key(text) for text in row) for row in given)
        return sum(
            any(key[start : start + GRAM] in grams for key in row for start in range(len(key) - GRAM + 1))
            for row in keys
        )

    def json_loop() -> int:
        return sum(bool(json.dumps(json.loads(line), ensure_ascii=False)) for line in lines)

    contenders: dict[str, Callable[[], int]] = {"ours": ours, "plain": plain, "json": json_loop}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, int] = {}
    for _ in range(args.rounds):
        for name, run in contenders.items():
            begin = time.process_time()
            found[name] = run()
            times[name].append((time.process_time() - begin) / len(given) * 1e6)

    def spread(name: str) -> list[float]:
        return [round(min(times[name]), 3), round(max(times[name]), 3)]

    middle = {name: statistics.median(each) for name, each in times.items()}
    result = [
        {
            "name": f"contamination_vs_{peer}",
            "ours": round(middle["ours"], 3),
            "peer": round(middle[peer], 3),
            "unit": "us/row",
            "ratio": round(middle["ours"] / middle[peer], 3),
            "n": args.rounds,
            "spread": {"ours": spread("ours"), "peer": spread(peer)},
            "rows": len(given),
            "questions": len(questions),
            "overlapping": found,
            "device": device(),
            "load": round(os.getloadavg()[0], 2),
            "date": datetime.now(UTC).date().isoformat(),
        }
        for peer in ("plain", "json")
    ]  # fmt: skip
    for row in result:
        print(f"{row['name']:28} {row['ours']:7.3f} / {row['peer']:7.3f} {row['unit']:7} = {row['ratio']:.3f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
