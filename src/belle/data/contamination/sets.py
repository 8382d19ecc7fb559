"""How much two sets of rows overlap: rows that are the same, that read the same, and that lie in one of the other's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from belle import jsonl
from belle.data import normalise
from belle.data.contamination.containment import Containment, Match, Packed, packed
from belle.errors import InputError
from belle.records import turns

PARTS = ("question", "row")
"""What can be compared: what is asked, or all that a row says."""

EXAMPLES = 5

_AT_ONCE = 2_000
_MOST_GRAMS = 30_000_000
_SHOWN = 80

Digests = npt.NDArray[np.uint64]


def texts(path: Path, part: str) -> Iterator[str]:
    """What each row of a JSON Lines file says, in any of the shapes that sets have.

    The shapes: ``conversations: [{from, value}]``, ``instruction, input, output``, ``question`` (and ``std_answer``),
    ``text``, and seed tasks, by their first instance. The question of a conversation is its first turn; that of a
    ``text`` is all of it.

    Raises:
        InputError: a row in none of these shapes, or a broken file.
    """
    for number, row in enumerate(jsonl.read(path), 1):
        yield _text(row, part, f"{path}, row {number}")


def _text(row: jsonl.Row, part: str, where: str) -> str:
    if "conversations" in row:
        said = [turn.text for turn in turns(row, where)]
        return said[0] if part == "question" else "\n".join(said)
    instances = row.get("instances")
    if isinstance(instances, list) and instances and isinstance(instances[0], dict):
        row = {**row, **instances[0]}  # a seed task; its first instance is what it says
    for field, others in (("instruction", ("input", "output")), ("question", ("std_answer",)), ("text", ())):
        if field in row:
            values = {name: row.get(name, "") for name in (field, *others)}
            for name, value in values.items():
                if not isinstance(value, str):
                    raise InputError(f"`{name}` must be text, found {value!r}", where=where)
            if part == "row":
                return "\n".join(values.values())
            return values[field] + values.get("input", "")
    raise InputError(
        f"none of the shapes that rows have; its keys are {', '.join(map(repr, row)) or '(none)'}",
        where=where,
        cause="another schema",
        fix="give rows instruction (input, output), conversations, question or text",
    )


@dataclass
class _Set:
    """What is kept of a set: digests of each row's text and key, and the n-grams of rows of different keys."""

    exact: Digests
    same: Digests
    grams: Packed

    @property
    def rows(self) -> int:
        return len(self.exact)


def overlap(a: Path, b: Path, *, part: str = "question", gram: int = 5, share: float = 0.8) -> dict[str, Any]:
    """Compare two sets.

    A row is counted once, as the first of: ``exact``, the other set has a row of the same text; ``normalised``, of the
    same key (width, case, variants, punctuation and white space aside); ``near``, one row of the other set has at
    least ``share`` of its n-grams. It takes 8 to 16 bytes a character of each set, up to about 1 GB; beyond that, one
    n-gram in several is looked at, and the report says so.

    Args:
        a, b: JSON Lines files, see ``texts``.
        part: One of ``PARTS``.
        gram: Characters of an n-gram.
        share: The least share.

    Returns:
        ``part, gram, share``, ``every`` (one n-gram in so many was looked at), and for ``a_in_b`` and ``b_in_a``:
        ``rows``, the counts ``exact, normalised, near``, ``overlapping`` (their sum) and its ``share``, and
        ``examples`` of each.

    Raises:
        InputError: a broken file, rows of unknown shape, or a setting out of range.
    """
    if part not in PARTS or gram < 1 or not 0 < share <= 1:
        raise InputError(
            f"part {part!r}, gram {gram}, share {share}: must be {' or '.join(PARTS)}, at least 1, over 0 and up to 1",
            where="overlap",
        )
    sizes = [Path(path).stat().st_size if Path(path).is_file() else 0 for path in (a, b)]
    every = 1 + max(sizes) // 3 // _MOST_GRAMS  # a character of Chinese is 3 bytes
    first, second = (_load(path, part, gram, every) for path in (a, b))
    return {
        "part": part,
        "gram": gram,
        "share": share,
        "every": every,
        "a_in_b": _one_way(first, second, (a, b), part, share),
        "b_in_a": _one_way(second, first, (b, a), part, share),
    }


def _load(path: Path, part: str, gram: int, every: int) -> _Set:
    exact: list[int] = []
    same: list[int] = []
    grams: list[Packed] = []
    seen: set[int] = set()
    rows = iter(tqdm(texts(path, part), desc=f"overlap: {Path(path).name}", unit="row", mininterval=1, delay=1))
    while portion := list(islice(rows, _AT_ONCE)):
        distinct = []
        for text in portion:
            exact.append(_digest(text))
            same.append(_digest(normalise.key(text)))
            # the n-grams of a key are the same each time; one row stands for all that have it
            distinct.append("" if same[-1] in seen else text)
            seen.add(same[-1])
        grams.append(packed(distinct, len(exact) - len(portion), gram, every))
    return _Set(np.array(exact, np.uint64), np.array(same, np.uint64), np.concatenate([np.zeros(0, np.uint64), *grams]))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _places(of: Digests, within: Digests) -> npt.NDArray[np.int64]:
    """For each of some digests the first place of it in others, -1 where there is none."""
    if not len(within):
        return np.full(len(of), -1)
    values, first = np.unique(within, return_index=True)
    found = np.minimum(np.searchsorted(values, of), len(values) - 1)
    return np.where(values[found] == of, first[found], -1)


def _one_way(mine: _Set, theirs: _Set, paths: tuple[Path, Path], part: str, share: float) -> dict[str, Any]:
    exact, same = _places(mine.exact, theirs.exact), _places(mine.same, theirs.same)
    kinds = {
        "exact": [Match(row, int(exact[row]), 1.0) for row in np.flatnonzero(exact >= 0).tolist()],
        "normalised": [
            Match(row, int(same[row]), 1.0) for row in np.flatnonzero((same >= 0) & (exact < 0)).tolist()
        ],
    }  # fmt: skip
    rows = (mine.grams >> np.uint64(32)).astype(np.int64)
    asked = mine.grams[same[rows] < 0] if mine.rows else mine.grams
    near = {match.row: match for match in _search(asked, Containment(theirs.grams), share)}
    # a row that stands for several of one key stands for them here, too
    stands = _places(mine.same, mine.same)
    kinds["near"] = [
        Match(row, near[first].other, near[first].share)
        for row, first in enumerate(stands.tolist())
        if same[row] < 0 and first in near
    ]
    counts = {kind: len(matches) for kind, matches in kinds.items()}
    total = sum(counts.values())
    return {
        "rows": mine.rows,
        **counts,
        "overlapping": total,
        "share": round(total / mine.rows, 6) if mine.rows else 0.0,
        "examples": _examples({kind: _telling(matches) for kind, matches in kinds.items()}, paths, part),
    }


def _search(asked: Packed, index: Containment, share: float) -> Iterator[Match]:
    rows = asked >> np.uint64(32)
    edges = np.searchsorted(rows, np.arange(0, int(rows[-1]) + 1 + _AT_ONCE, _AT_ONCE)).tolist() if len(rows) else [0]
    pairs = list(pairwise(edges))
    for begin, end in tqdm(pairs, desc="overlap: near", unit="portion", mininterval=1, delay=1):
        yield from index.find(asked[begin:end], share)


def _telling(matches: list[Match]) -> list[Match]:
    """Matches to show: evenly over all, so that not one corner of the set is seen."""
    step = max(1, len(matches) // EXAMPLES)
    return matches[::step][:EXAMPLES]


def _examples(kinds: dict[str, list[Match]], paths: tuple[Path, Path], part: str) -> dict[str, list[dict[str, Any]]]:
    wanted = [
        {getattr(match, side) for matches in kinds.values() for match in matches} for side in ("row", "other")
    ]  # fmt: skip
    said = [
        {number: text for number, text in enumerate(texts(path, part)) if number in numbers}
        for path, numbers in zip(paths, wanted, strict=True)
    ]
    return {
        kind: [
            {
                "row": match.row + 1,
                "other_row": match.other + 1,
                "share": round(match.share, 3),
                "text": said[0][match.row][:_SHOWN],
                "other_text": said[1][match.other][:_SHOWN],
            }
            for match in matches
        ]
        for kind, matches in kinds.items()
    }
