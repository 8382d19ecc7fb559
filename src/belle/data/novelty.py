"""Exact ROUGE-L novelty: is a row far enough from every row that was kept before it?

ROUGE-L of two token rows is the F1 of their longest common subsequence (LCS): with L its length and m, n the
lengths of the rows, p = L/m, r = L/n and F = 2pr/(p + r), the arithmetic of the package rouge_score.

The tokens that two rows share, counted with repeats, bound their LCS from above. An inverted index gives that
number for all kept rows at once, and only rows whose bound reaches the score asked for go on to the LCS
itself, the best bound first. The LCS is bit-parallel (Hyyrö 2004): one long integer carries a whole row
through the recurrence, or one 64-bit lane for each of many kept rows, where rows from one template leave
thousands to compare.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Element = tuple[int, int]
"""A token's id, and how many times it came before in the row: what a multiset has where a set has tokens."""

_TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[a-z0-9]+")
_LANE_BITS = 64
_FEW = 8  # rows up to which one LCS after another is faster than lanes
_UNREACHABLE = 1 << 40


def tokens(text: str) -> list[str]:
    """Split ``text`` into ROUGE-L tokens: after lower-casing, each ideograph and each run of ``[a-z0-9]``.

    Ideographs are U+3400–U+9FFF and U+F900–U+FAFF; everything else separates.
    """
    return _TOKEN.findall(text.lower())


def rouge_l(common: int, length_a: int, length_b: int) -> float:
    """ROUGE-L F1 in [0, 1] of two rows whose LCS is ``common`` tokens long; 0 when they share none."""
    if not common:
        return 0.0
    precision, recall = common / length_a, common / length_b
    return 2 * precision * recall / (precision + recall)


class NoveltyFilter:
    """Keep rows whose ROUGE-L F1 against every kept row is below ``threshold``.

    Exact: it decides and scores as a comparison with every kept row would. Rows without tokens score 0.
    Takes about 20 bytes of memory for each kept token.

    Args:
        threshold: over 0. 1 drops only rows with the same tokens in the same order; over 1 drops nothing.
    """

    def __init__(self, threshold: float) -> None:
        if not threshold > 0:
            raise ValueError(f"a novelty threshold must be over 0, found {threshold}")
        self.threshold = threshold
        self._ids: list[str] = []
        self._token_ids: dict[str, int] = {}
        self._postings: dict[Element, array[int]] = {}  # kept rows that have it
        self._flat = array("q")  # the kept rows' token ids, end to end
        self._starts = array("q", [0])
        self._lengths = array("q")
        self._longest = 0
        self._needs: dict[int, Ints] = {}
        self._masks = np.zeros(1024, np.uint64)  # by token id: its places in the row at hand; all 0 in between

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, row: Sequence[str], row_id: str) -> None:
        """Keep a row."""
        order = len(self._ids)
        self._ids.append(row_id)
        ids = [self._token_ids.setdefault(token, len(self._token_ids)) for token in row]
        for element in _elements(ids):
            posting = self._postings.get(element)
            if posting is None:
                posting = self._postings[element] = array("q")
            posting.append(order)
        self._flat.extend(ids)
        self._starts.append(len(self._flat))
        self._lengths.append(len(ids))
        self._longest = max(self._longest, len(ids))

    def rival(self, row: Sequence[str]) -> str | None:
        """The id of a kept row that scores at or above the threshold with ``row``; None if it is novel."""
        if self.threshold > 1:
            return None
        shared = self._shared(row)
        if shared is None:
            return None
        lengths = np.frombuffer(self._lengths, np.int64)
        rows = np.flatnonzero(shared >= self._need(len(row))[lengths])
        if not len(rows):
            return None
        rows = rows[np.argsort(-_scores(shared[rows], len(row), lengths[rows]), kind="stable")]
        for part, common in self._compared(row, rows):
            scores = _scores(common, len(row), lengths[part])
            if scores.max() >= self.threshold:
                return self._ids[part[int(np.argmax(scores >= self.threshold))]]
        return None

    def most_similar(self, row: Sequence[str]) -> tuple[float, str | None]:
        """The highest score of ``row`` against the kept rows, and the id of the first row that has it.

        ``(0.0, None)`` where no kept row shares a token with it.
        """
        shared = self._shared(row)
        if shared is None:
            return 0.0, None
        lengths = np.frombuffer(self._lengths, np.int64)
        rows = np.flatnonzero(shared)
        bounds = _scores(shared[rows], len(row), lengths[rows])
        by_bound = np.argsort(-bounds, kind="stable")
        rows, bounds = rows[by_bound], bounds[by_bound]
        best, first, done = 0.0, 0, 0
        for part, common in self._compared(row, rows):
            scores = _scores(common, len(row), lengths[part])
            top = float(scores.max())
            earliest = int(part[scores == top].min())
            if top > best or (top == best and earliest < first):
                best, first = top, earliest
            done += len(part)
            if done < len(rows) and bounds[done] < best:
                break
        return best, self._ids[first]

    def _shared(self, row: Sequence[str]) -> Ints | None:
        """How many tokens each kept row shares with ``row``, with repeats; None where no row shares any."""
        ids = [self._token_ids[token] for token in row if token in self._token_ids]
        found = [self._postings[element] for element in _elements(ids) if element in self._postings]
        if not found:
            return None
        rows = np.concatenate([np.frombuffer(posting, np.int64) for posting in found])
        return np.bincount(rows, minlength=len(self._ids))

    def _need(self, length: int) -> Ints:
        """By the other row's length: the shortest LCS whose score reaches the threshold."""
        longest = self._longest
        need = self._needs.get(length)
        if need is None or len(need) <= longest:
            other = np.arange(2 * longest + 1, dtype=np.int64)
            other[0] = 1
            # From below the real solution of 2L/(m+n) = threshold: the float arithmetic has the last word.
            need = np.maximum(1, np.floor(self.threshold * (length + other) / 2).astype(np.int64) - 1)
            for _ in range(3):
                need += _scores(need, length, other) < self.threshold
            need[need > np.minimum(length, other)] = _UNREACHABLE
            self._needs[length] = need
        return need

    def _compared(self, row: Sequence[str], rows: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield ``rows`` part by part with their LCS lengths; parts grow, for the first often settle it."""
        start, size = 0, _FEW
        while start < len(rows):
            part = rows[start : start + size]
            together = len(row) <= _LANE_BITS and len(part) > _FEW
            yield part, self._lcs_in_lanes(row, part) if together else self._lcs_in_turn(row, part)
            start, size = start + size, 8 * size

    def _lcs_in_turn(self, row: Sequence[str], rows: Ints) -> Ints:
        places = _places([self._token_ids.get(token, -1) for token in row])
        full = (1 << len(row)) - 1
        spans = [(self._starts[order], self._starts[order + 1]) for order in rows]
        return np.array([_lcs(places, full, self._flat[start:end]) for start, end in spans], np.int64)

    def _lcs_in_lanes(self, row: Sequence[str], rows: Ints) -> Ints:
        if len(self._masks) <= len(self._token_ids):
            self._masks = np.zeros(2 * len(self._token_ids), np.uint64)
        places = _places([self._token_ids.get(token, -1) for token in row])
        places.pop(-1, None)
        at = np.fromiter(places, np.int64, len(places))
        self._masks[at] = np.fromiter(places.values(), np.uint64, len(places))
        flat = np.frombuffer(self._flat, np.int64)
        starts = np.frombuffer(self._starts, np.int64)[rows]
        lengths = np.frombuffer(self._lengths, np.int64)[rows]
        by_length = np.argsort(-lengths, kind="stable")  # so that the rows still running are always a prefix
        starts, lengths = starts[by_length], lengths[by_length]
        running = np.searchsorted(-lengths, -np.arange(lengths[0]))
        full = np.uint64((1 << len(row)) - 1)
        unmatched = np.full(len(rows), full)
        for step, count in enumerate(running.tolist()):
            lanes = unmatched[:count]
            hit = lanes & self._masks[flat[starts[:count] + step]]
            # As in _lcs; a carry past the row's own bits stays above them, and past the lane's it is lost.
            unmatched[:count] = (lanes + hit) | (lanes ^ hit)
        self._masks[at] = 0
        common = np.empty(len(rows), np.int64)
        common[by_length] = np.bitwise_count(full & ~unmatched)
        return common


def _elements(ids: list[int]) -> list[Element]:
    """Tell the repeats of a token apart."""
    seen: dict[int, int] = {}
    elements = []
    for token in ids:
        repeat = seen[token] = seen.get(token, -1) + 1
        elements.append((token, repeat))
    return elements


def _places(ids: list[int]) -> dict[int, int]:
    """One bit for each place of a token, by its id."""
    places: dict[int, int] = {}
    for place, token in enumerate(ids):
        places[token] = places.get(token, 0) | (1 << place)
    return places


def _lcs(places: dict[int, int], full: int, row: Iterable[int]) -> int:
    unmatched = full
    for token in row:
        hit = unmatched & places.get(token, 0)
        # The carry moves each match to its leftmost free place; it may run out at the top, hence the mask.
        unmatched = ((unmatched + hit) | (unmatched ^ hit)) & full
    return (full ^ unmatched).bit_count()


def _scores(common: Ints, length: int, others: Ints) -> npt.NDArray[np.float64]:
    """``rouge_l`` of many rows at once, by the same operations, so with the same rounding; ``common`` > 0."""
    precision, recall = common / length, common / others
    return 2 * precision * recall / (precision + recall)
