"""Who is kept when rows are gone through in order and one too similar to a row kept before it is dropped.

After an edit only what the edit can reach is decided again, and the outcome is that of deciding everything: a row that
was kept stays, unless a row that is new among the kept, and before it, is similar; a row that was dropped stays so as
long as the kept row that it was dropped for (its witness) does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from belle.data.cleaning.same import Index, Keys, matched

Mask = npt.NDArray[np.bool_]

WORTH = 0.25
"""The share of rows to look at again from which on deciding everything anew is quicker."""


@dataclass(frozen=True)
class Decisions:
    """What was decided of a sequence of rows.

    Attributes:
        keys: What tells the rows apart; no two are the same [n, 2].
        keep: Whether each is kept [n].
        witness: The index of a kept row before it that is similar, -1 for kept rows [n].
    """

    keys: Keys
    keep: Mask
    witness: Index


Decide = Callable[[], tuple[Mask, Index]]
"""Decides everything: ``keep`` and ``witness``."""
Pairs = Callable[[Index, Index], tuple[Index, Index]]
"""All pairs of a row of the first array and another of the second that are similar, as two arrays of indexes."""


def decide(keys: Keys, before: Decisions | None, anew: Decide, pairs: Pairs) -> Decisions:
    """Decide a sequence, with what was decided of an earlier one, which may have any rows in any order."""
    if before is None or not len(before.keys) or not len(keys):
        return Decisions(keys, *anew())
    old = _in_order(matched(keys, before.keys))
    stable = old >= 0
    place = np.full(len(before.keys), -1, np.int64)
    place[old[stable]] = np.flatnonzero(stable)
    keep, witness = np.zeros(len(keys), np.bool_), np.full(len(keys), -1, np.int64)
    keep[stable] = before.keep[old[stable]]
    dropped = np.flatnonzero(stable & ~keep)
    witness[dropped] = place[before.witness[old[dropped]]]
    asked = ~stable
    asked[dropped[witness[dropped] < 0]] = True
    near: dict[int, list[int]] = defaultdict(list)
    waiting = np.flatnonzero(asked)
    while len(waiting):
        if asked.sum() > WORTH * len(keys):
            return Decisions(keys, *anew())
        # a dropped row whose witness stays has no say in anything
        for row, other in zip(*(side.tolist() for side in pairs(waiting, np.flatnonzero(keep | asked))), strict=True):
            near[row].append(other)
            if asked[other]:
                near[other].append(row)
        waiting = _again(keep, witness, asked, near)
        asked[waiting] = True
    return Decisions(keys, *_settled(keep, witness, asked, near)[:2])


def _again(keep: Mask, witness: Index, asked: Mask, near: dict[int, list[int]]) -> Index:
    """The dropped rows that lose their witness and must be asked about too."""
    now, seen_by, lost = _settled(keep, witness, asked, near)
    if not lost:
        return np.empty(0, np.int64)
    orphans = np.flatnonzero(~now & ~asked & np.isin(seen_by, np.array(sorted(lost), np.int64)))
    return orphans


def _settled(keep: Mask, witness: Index, asked: Mask, near: dict[int, list[int]]) -> tuple[Mask, Index, set[int]]:
    """Decide what the rows asked about can reach, in order.

    Returns:
        ``keep``, ``witness``, and the rows that were kept before and are no more.
    """
    now, seen_by, lost = keep.copy(), witness.copy(), set[int]()
    reached: dict[int, list[int]] = {row: near.get(row, []) for row in np.flatnonzero(asked).tolist()}
    for row in list(reached):
        now[row], seen_by[row] = False, -1
        for other in reached[row]:
            if not asked[other]:
                reached.setdefault(other, []).append(row)
    for row in sorted(reached):
        before = [other for other in reached[row] if other < row and now[other]]
        if asked[row]:
            now[row] = not before
        elif before:
            now[row] = False
            lost.add(row)
        if before:
            seen_by[row] = min(before)
    return now, seen_by, lost


def _in_order(old: Index) -> Index:
    """``old`` with -1 where an index does not fit into a longest rising sequence: those rows have moved."""
    found = np.flatnonzero(old >= 0)
    values = old[found]
    if len(values) < 2 or (np.diff(values) > 0).all():
        return old
    ends: list[int] = []  # by length - 1, the index into values of the least end of a rising sequence
    least: list[int] = []
    previous = np.empty(len(values), np.int64)
    for number, value in enumerate(values.tolist()):
        at = bisect_left(least, value)
        previous[number] = ends[at - 1] if at else -1
        if at == len(ends):
            ends.append(number)
            least.append(value)
        else:
            ends[at], least[at] = number, value
    keeps = np.zeros(len(values), np.bool_)
    at = ends[-1]
    while at >= 0:
        keeps[at] = True
        at = int(previous[at])
    result = np.full(len(old), -1, np.int64)
    result[found[keeps]] = values[keeps]
    return result
