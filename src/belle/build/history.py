"""One line per stage run in .belle/history.jsonl."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

HISTORY = Path(".belle/history.jsonl")

EXECUTED, RESTORED, FAILED = "executed", "restored", "failed"


def now() -> datetime:
    """The time in UTC, for ``started``."""
    return datetime.now(UTC)


def record(root: Path, stage: str, reason: str, outcome: str, started: datetime) -> None:
    """Append a line. One write in append mode keeps lines of parallel jobs whole.

    Args:
        outcome: ``executed``, ``restored`` (from the cache, without running the stage) or ``failed``.
    """
    line = {
        "stage": stage,
        "reason": reason,
        "outcome": outcome,
        "started": started.isoformat(timespec="milliseconds"),
        "seconds": round((now() - started).total_seconds(), 3),
    }
    path = root / HISTORY
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
    finally:
        os.close(descriptor)
