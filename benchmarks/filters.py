"""What each filter costs a row, and the filters of the recipe `published` together, beside reading and writing JSON.

The rows are the seed tasks and the evaluation rows with an answer, several put together until a row has 200 characters.
Times are CPU time of one process, the filters in turns with the peer: `json.loads` and `json.dumps` of the same row,
the least that any cleaning loop does.

    python benchmarks/filters.py --out benchmarks/results/filters.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from belle import jsonl, strict_yaml
from belle.data.filters import FILTERS, Filter

ROOT = Path(__file__).resolve().parents[1]
CHARS = 200
ROWS = 4000
ROUNDS = 15


def rows() -> list[jsonl.Row]:
    """Rows of real-looking Chinese, of at least ``CHARS`` characters each."""
    texts: list[jsonl.Row] = [
        {"instruction": seed["instruction"], **seed["instances"][0]}
        for seed in jsonl.read(ROOT / "data/seeds/seed_tasks.jsonl")
    ]
    texts += [
        {"instruction": item["question"], "input": "", "output": item["std_answer"]}
        for item in jsonl.read(ROOT / "data/eval/real.jsonl")
        if item["std_answer"]
    ]
    rng = random.Random(1234)
    made = []
    for number in range(ROWS):
        row = {"id": f"r-{number}", **rng.choice(texts)}
        while sum(len(row[field]) for field in ("instruction", "input", "output")) < CHARS:
            row["output"] += "\n" + rng.choice(texts)["output"]
        made.append(row)
    return made


def times(runs: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Microseconds a row of each, once a round, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            taken[name].append((time.process_time() - begin) / ROWS * 1e6)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the JSON goes; without it, it is printed only")
    out = parser.parse_args().out
    sample = rows()
    lines = [jsonl.dumps(row) for row in sample]
    recipe = strict_yaml.load(ROOT / "params.yaml")["clean"]["published"]["filters"]

    def over(chain: list[Filter]) -> Callable[[], None]:
        def run() -> None:
            for row in sample:
                for test in chain:
                    test(row)

        return run

    def peer() -> None:
        for line in lines:
            jsonl.dumps(json.loads(line))

    runs = {
        "json loads and dumps": peer,
        f"published ({', '.join(recipe)})": over([FILTERS[name] for name in recipe]),
        "all": over(list(FILTERS.values())),
        **{name: over([test]) for name, test in FILTERS.items()},
    }
    taken = times(runs)
    base = taken["json loads and dumps"]
    found = {
        "rows": ROWS,
        "chars_mean": round(
            statistics.fmean(sum(len(row[f]) for f in ("instruction", "input", "output")) for row in sample), 1
        ),
        "rounds": ROUNDS,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
        "us_per_row": {
            name: {
                "median": round(statistics.median(values), 2),
                "min": round(min(values), 2),
                "max": round(max(values), 2),
                "over_json": round(statistics.median(a / b for a, b in zip(values, base, strict=True)), 2),
            }
            for name, values in taken.items()
        },
    }
    text = json.dumps(found, ensure_ascii=False, indent=2) + "\n"
    print(text, end="")
    if out:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
