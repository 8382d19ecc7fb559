"""What the overlap of a whole set with the evaluation sets comes to: the part of a report about it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from belle.data.contamination.overlap import Overlap

TOP = 10
"""How many overlaps a report shows, of those that contaminate and of those that were kept."""

_TENTHS = 10


class Tally:
    """Counts overlaps. Tallies of parts of a set, merged in any order, are the tally of the whole."""

    def __init__(self) -> None:
        self._rows = 0
        self._removed: Counter[str] = Counter()
        self._shares: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
        self._top: dict[bool, list[tuple[float, int, str, Overlap]]] = {True: [], False: []}

    def add(self, row: str, overlap: Overlap | None) -> None:
        """Count a row.

        Args:
            row: Its id.
            overlap: What ``Contamination.check`` said of it.
        """
        self._rows += 1
        if overlap is None:
            return
        verdict = overlap.contaminates
        if verdict:
            self._removed[overlap.id] += 1
        self._shares[verdict][min(int(overlap.share * _TENTHS), _TENTHS - 1)] += 1
        self._top[verdict].append((-overlap.share, -overlap.run, row, overlap))
        if len(self._top[verdict]) > 10 * TOP:
            self._cut()

    def merge(self, other: Tally) -> None:
        """Add what another tally counted of other rows."""
        self._rows += other._rows
        self._removed += other._removed
        for verdict in (True, False):
            self._shares[verdict] += other._shares[verdict]
            self._top[verdict] += other._top[verdict]
        self._cut()

    def _cut(self) -> None:
        for verdict, found in self._top.items():
            self._top[verdict] = sorted(found, key=lambda item: item[:3])[:TOP]

    def as_json(self) -> dict[str, Any]:
        """The report: plain values, the same for the same rows in any order.

        Returns:
            ``rows`` looked at; ``contaminated``, by ``evaluation_sets`` and by ``evaluation_rows`` (an id's part before
            the slash is its set), the most frequent first; ``overlapping``: how many had an overlap that was let pass;
            ``shares``: counts of both by tenths of the share, 0.0 to 0.9; ``top``: the largest of both, each with the
            row, the evaluation row, the shares, the run and the text of it.
        """
        self._cut()
        sets: Counter[str] = Counter()
        for name, count in self._removed.items():
            sets[name.partition("/")[0]] += count
        names = {True: "contaminated", False: "kept"}
        return {
            "rows": self._rows,
            "contaminated": self._removed.total(),
            "overlapping": self._shares[False].total(),
            "evaluation_sets": _ranked(sets),
            "evaluation_rows": _ranked(self._removed),
            "shares": {
                names[verdict]: {f"{tenth / _TENTHS:.1f}": counts[tenth] for tenth in range(_TENTHS)}
                for verdict, counts in self._shares.items()
            },
            "top": {
                names[verdict]: [_shown(row, overlap) for _, _, row, overlap in found]
                for verdict, found in self._top.items()
            },
        }


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _shown(row: str, overlap: Overlap) -> dict[str, Any]:
    return {
        "row": row,
        "evaluation_row": overlap.id,
        "of_question": round(overlap.of_question, 3),
        "of_text": round(overlap.of_text, 3),
        "run": overlap.run,
        "shared": overlap.shared,
    }
