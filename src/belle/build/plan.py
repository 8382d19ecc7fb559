"""What a build tells the jobs that it starts: which stages are forced, and why each runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from belle.files import atomic_file

PLAN = Path(".belle/plan.json")


def write(plan: dict[str, Any]) -> None:
    """Stage → ``forced``, ``causes``."""
    with atomic_file(PLAN) as file:
        json.dump(plan, file, ensure_ascii=False)


def of(name: str) -> dict[str, Any]:
    """What the build said of a stage; nothing where no build started it."""
    try:
        return json.loads(PLAN.read_text(encoding="utf-8")).get(name, {})
    except (OSError, ValueError):
        return {}
