"""Rows of tokens as arrays, and what ROUGE-L asks of two of them.

ROUGE-L of two rows is the F1 of their longest common subsequence (LCS): with L its length and m, n the lengths of the
rows, p = L/m, r = L/n and F = 2pr/(p + r), the arithmetic of the package rouge_score. The LCS is bit-parallel (Hyyrö
2004): words of 64 bits carry a whole row through the recurrence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

UNREACHABLE = 1 << 30
BITS = 64


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

    @property
    def longest(self) -> int:
        """Tokens in the longest row; 0 without rows."""
        return int(np.diff(self.starts).max(initial=0))


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


@njit(cache=True, nogil=True, inline="always")
def score(common: int, length_a: int, length_b: int) -> float:
    """ROUGE-L F1 of two rows, to the bit as Python computes it; 0 where they share nothing."""
    if common == 0:
        return 0.0
    precision, recall = common / length_a, common / length_b
    return 2 * precision * recall / (precision + recall)


@njit(cache=True, nogil=True)
def fill_needs(threshold: float, m: int, needs: Ints) -> tuple[int, int, int]:
    """Write the least LCS with which rows of m and n tokens reach the threshold to ``needs[n]``.

    Returns:
        The least of them, and the span of n in which any can be reached: outside it ``needs`` is left as it is.
    """
    # F is at most 2 min(m, n) / (m + n); one more on each side for rounding
    first = max(1, int(threshold * m / (2 - threshold)) - 1) if threshold < 2 else len(needs)
    last = min(len(needs) - 1, int(m * (2 - threshold) / threshold) + 2)
    least = UNREACHABLE
    for n in range(first, last + 1):
        # from below the real solution of 2L / (m + n) = threshold: the float arithmetic has the last word
        common = max(1, int(threshold * (m + n) / 2) - 1)
        longest = min(m, n)
        while common <= longest and score(common, m, n) < threshold:
            common += 1
        needs[n] = common if common <= longest else UNREACHABLE
        least = min(least, needs[n])
    return least, first, last


@njit(cache=True, nogil=True)
def bit_count(word: np.uint64) -> int:
    """How many bits of a word are 1."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def set_places(flat: Ints, start: int, end: int, local: Ints, places: Words) -> int:
    """Note where each token of a row stands, a bit for each place.

    Args:
        local: By token: which line of ``places`` is its; -1 for all tokens before and after.
        places: A line of ``ceil(m / 64)`` words for each different token, written end to end.

    Returns:
        How many different tokens the row has.
    """
    width = (end - start + BITS - 1) // BITS
    found = 0
    for at in range(start, end):
        token = flat[at]
        if local[token] < 0:
            local[token] = found
            places[found * width : (found + 1) * width] = 0
            found += 1
        place = at - start
        places[local[token] * width + place // BITS] |= np.uint64(1) << np.uint64(place % BITS)
    return found


@njit(cache=True, nogil=True)
def clear_places(flat: Ints, start: int, end: int, local: Ints) -> None:
    """Forget the row of ``set_places``."""
    for at in range(start, end):
        local[flat[at]] = -1


@njit(cache=True, nogil=True)
def lcs(length: int, local: Ints, places: Words, flat: Ints, start: int, end: int, open_: Words) -> int:
    """LCS of the row of ``set_places``, ``length`` tokens long, with the row ``flat[start:end]``.

    ``open_`` is room for ``ceil(length / 64)`` words.
    """
    width = (length + BITS - 1) // BITS
    if width == 1:
        word = ~np.uint64(0)
        for at in range(start, end):
            line = local[flat[at]]
            if line >= 0:
                hit = word & places[line]
                # the carry moves each match to its leftmost free place
                word = (word + hit) | (word ^ hit)
        # bits above the row stay 1: no place is there to be hit, and a carry into them falls out at the top or not
        return bit_count(~word & _low(length))
    for index in range(width):
        open_[index] = ~np.uint64(0)
    for at in range(start, end):
        line = local[flat[at]]
        if line < 0:
            continue
        carry = np.uint64(0)
        for index in range(width):
            word = open_[index]
            hit = word & places[line * width + index]
            total = word + hit
            over = np.uint64(total < word)
            total += carry
            over |= np.uint64(total < carry)
            open_[index] = total | (word ^ hit)
            carry = over
    common = 0
    for index in range(width):
        rest = length - index * BITS
        common += bit_count(~open_[index] & _low(min(rest, BITS)))
    return common


@njit(cache=True, nogil=True, inline="always")
def _low(bits: int) -> np.uint64:
    return ~np.uint64(0) if bits >= BITS else (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
