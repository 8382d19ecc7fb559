"""What trainings took here: ``.belle/runs``, read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from belle.views.past import duration

RUNS = Path(".belle/runs")
_NUMBERS = ("processes", "step", "steps", "seconds", "tokens", "tokens_per_second", "peak_memory_gb", "interrupted")
_TEXTS = ("name", "device", "started", "finished")


def trainings(root: Path) -> list[dict[str, Any]]:
    """What every training took, by name; files of another version are passed over."""
    found = []
    for path in sorted((root / RUNS).glob("*.json")):
        try:
            item = json.loads(path.read_text(encoding="utf-8"))
            numbers = [item[name] for name in _NUMBERS]
            whole = all(isinstance(value, int | float) for value in numbers)
            whole = whole and all(isinstance(item[name], str) for name in _TEXTS)
            whole = whole and isinstance(item["mfu"], float | None)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if whole:
            found.append(item)
    return found


def table(found: list[dict[str, Any]]) -> list[str]:
    """One line a training."""
    if not found:
        return ["No training was looked on at here yet."]
    rows = [("training", "steps", "tokens", "tokens/s", "MFU", "memory", "took", "finished (UTC)", "on")]
    for item in found:
        steps = f"{item['steps']}" if item["step"] >= item["steps"] else f"{item['step']} of {item['steps']}"
        rows.append(
            (
                item["name"], steps, f"{item['tokens']:,}", f"{item['tokens_per_second']:,.0f}",
                "" if item["mfu"] is None else f"{item['mfu']:.1%}", f"{item['peak_memory_gb']:.2f} GB",
                duration(item["seconds"]), _when(item["finished"]) or "not yet",
                f"{item['processes']} × {item['device']}",
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(8)]
    lines = []
    for cells in rows:
        left = [cells[0].ljust(widths[0])]
        middle = [cell.rjust(width) for cell, width in zip(cells[1:8], widths[1:], strict=True)]
        lines.append("  ".join([*left, *middle, cells[8]]))
    return lines


def row(item: dict[str, Any]) -> list[str]:
    """One training at length."""
    lines = [
        f"- {item['processes']} × {item['device']}",
        f"- {item['step']:,} of {item['steps']:,} steps in {duration(item['seconds'])}, from step to step; "
        f"begun {_when(item['started'])}, finished {_when(item['finished']) or 'not yet'} (UTC), "
        f"taken up again {item['interrupted']} times",
        f"- {item['tokens']:,} tokens, padding left out: {item['tokens_per_second']:,.0f} a second",
        f"- at most {item['peak_memory_gb']:.2f} GB in one process",
    ]
    if item["mfu"] is not None:
        lines.append(f"- MFU {item['mfu']:.1%} of the devices' dense half-precision peak")
    return lines


def _when(text: str) -> str:
    return text[:19].replace("T", " ")
