"""Who is kept when rows are gone through in order and one too similar to a row kept before it is dropped.

After an edit only what the edit can reach is decided again, and the outcome is that of deciding everything: a row that
was kept stays, unless a row that is new among the kept, and before it, is similar; a row that was dropped stays so as
long as the kept row that it was dropped for (its witness) does.
"""

from __future__ import annotations

from bisect import bisect_left
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
Walk = Callable[[Index, Mask], tuple[Mask, Index]]
"""Goes through some rows to decide, rising, and the rows that are kept so far: which of all these are kept in the end,
and a witness for each that is not."""
Pairs = Callable[[Index, Index], tuple[Index, Index]]
"""All pairs of a row of the first array and another of the second that are similar, as two arrays of indexes."""
Alike = Callable[[Index, Index], Mask]
"""Whether each row of the first array and that of the second are similar."""


def decide(keys: Keys, before: Decisions | None, anew: Decide, walk: Walk, alike: Alike | None = None) -> Decisions:
    """Decide a sequence, with what was decided of an earlier one, which may have any rows in any order.

    Args:
        alike: Where it is cheap: spares rows whose witness is gone for a row that is similar to them as well.
    """
    if before is None or not len(before.keys) or not len(keys):
        return Decisions(keys, *anew())
    old = _in_order(matched(keys, before.keys))
    stable = old >= 0
    place = np.full(len(before.keys), -1, np.int64)
    place[old[stable]] = np.flatnonzero(stable)
    keep: Mask = np.zeros(len(keys), np.bool_)
    witness: Index = np.full(len(keys), -1, np.int64)
    keep[stable] = before.keep[old[stable]]
    dropped = np.flatnonzero(stable & ~keep)
    witness[dropped] = place[before.witness[old[dropped]]]
    lost = dropped[witness[dropped] < 0]
    waiting = np.union1d(np.flatnonzero(~stable), lost)
    looked_at = 0
    # Without the rows that wait, what is decided is right; then they are put in, and so on. A dropped row whose witness
    # stays has no say in anything.
    while len(waiting):
        looked_at += len(waiting)
        if looked_at > WORTH * len(keys):
            return Decisions(keys, *anew())
        now, found = walk(waiting, keep)
        witness[waiting] = found[waiting]
        gone = np.flatnonzero(keep & ~now)
        witness[gone] = found[gone]
        keep = now
        dropped = np.flatnonzero(~keep)
        orphans = dropped[~keep[witness[dropped]]]
        if alike is not None and len(orphans):
            heirs = witness[witness[orphans]]  # what took the witness
            held = alike(orphans, heirs)
            witness[orphans[held]] = heirs[held]
            orphans = orphans[~held]
        waiting = orphans
    return Decisions(keys, keep, witness)


def by_pairs(pairs: Pairs) -> Walk:
    """Go through rows by all their pairs."""

    def walk(few: Index, keep: Mask) -> tuple[Mask, Index]:
        now, witness = keep.copy(), np.full(len(keep), -1, np.int64)
        now[few] = True
        near: dict[int, list[int]] = {row: [] for row in few.tolist()}
        for row, other in zip(*(side.tolist() for side in pairs(few, np.flatnonzero(now))), strict=True):
            near[row].append(other)
            near.setdefault(other, []).append(row)
        for row in sorted(near):
            before = [other for other in near[row] if other < row and now[other]]
            now[row] = not before
            if before:
                witness[row] = min(before)
        return now, witness

    return walk


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
