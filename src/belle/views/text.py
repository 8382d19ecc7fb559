"""Lines for a terminal, which may be closed before the last of them (``belle why | head``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def show(lines: Iterable[str]) -> None:
    """Print lines; a reader that has gone is no fault."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # what Python would still flush at its end goes nowhere, and not into a second error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
