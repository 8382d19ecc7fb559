"""What a document goes through, and the counts of where it ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from typing import Any

from belle.data.text.heuristics import DocumentFilter
from belle.data.text.lines import LineFilter


class Lines:
    """The filters of lines, in their order.

    Args:
        filters: The first that names a reason decides.
        boilerplate: Keys of lines that stand in too many documents.
        key: What makes two lines the same.
    """

    def __init__(self, filters: Sequence[LineFilter], boilerplate: Set[bytes], key: Any) -> None:
        self._filters, self._boilerplate, self._key = filters, boilerplate, key

    def clean(self, text: str) -> tuple[list[str], list[tuple[str, str]]]:
        """The lines that stay, outer white space taken off, and those that go, each with its reason."""
        kept: list[str] = []
        dropped: list[tuple[str, str]] = []
        seen: set[bytes] = set()
        for line in text.split("\n"):
            reason = next((reason for each in self._filters if (reason := each(line))), None)
            if reason is None:
                key = self._key(line)
                if key in self._boilerplate:
                    reason = "line_in_many_documents"
                elif key in seen:
                    reason = "line_repeated"
                seen.add(key)
            if reason is None:
                kept.append(line.strip())
            else:
                dropped.append((reason, line))
        return kept, dropped


def first_reason(filters: Sequence[DocumentFilter], text: str) -> str | None:
    """The reason of the first filter that has one."""
    return next((reason for each in filters if (reason := each(text))), None)


class Ledger:
    """Counts where documents and lines ended, and keeps some of the rejected.

    Args:
        documents: The reasons a document can go for, in the order of the report.
        lines: Those of a line.
        rejects: How many of each are kept; 0: all.
    """

    def __init__(self, documents: Sequence[str], lines: Sequence[str], rejects: int) -> None:
        self.reasons = dict.fromkeys(documents, 0)
        self.line_reasons = dict.fromkeys(lines, 0)
        self.documents_in = self.documents_out = 0
        self.lines_in = self.lines_out = self.lines_of_dropped = 0
        self.chars_in = self.chars_out = 0
        self._rejects = rejects
        self._kept: Counter[str] = Counter()
        self._samples: defaultdict[str, list[str]] = defaultdict(list)

    def wants(self, reason: str) -> bool:
        """Whether one more reject of this reason is to be written."""
        self._kept[reason] += 1
        return not self._rejects or self._kept[reason] <= self._rejects

    def dropped(self, name: str, reason: str, lines: int) -> None:
        """Count a document that goes, with all lines that were left of it."""
        self.reasons[reason] += 1
        self.lines_of_dropped += lines
        if len(self._samples[reason]) < 3:
            self._samples[reason].append(name)

    def as_json(self) -> dict[str, Any]:
        """The counts; documents and lines in are those out and the sum of the reasons.

        Raises:
            AssertionError: they are not.
        """
        documents = self.documents_out + sum(self.reasons.values())
        lines = self.lines_out + sum(self.line_reasons.values()) + self.lines_of_dropped
        if (documents, lines) != (self.documents_in, self.lines_in):
            raise AssertionError(
                f"{self.documents_in} documents and {self.lines_in} lines in, {documents} and {lines} counted"
            )
        return {
            "documents_in": self.documents_in,
            "documents_out": self.documents_out,
            "reasons": self.reasons,
            "samples": {reason: self._samples.get(reason, []) for reason in self.reasons},
            "lines_in": self.lines_in,
            "lines_out": self.lines_out,
            "line_reasons": self.line_reasons,
            "lines_of_dropped_documents": self.lines_of_dropped,
            "chars_in": self.chars_in,
            "chars_out": self.chars_out,
        }
