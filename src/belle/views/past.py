""".belle/history.jsonl, read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from belle.build.history import EXECUTED, HISTORY, RESTORED


@dataclass(frozen=True)
class Run:
    """One line of the history: a stage's run, its cause and its outcome; ``seconds`` as the clock ran."""

    stage: str
    reason: str
    outcome: str
    started: str
    seconds: float

    def as_json(self) -> dict[str, str | float]:
        """The line as it is kept."""
        return dict(vars(self))


def runs(path: Path = HISTORY) -> tuple[list[Run], int]:
    """Every run, oldest first, and how many lines could not be read (a kill tears the last one)."""
    found: list[Run] = []
    torn = 0
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    for line in filter(None, lines):
        try:
            row = json.loads(line)
            found.append(Run(row["stage"], row["reason"], row["outcome"], row["started"], float(row["seconds"])))
        except (ValueError, KeyError, TypeError):
            torn += 1
    return found, torn


def last_made(found: list[Run]) -> dict[str, Run]:
    """For each stage the run that made what stands there: the last one that did not fail."""
    return {run.stage: run for run in found if run.outcome in (EXECUTED, RESTORED)}


def duration(seconds: float) -> str:
    """A length of time as a person reads it."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
