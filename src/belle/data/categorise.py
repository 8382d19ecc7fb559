"""Give every row its category by a trained classifier."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from belle import jsonl
from belle.data.categories import text_of
from belle.data.linear import load
from belle.files import atomic_file


def categorise(*, raw: Path, model: Path, out: Path, report: Path) -> None:
    """Write every row with its ``category``, in order, and how many rows each category has.

    Args:
        raw: Rows of either shape.
        model: The folder of a classifier.
        out: The rows, each with ``category``; one that it had goes to ``category_given``.
        report: JSON: ``rows``, and ``categories`` with their counts.

    Raises:
        InputError: the classifier is at fault, or a row is of another schema.
    """
    found, counts = load(model), Counter[str]()

    def rows() -> Iterator[jsonl.Row]:
        for number, row in enumerate(tqdm(jsonl.read(raw, "rows"), desc="categorise", unit="row", mininterval=1), 1):
            category = found.of(text_of(row, f"{raw}, row {number}"))
            counts[category] += 1
            given = {"category_given": row["category"]} if "category" in row else {}
            yield {**row, **given, "category": category}

    count = jsonl.write(out, rows())
    summary = {"rows": count, "categories": {name: counts[name] for name in found.classes}}
    with atomic_file(report) as file:
        file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
