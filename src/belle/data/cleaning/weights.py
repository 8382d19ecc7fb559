"""What cleaning asks of the weights of rows: those of its own rows, and which of these are too unlikely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from xxhash import xxh3_64_intdigest

from belle.data.cleaning.same import Index, Keys, matched
from belle.data.cleaning.seen import Seen
from belle.data.weighing import perplexity
from belle.data.weighing.folder import Weighed, load
from belle.errors import InputError


@dataclass(frozen=True)
class Limits:
    """From where on a row is too unlikely; 0 switches a limit off.

    Attributes:
        row, answer: The highest perplexity of a token of the row, and of its answer.
        share: The share of the rows that are left by then that goes, the most unlikely first.
    """

    row: float = 0.0
    answer: float = 0.0
    share: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.row or self.answer or self.share)


NO_LIMITS = Limits()


def of_rows(path: Path, raw: Path, seen: Seen) -> Weighed:
    """The weights of all rows, in their order.

    Raises:
        InputError: some rows have none.
    """
    weighed = load(path)
    at = matched(seen.keys, np.asarray(weighed.keys))
    missing = np.flatnonzero(at < 0)
    if len(missing):
        raise InputError(
            f"{len(missing)} of {len(at)} rows of {raw} are not in it, the first is row {int(missing[0]) + 1}",
            where=str(path),
            cause="another set, or rows that changed after they were weighed",
            fix="weigh the rows again: build it with `snakemake`",
        )
    return weighed.taken(at)


def unlikely(weighed: Weighed, rows: Index, limits: Limits) -> npt.NDArray[np.bool_]:
    """Which of ``rows`` are too unlikely [rows]; one without a token that could be predicted is not."""
    losses, answers = (weighed.means(kind)[rows] for kind in range(2))
    out = np.zeros(len(rows), np.bool_)
    for limit, values in ((limits.row, losses), (limits.answer, answers)):
        if limit:
            out |= values > math.log(limit)  # false for NaN
    if limits.share:
        out |= losses > perplexity.cut(losses[~out], limits.share)
    return out


def said_of(weighed: Weighed, rows: Index) -> dict[int, bytes]:
    """Rows that are too unlikely with how unlikely they are, as an item of JSON for the file of rejects."""
    losses = [weighed.means(kind) for kind in range(2)]
    found = {}
    for row in rows.tolist():
        values = zip(perplexity.KINDS, (float(loss[row]) for loss in losses), strict=True)
        numbers = {kind: perplexity.shown(value) for kind, value in values if not math.isnan(value)}
        found[row] = b'"perplexity": %s, ' % orjson.dumps(numbers)
    return found


def report(weighed: Weighed, limits: Limits, threshold: float, keep: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The distribution of perplexity before and after, and the limits: 0 or over 1 where there is none."""
    found: dict[str, Any] = {
        kind: {
            "before": perplexity.figures(weighed.means(place)),
            "after": perplexity.figures(weighed.means(place)[keep]),
        }
        for place, kind in enumerate(perplexity.KINDS)
    }
    return {
        **found,
        "limits": {"row": limits.row, "answer": limits.answer, "share": limits.share, "cosine": threshold},
    }


def keyed(keys: Keys, vectors: npt.NDArray[np.int8]) -> Keys:
    """Keys of rows with their vectors: the first word of each key is mixed with its vector's hash."""
    hashes = np.fromiter((xxh3_64_intdigest(vector) for vector in vectors), np.uint64, len(vectors))
    return np.stack([keys[:, 0] ^ hashes, keys[:, 1]], axis=1)
