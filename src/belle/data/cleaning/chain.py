"""What a row is among the others: unlikely, or too like one before it in its words or in what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from belle.data.cleaning.keepfirst import Decisions, Mask, Walk, by_pairs, decide
from belle.data.cleaning.looked import WIDE
from belle.data.cleaning.same import Index, first_seen
from belle.data.cleaning.seen import Seen, cut, runs
from belle.data.cleaning.weights import NO_LIMITS, Limits, keyed, unlikely
from belle.data.weighing.folder import Weighed
from belle.errors import InputError

UNLIKELY, EXACT, NEAR, SEMANTIC, NOVEL = STEPS = (
    "high_perplexity", "exact_duplicate", "near_duplicate", "semantic_duplicate", "not_novel",
)  # fmt: skip
"""Why a row is dropped for what it is among others, in the order in which it is looked at."""

SAMPLED = 3
"""Of the rows that a step drops, how many of the first are told for whose sake."""
_MOST_TOKENS = (1 << 16) - 1
_TOGETHER = 1 << 14
"""Signatures that are put together at a time."""


@dataclass(frozen=True)
class Chain:
    """How alike two rows may be; a threshold over 1 switches a step off.

    Attributes:
        near_duplicate_threshold: Estimated Jaccard similarity of the rows' character shingles.
        novelty_threshold: ROUGE-L F1 of the compared texts.
        semantic_threshold: Cosine of the rows' vectors.
        limits: From which perplexity on a row is too unlikely.
    """

    near_duplicate_threshold: float
    novelty_threshold: float
    semantic_threshold: float = 2.0
    limits: Limits = NO_LIMITS

    def steps(self) -> tuple[str, ...]:
        """The steps that a report counts: those that ask a model only where one is asked."""
        off = set() if self.limits else {UNLIKELY}
        if self.semantic_threshold > 1:
            off.add(SEMANTIC)
        return tuple(step for step in STEPS if step not in off)

    def load(self) -> None:
        """Import what the steps need: a second at most, which a recipe without them is spared."""
        if self.near_duplicate_threshold <= 1:
            import belle.data.minhash.keeping
            import belle.data.minhash.pairing
        if self.novelty_threshold <= 1:
            import belle.data.rouge.deciding
            import belle.data.rouge.joining
        if self.semantic_threshold <= 1:
            import belle.data.semantic.keeping  # noqa: F401


def decided(
    seen: Seen, chain: Chain, before: dict[str, Decisions], weighed: Weighed | None = None
) -> tuple[npt.NDArray[np.uint8], Index, dict[str, Decisions]]:
    """Decide all rows that pass by themselves; ``weighed`` says of each row what a model said of it.

    Returns:
        For each row 0, or 1 + the number of the step (of ``chain.steps()``) that drops it [n]; the first kept row that
        it is dropped for, of the first ``SAMPLED`` of each step, else -1 [n]; and what to give as ``before`` the next
        time.
    """
    dropped, rivals = np.zeros(len(seen), np.uint8), np.full(len(seen), -1, np.int64)
    passing = seen.passing  # rows
    left: Index = np.arange(len(passing))  # of passing
    after: dict[str, Decisions] = {}

    steps = chain.steps()

    def drop(step: str, keep: Mask, walk: Walk) -> Index:
        dropped[passing[left[~keep]]] = 1 + steps.index(step)
        few = np.flatnonzero(~keep)[:SAMPLED]
        if len(few):
            # Which witness stands in the decisions depends on what was edited before; the first is always the same.
            still = keep.copy()
            still[few[-1] :] = False
            _, first = walk(few, still)
            rivals[passing[left[few]]] = passing[left[first[few]]]
        return left[keep]

    if weighed is not None and chain.limits:
        out = unlikely(weighed, passing, chain.limits)
        dropped[passing[out]] = 1 + steps.index(UNLIKELY)
        left = left[~out]
    first = first_seen(seen.digests[left])
    left = drop(EXACT, first == np.arange(len(left)), lambda few, keep: (keep, first))
    if chain.near_duplicate_threshold <= 1:
        found, walk = _near(seen, left, passing, chain.near_duplicate_threshold, before.get(NEAR))
        after[NEAR] = found
        left = drop(NEAR, found.keep, walk())
    if weighed is not None and chain.semantic_threshold <= 1:
        found, walk = _same_meaning(seen, passing[left], weighed, chain.semantic_threshold, before.get(SEMANTIC))
        after[SEMANTIC] = found
        left = drop(SEMANTIC, found.keep, walk())
    if chain.novelty_threshold <= 1:
        found, walk = _novel(seen, left, passing, chain.novelty_threshold, before.get(NOVEL))
        after[NOVEL] = found
        drop(NOVEL, found.keep, walk())
    return dropped, rivals, after


_Decided = tuple[Decisions, Callable[[], Walk]]
"""What was decided, and what makes a new walk through the same rows."""


def _novel(seen: Seen, left: Index, passing: Index, threshold: float, before: Decisions | None) -> _Decided:
    from belle.data.rouge.deciding import decide as decide_all
    from belle.data.rouge.joining import alike, walk
    from belle.data.rouge.packed import Rows

    counts = np.diff(seen.token_starts)[left]
    if (longest := int(counts.max(initial=0))) > _MOST_TOKENS:
        raise InputError(
            f"a text of {longest} tokens; {_MOST_TOKENS} are the most that novelty can compare",
            where=f"row {int(passing[left[int(np.argmax(counts))]]) + 1}",
            fix="drop such rows by a filter, or take them out",
        )
    ranges = [(int(seen.token_starts[start]), int(seen.token_starts[end])) for start, end in runs(left)]
    flat = cut(seen.tokens, ranges)
    how_often = np.bincount(flat, minlength=WIDE + len(seen.words))
    rank = np.empty(len(how_often), np.int32)
    rank[np.argsort(how_often, kind="stable")] = np.arange(len(how_often), dtype=np.int32)
    starts = np.zeros(len(left) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    rows = Rows(rank[flat], starts, len(how_often))

    def anew() -> tuple[Mask, Index]:
        keep, rivals = decide_all(rows, 0, threshold)
        return keep, rivals.astype(np.int64)

    def through(few: Index, keep: Mask) -> tuple[Mask, Index]:
        return walk(rows, few, keep, threshold)

    keys = seen.keys[passing[left]]
    return decide(keys, before, anew, through, lambda one, other: alike(rows, one, other, threshold)), lambda: through


def _near(seen: Seen, left: Index, passing: Index, threshold: float, before: Decisions | None) -> _Decided:
    from belle.data.minhash.keeping import NearDuplicates
    from belle.data.minhash.pairing import pairs
    from belle.data.minhash.similarity import Similarity

    similarity, signatures = Similarity(threshold), seen.signatures
    row_of = np.full(len(passing) + 1, -1, np.int64)  # of nobody, -1, too
    row_of[left] = np.arange(len(left))

    def anew() -> tuple[Mask, Index]:
        among = NearDuplicates(similarity)
        parts = (signatures.at(left[start : start + _TOGETHER]) for start in range(0, len(left), _TOGETHER))
        rivals = np.concatenate([np.zeros(0, np.int64), *(among.keep_signed(part) for part in parts)])
        return rivals < 0, rivals

    def around(few: Index, among: Index) -> tuple[Index, Index]:
        # all that are remembered, where they lie: to leave the others out before would copy nearly all
        queries, whose = signatures.at(left[few]), signatures.rows()
        has_a_say = np.zeros(len(left) + 1, np.bool_)
        has_a_say[among] = True
        sides = []
        for start, block in signatures.placed():
            slots, places = pairs(block, queries, similarity)
            found = row_of[whose[places + start]]
            apart = (few[slots] != found) & has_a_say[found]
            sides.append((few[slots][apart], found[apart]))
        none = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        whom, which = (np.concatenate(side) for side in zip(none, *sides, strict=True))
        return whom, which

    return decide(seen.keys[passing[left]], before, anew, by_pairs(around)), lambda: by_pairs(around)


def _same_meaning(seen: Seen, rows: Index, weighed: Weighed, threshold: float, before: Decisions | None) -> _Decided:
    from belle.data.semantic.keeping import keep_first, pairs
    from belle.data.semantic.similarity import Semantic

    similarity = Semantic(threshold)
    vectors = np.asarray(weighed.vectors)[rows]

    def anew() -> tuple[Mask, Index]:
        rivals = keep_first(vectors, similarity)
        return rivals < 0, rivals

    def around(few: Index, among: Index) -> tuple[Index, Index]:
        return pairs(vectors, few, among, similarity)

    keys = keyed(seen.keys[rows], vectors)  # another model gives the same row another vector
    return decide(keys, before, anew, by_pairs(around)), lambda: by_pairs(around)
