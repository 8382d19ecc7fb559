"""What one stage would ask, and how calls are counted."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from belle.views.interval import NOTHING, Interval


@dataclass
class Asked:
    """What one stage would ask beyond the ledger."""

    endpoint: str
    model: str
    calls: Interval = NOTHING
    prompt_tokens: Interval = NOTHING
    completion_tokens: Interval = NOTHING
    basis: list[str] = field(default_factory=list)


def until(rows: list[int], wanted: float) -> int:
    """How many replies give so many rows; 0 if these are too few."""
    for number, made in enumerate(itertools.accumulate(rows), 1):
        if made >= wanted:
            return number
    return 0


def over(amount: float, per_call: Interval) -> Interval:
    """How many calls give an amount."""
    return Interval(amount / per_call.mean, amount / per_call.high, amount / max(per_call.low, 0.1))


def whole(calls: Interval) -> Interval:
    """Calls as whole numbers."""
    return Interval(math.ceil(calls.mean), math.ceil(calls.low), math.ceil(calls.high))


def span(value: Interval) -> str:
    """An assumed number with its bounds, in words."""
    return f"{value.mean:g} ({value.low:g} to {value.high:g})"
