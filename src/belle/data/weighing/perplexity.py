"""Perplexities in reports: how likely the rows of a set are to a model, before and after cleaning."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Losses = npt.NDArray[np.float64]
"""Mean negative log-likelihoods of a token, in nats, NaN where there is none: the logarithms of perplexities."""

KINDS = ("row", "answer")
"""Of which tokens: of all, or of the answer's, given what is before them."""

EDGES = (1, *(edge for power in range(1, 32) for edge in (2**power, 3 * 2 ** (power - 1))))
"""Where the bins of a histogram begin; equal in every set, so that sets can be compared."""
_LOGS = np.array([math.log(edge) for edge in EDGES])


def figures(losses: Losses) -> dict[str, Any]:
    """Give ``rows`` that have a number, ``min, mean`` (the geometric one)``, median, p95, max`` and a ``histogram``.

    Bin i has the rows of ``edges[i]`` to under ``edges[i + 1]``.
    """
    known = np.sort(losses[~np.isnan(losses)])
    if not len(known):
        return {"rows": 0, "histogram": {"edges": [1], "counts": []}}
    counts = np.bincount(np.maximum(np.searchsorted(_LOGS, known, side="right") - 1, 0)).tolist()
    middle, high = (len(known) - 1) // 2, (95 * len(known) + 99) // 100 - 1
    return {
        "rows": len(known),
        "min": shown(known[0]),
        "mean": shown(math.fsum(known.tolist()) / len(known)),
        "median": shown(known[middle]),
        "p95": shown(known[high]),
        "max": shown(known[-1]),
        "histogram": {"edges": list(EDGES[: len(counts) + 1]), "counts": counts},
    }


def shown(loss: float) -> float:
    """A perplexity to four digits."""
    return float(f"{math.exp(min(float(loss), 700.0)):.4g}")


def cut(losses: Losses, share: float) -> float:
    """The loss over which the given share of rows, or fewer where several have the same, lies; infinity for none.

    Rows without a number count for nothing.
    """
    known = np.sort(losses[~np.isnan(losses)])
    most = math.floor(share * len(known))
    return float(known[len(known) - 1 - most]) if most else math.inf
