"""What a stage on weights takes of main memory: said before the work, and refused where it is not there."""

from __future__ import annotations

import psutil

from belle.errors import BelleError

PROCESS = 700_000_000
"""A process that has loaded PyTorch, tokenizers and the page tables of mapped weights, in bytes."""


def check_memory(needed: int, what: str) -> None:
    """Refuse before any work what would not fit into the memory that is free now.

    Raises:
        BelleError: with both numbers.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise BelleError(
            f"needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free",
            where=what,
            cause="other programs, or a machine that is too small",
            fix="end other programs, or run it on a machine with more memory",
        )
