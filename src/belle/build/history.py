"""One line per stage run in .belle/history.jsonl."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

HISTORY = Path(".belle/history.jsonl")

EXECUTED, RESTORED, FAILED = "executed", "restored", "failed"


def now() -> datetime:
    """The time in UTC, for ``started``."""
    return datetime.now(UTC)


def record(root: Path, stage: str, reason: str, outcome: str, started: datetime) -> None:
    """Append a line. One write in append mode keeps lines of parallel jobs whole.

    A disk that is full costs the line, and no more: the stage's own fault must be seen, not this one.

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
    text = json.dumps(line, ensure_ascii=False) + "\n"
    path = root / HISTORY
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # by a kill, or a disk that was full
            os.write(descriptor, (("\n" if torn else "") + text).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        print(f"belle: {path}: this run is not recorded: {error.strerror}", file=sys.stderr)
