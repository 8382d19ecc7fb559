"""One line of a benchmark's results, and the machine that it was taken on."""

from __future__ import annotations

import json
import os
import platform
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def row(name: str, ours_: list[float], peer: list[float], unit: str, **more: Any) -> dict[str, Any]:
    """One line of results; the ratio says how many times as much the peer takes."""
    mine, theirs = statistics.median(ours_), statistics.median(peer)
    return {
        "name": name, "ours": round(mine, 3), "peer": round(theirs, 3), "unit": unit, "ratio": round(theirs / mine, 2),
        "n": len(ours_), "spread": {
            "ours": [round(min(ours_), 3), round(max(ours_), 3)], "peer": [round(min(peer), 3), round(max(peer), 3)],
        },
        "device": device(), "load": round(os.getloadavg()[0], 2), "date": datetime.now(UTC).date().isoformat(), **more,
    }  # fmt: skip


def device() -> str:
    """The processor and how many of its cores there are."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def publish(found: list[dict[str, Any]], out: Path | None) -> None:
    """Print the lines, and write them where the user wants them."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
