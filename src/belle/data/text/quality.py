"""Which texts are like a reference: logistic regression over hashed n-grams of characters.

BELLE's corpus cleaning kept the web pages that such a classifier, trained on Wikipedia against raw pages, gave a
probability of 0.25 or more. Here any reference serves.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

MAX_CHARS = 1_000
"""How much of a text is looked at."""

_BUCKETS = 1 << 18
_SIZES = (1, 2, 3)
_STEPS = 60
_RATE = 30.0
_DECAY = 1e-3
_MULTIPLIER = np.uint32(0x9E3779B1)


def _features(text: str) -> tuple[Longs, Floats]:
    """The buckets of a text's n-grams and their weights, whose squares add up to 1."""
    folded = "".join(unicodedata.normalize("NFKC", text[:MAX_CHARS]).lower().split())
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), np.uint32)
    parts = []
    for size in _SIZES:
        count = max(0, len(codes) - size + 1)
        found: npt.NDArray[np.uint32] = np.full(count, size, np.uint32)
        for offset in range(size):
            found = (found ^ codes[offset : offset + count]) * _MULTIPLIER
            found ^= found >> np.uint32(15)
        parts.append(found % np.uint32(_BUCKETS))
    buckets, counts = np.unique(np.concatenate(parts), return_counts=True)
    weights = np.sqrt(counts.astype(np.float64))
    return buckets.astype(np.int64), weights / math.sqrt(float(counts.sum()) or 1.0)


class QualityModel:
    """Tells texts that are like a reference from others.

    Trained by gradient descent over all texts at once, both sides weighing the same however many there are: no draw is
    made, and the order of the texts makes no difference that shows.

    Args:
        reference: Texts as they should be.
        raw: Texts as they come, good ones among them.
    """

    def __init__(self, reference: Sequence[str], raw: Sequence[str]) -> None:
        self._weights: Floats = np.zeros(_BUCKETS)
        self._bias = 0.0
        rows = [_features(text) for text in (*reference, *raw)]
        if not reference or not raw:
            return
        sizes = [len(buckets) for buckets, _ in rows]
        buckets = np.concatenate([buckets for buckets, _ in rows])
        values = np.concatenate([values for _, values in rows])
        row_of = np.repeat(np.arange(len(rows)), sizes)
        is_reference = np.arange(len(rows)) < len(reference)
        share = np.where(is_reference, 0.5 / len(reference), 0.5 / len(raw))
        for _ in range(_STEPS):
            # bincount adds one after the other: the same sum on every machine
            logits = np.bincount(row_of, self._weights[buckets] * values, len(rows)) + self._bias
            chances = np.array([_logistic(logit) for logit in logits.tolist()])
            faults = (chances - is_reference) * share
            slope = np.bincount(buckets, faults[row_of] * values, _BUCKETS)
            self._weights -= _RATE * (slope + _DECAY * self._weights)
            self._bias -= float(np.cumsum(faults)[-1])

    def probability(self, text: str) -> float:
        """The probability that a text is of the reference, to six digits; 0.5 where there was nothing to learn from."""
        buckets, values = _features(text)
        return round(_logistic(math.fsum((self._weights[buckets] * values).tolist()) + self._bias), 6)


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))
