"""Train a classifier of rows on labelled texts, and measure it on those that it has not seen."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from belle import jsonl
from belle.data.categories import CATEGORIES
from belle.data.linear import Linear, train
from belle.errors import InputError
from belle.files import atomic_file

Z95 = 1.96


def classifier(
    *,
    labels: Path,
    out: Path,
    report: Path,
    ngrams: int,
    bits: int,
    margin: int,
    epochs: int,
    held_out: float,
    seed: int,
) -> None:
    """Train on a part of the labelled texts and report on the rest, which no training sees.

    Texts are split by a hash, so that one that comes twice is on one side only.

    Args:
        labels: JSON Lines of ``text, category``.
        out: The classifier's folder, of the part that is not held out.
        report: JSON: ``accuracy`` on the held-out texts with its 95% interval (Wilson), ``majority`` (the accuracy of
            always naming the commonest category of the training part), ``by_category`` (precision, recall, F1, n),
            ``confusion`` (label → answer → count).
        ngrams, bits, margin, epochs: As for ``belle.data.linear``.
        held_out: The share of texts that are held out.
        seed: Decides the split and the order of training.

    Raises:
        InputError: a line of another schema or with an unknown category, or too few texts for both parts.
    """
    seen: dict[str, str] = {}
    for number, row in enumerate(jsonl.read(labels, "labelled rows"), 1):
        text, category = row.get("text"), row.get("category")
        if not isinstance(text, str) or category not in CATEGORIES:
            raise InputError(
                f"`text` must be text and `category` a category, found {text!r} and {category!r}",
                where=f"{labels}, row {number}",
                cause="labels of other categories",
                fix=f"use only {', '.join(CATEGORIES)}",
            )
        seen.setdefault(text, str(category))
    parts: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for text, category in seen.items():
        parts[_share(text, seed) < held_out].append((text, category))
    taught, kept = parts
    if not taught or not kept:
        raise InputError(
            f"{len(taught)} texts to train on and {len(kept)} held out", where=str(labels),
            cause="too few labels", fix="ask for more rows in `label`, or change held_out",
        )  # fmt: skip
    texts, names = zip(*taught, strict=True)
    found = train(texts, names, CATEGORIES, ngrams=ngrams, bits=bits, margin=margin, epochs=epochs, seed=seed)
    found.save(out, {"trained_on": len(taught), "held_out": len(kept)})
    summary = measure(found, kept, Counter(names))
    with atomic_file(report) as file:
        file.write(json.dumps({"trained_on": len(taught), **summary}, ensure_ascii=False, indent=2) + "\n")


def _share(text: str, seed: int) -> float:
    """A number from 0 to 1 that a text has by its hash."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:4], "big") / 2**32


def measure(found: Linear, kept: Sequence[tuple[str, str]], taught: Counter[str]) -> dict[str, Any]:
    """How a classifier does on texts that it has not seen; ``taught`` counts the categories that it has."""
    confusion: dict[str, Counter[str]] = {name: Counter() for name in found.classes}
    for text, category in kept:
        confusion[category][found.of(text)] += 1
    right = sum(confusion[name][name] for name in found.classes)
    commonest = min(taught, key=lambda name: (-taught[name], found.classes.index(name)))
    by_category = {}
    for name in found.classes:
        count, answers = confusion[name].total(), sum(row[name] for row in confusion.values())
        precision, recall = _ratio(confusion[name][name], answers), _ratio(confusion[name][name], count)
        f1 = _ratio(2 * confusion[name][name], answers + count)
        by_category[name] = {"precision": precision, "recall": recall, "f1": f1, "n": count}
    return {
        "held_out": len(kept),
        "accuracy": round(right / len(kept), 4),
        "accuracy_95": _wilson(right, len(kept)),
        "majority": round(sum(category == commonest for _, category in kept) / len(kept), 4),
        "majority_category": commonest,
        "by_category": by_category,
        "confusion": {
            name: {other: row[other] for other in found.classes if row[other]} for name, row in confusion.items()
        },
    }  # fmt: skip


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _wilson(right: int, count: int) -> list[float]:
    """The 95% interval of a share by Wilson's score."""
    share, z2 = right / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]
