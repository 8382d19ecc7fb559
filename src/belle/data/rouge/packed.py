"""Rows of tokens as arrays, and what ROUGE-L asks of two of them.

ROUGE-L of two rows is the F1 of their longest common subsequence (LCS): with L its length and m, n the lengths of the
rows, p = L/m, r = L/n and F = 2pr/(p + r), the arithmetic of the package rouge_score. The LCS is bit-parallel (Hyyrö
2004): words of 64 bits carry a whole row through the recurrence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from belle.data.rouge.loops import Ints, Longs, Words, signatures_of


@dataclass(frozen=True)
class Rows:
    """Rows end to end.

    Attributes:
        flat: Token ids [T], 0 for the rarest token, of equally rare ones for that which came first.
        starts: Where each row begins in ``flat``, and the end [N + 1].
        vocabulary: How many different tokens there are.
    """

    flat: Ints
    starts: Longs
    vocabulary: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def longest(self) -> int:
        """Tokens in the longest row; 0 without rows."""
        return int(np.diff(self.starts).max(initial=0))

    @cached_property
    def signatures(self) -> tuple[Words, Words]:
        """64 bits for each row, one of them set for each of its tokens [N], and 256 [N, 4]."""
        return signatures_of(self.flat, self.starts)


def pack(rows: Iterable[Sequence[str]]) -> Rows:
    """Put rows of tokens into arrays. Takes 4 bytes for each token, and each different token once."""
    known: dict[str, int] = {}
    flat: Ints = np.empty(1024, np.int32)
    starts = [0]
    for row in rows:
        end = starts[-1] + len(row)
        if end > len(flat):
            flat = np.resize(flat, 2 * end)
        flat[starts[-1] : end] = [known.setdefault(token, len(known)) for token in row]
        starts.append(end)
    flat = flat[: starts[-1]].copy()
    counts = np.bincount(flat, minlength=len(known))
    rank = np.empty(len(known), np.int32)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(known), dtype=np.int32)
    return Rows(rank[flat], np.array(starts, np.int64), len(known))
