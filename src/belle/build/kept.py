"""Results kept below .belle beside what they were made of. Losing one, or failing to keep it, costs time only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from belle.files import atomic_file


def load(path: Path, of: str) -> Any:
    """What was kept, if it was made of just this; else None."""
    try:
        found = json.loads(path.read_bytes())
        return found["value"] if found["of"] == of else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(path: Path, of: str, value: Any) -> None:
    """Keep a value that JSON can hold."""
    try:
        with atomic_file(path) as file:
            json.dump({"of": of, "value": value}, file)
    except OSError:
        pass  # a full disk, or a folder that cannot be written
