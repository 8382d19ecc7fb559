"""What one raw row tells by itself: whether it passes, and what later steps ask of it.

Imports little: this is what worker processes hold in memory, beside a megabyte of lines at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from xxhash import xxh3_128_digest

from belle import jsonl
from belle.data import filters as library
from belle.data.cleaning.bare import digests, digests_in
from belle.data.cleaning.looked import WIDE, Looked, RowFault
from belle.data.cleaning.plain import Plain
from belle.data.contamination.overlap import Contamination
from belle.data.filters.columns import NAMES, Texts
from belle.data.rouge.tokens import tokens
from belle.errors import InputError, shown
from belle.records import turns

CONTAMINATED = "contaminated"

_ALWAYS = ("output_too_short", "output_too_long", "not_utf8", CONTAMINATED)
_KINDS = ("category", "class", "task_type")
"""The keys that tell a row's class, the first that is there."""


@dataclass(frozen=True)
class Looking:
    """How rows are looked at: a recipe's settings, as plain values that travel to worker processes.

    Attributes:
        filters: As ``belle.data.filters.named`` takes them, in their order.
        compare: The text that novelty compares: ``instruction`` or ``instruction+input``.
        min_output_chars, max_output_chars: Limits of an output.
        tokens: Whether novelty will ask for tokens.
        near_duplicate_threshold: Up to 1, near-duplicates will ask for texts.
        evals: Names and paths of the evaluation sets that rows must not overlap with.
        contamination: From how much overlap on a row goes: settings of ``belle.data.contamination``.
    """

    filters: tuple[str, ...]
    compare: str
    min_output_chars: int
    max_output_chars: int
    tokens: bool
    near_duplicate_threshold: float
    evals: tuple[tuple[str, str], ...] = ()
    contamination: tuple[tuple[str, Any], ...] = ()

    def reasons(self) -> list[str]:
        """What the numbers of ``Looked.reasons`` from 1 on mean."""
        return [*(text.partition(":")[0] for text in self.filters), *_ALWAYS]

    def looker(self) -> Looker:
        """What looks at blocks by this recipe."""
        return Looker(self)


class _Passing(NamedTuple):
    """A row that passes the filters: its number, its texts, and its first question by itself."""

    row: int
    texts: Texts
    opening: str


class Looker:
    """Looks at blocks of lines by one recipe."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        names = {name: number for number, name in enumerate(looking.reasons(), 1)}
        least, most = looking.min_output_chars, looking.max_output_chars
        self._steps: list[library.Filter] = [
            *(library.named(text) for text in looking.filters),
            library.output_too_short(least),
            library.output_too_long(most),
        ]
        suspects = [
            *(library.suspects_of(text) for text in looking.filters),
            library.output_shorter(least),
            library.output_longer(most),
        ]
        self._searching = library.Searching(suspects)
        self._names = names
        evals = {name: Path(path) for name, path in looking.evals}
        self._contamination = Contamination.load(evals, **dict(looking.contamination)) if evals else None
        self._asks_texts = bool(evals) or looking.tokens or looking.near_duplicate_threshold <= 1

    def look(self, block: bytes) -> Looked:
        """Look at every row of a block of whole lines.

        Raises:
            RowFault: a line that is no row; the first of them.
        """
        plain = Plain.of(block)
        if plain is not None:
            return self._look_at_all(plain)
        seen, kinds, passing = Looked(), {"": 0}, list[_Passing]()
        start = 0
        while start < len(block):
            end = block.find(b"\n", start)
            end = len(block) if end < 0 else end
            line = block[start:end]
            seen.lines += 1
            stripped = line.strip()
            if stripped:
                first = start if len(stripped) == len(line) else start + line.index(stripped)
                texts = self._row(seen, stripped, first, kinds)
                if texts is not None:
                    passing.append(texts)
            start = end + 1
        seen.kind_names = list(kinds)
        clear = self._clear(seen, passing)
        seen.digests = bytearray(digests([text.texts for text in clear]))
        self._of_passing(seen, clear)
        return seen

    def _look_at_all(self, plain: Plain) -> Looked:
        """What looking at each row would see."""
        columns, kinds = plain.columns, {"": 0}
        spans = np.empty((len(columns), 2), np.uint32)
        spans[:, 1] = list(map(len, plain.lines))
        spans[:1, 0] = 0
        np.cumsum(spans[:-1, 1] + np.uint32(1), out=spans[1:, 0])
        reasons = self._reasons(plain)
        seen = Looked(
            lines=len(columns),
            keys=bytearray(b"".join(map(xxh3_128_digest, plain.lines))),
            spans=array("I", spans.tobytes()),
            reasons=reasons,
            ids=bytearray(b"".join([xxh3_128_digest(name.encode()) for name in plain.ids])),
            chars=array("I", columns.chars.astype(np.uint32).tobytes()),
        )
        if any(key in keys for keys in plain.keys for key in _KINDS):
            seen.kinds = array("H", [kinds.setdefault(_kind(row), len(kinds)) for row in plain.rows])
            seen.kind_names = list(kinds)
        else:
            seen.kinds = array("H", bytes(2 * len(columns)))
        rows = np.flatnonzero(np.frombuffer(reasons, np.uint8) == 0).tolist()
        if self._asks_texts:
            texts = columns.texts
            clear = self._clear(seen, [_Passing(row, texts[row], texts[row][0]) for row in rows])
            self._of_passing(seen, clear)
            rows = [text.row for text in clear]
        seen.digests = bytearray(digests_in(columns, rows))
        return seen

    def _reasons(self, plain: Plain) -> bytearray:
        reasons = bytearray(len(plain.rows))
        suspects: list[Iterable[int]] = self._searching.rows(plain.columns)
        for step, rows in zip(self._steps, suspects, strict=True):
            for row in rows:
                if not reasons[row] and (reason := step(plain.rows[row])):
                    reasons[row] = self._names[reason]
        return reasons

    def _row(self, seen: Looked, line: bytes, start: int, kinds: dict[str, int]) -> _Passing | None:
        row, odd = self._parse(line, seen)
        views = self._views(row, seen)
        seen.spans.extend((start, len(line)))
        seen.keys += xxh3_128_digest(line)
        seen.ids += xxh3_128_digest(row["id"].encode())
        seen.kinds.append(kinds.setdefault(_kind(row), len(kinds)))
        if len(views) == 1:
            view = views[0]
            texts = view["instruction"], view["input"], view["output"]
            seen.chars.extend((len(texts[0]), len(texts[1]), len(texts[2])))
        else:
            texts = "\n".join(view["instruction"] for view in views), "", "\n".join(view["output"] for view in views)
            seen.chars.extend((len(texts[0]) - len(views) + 1, 0, len(texts[2]) - len(views) + 1))
        reason = self._reason(views, odd)
        seen.reasons.append(reason)
        return None if reason else _Passing(len(seen.reasons) - 1, texts, views[0]["instruction"])

    def _clear(self, seen: Looked, passing: list[_Passing]) -> list[_Passing]:
        """The rows that do not overlap too much with an evaluation set."""
        if self._contamination is None:
            return passing
        overlaps = self._contamination.check(
            [(f"{asked}\n{given}", output) for _, (asked, given, output), _ in passing]
        )
        clear = []
        for text, overlap in zip(passing, overlaps, strict=True):
            if overlap is not None:
                seen.overlaps[text.row] = overlap
            if overlap is not None and overlap.contaminates:
                seen.reasons[text.row] = self._names[CONTAMINATED]
            else:
                clear.append(text)
        return clear

    def _of_passing(self, seen: Looked, passing: list[_Passing]) -> None:
        """What novelty and near-duplicates ask of rows that pass."""
        words: dict[str, int] = {}
        for _, texts, opening in passing:
            if self._looking.near_duplicate_threshold <= 1:
                utf8 = "\0".join(texts).encode()
                seen.texts += utf8
                seen.text_lengths.append(len(utf8))
            if self._looking.tokens:
                found = tokens(opening if self._looking.compare == "instruction" else f"{texts[0]}\n{texts[1]}")
                seen.token_counts.append(len(found))
                seen.tokens.extend(
                    ord(word) if word >= "\u3400" else WIDE + words.setdefault(word, len(words)) for word in found
                )
        seen.words = list(words)

    def _parse(self, line: bytes, seen: Looked) -> tuple[jsonl.Row, bool]:
        """The line's object, and whether it may hold what UTF-8 cannot (which orjson refuses)."""
        try:
            row = orjson.loads(line)
            # orjson takes the last of two equal keys for granted; as many ends of keys as keys: there are none
            if isinstance(row, dict) and line.count(b'":') == len(row) and b'" :' not in line:
                return row, False
        except orjson.JSONDecodeError:
            pass
        try:
            return jsonl.parse(line, ""), True
        except InputError as fault:
            raise RowFault("line", seen.lines, fault) from None

    def _views(self, row: jsonl.Row, seen: Looked) -> list[jsonl.Row]:
        """The row itself, or each question of a conversation with its answer."""
        number = len(seen.reasons) + 1
        try:
            _text(row, "id")
            if not row["id"] or not row["id"].isprintable():
                raise _not_text("id", row["id"])
            if "conversations" in row:
                said = [turn.text for turn in turns(row, "")]
                pairs = zip(said[::2], said[1::2], strict=True)
                return [{"instruction": human, "input": "", "output": answer} for human, answer in pairs]
            if "input" not in row:
                row["input"] = ""
                seen.mended[number - 1] = jsonl.dumps(row).encode("utf-8", "surrogatepass")
            for name in NAMES:
                _text(row, name)
        except InputError as fault:
            raise RowFault("row", number, fault) from None
        return [row]

    def _reason(self, views: Sequence[jsonl.Row], odd: bool) -> int:
        for step in self._steps:
            for view in views:
                if reason := step(view):
                    return self._names[reason]
        if odd and any(library.not_utf8(view) for view in views):
            return self._names["not_utf8"]
        return 0


def _kind(row: jsonl.Row) -> str:
    for key in _KINDS:
        value = row.get(key)
        if isinstance(value, str):
            return value
    return ""


def _text(row: jsonl.Row, name: str) -> None:
    if not isinstance(row.get(name), str):
        raise _not_text(name, row.get(name))


def _not_text(name: str, value: object) -> InputError:
    return InputError(
        f"`{name}` must be text, found {'nothing' if value is None else shown(value)}",
        cause="another schema than id, instruction, input, output",
        fix=f"give every row a `{name}`",
    )
