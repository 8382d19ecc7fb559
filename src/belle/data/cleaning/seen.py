"""What was seen of a file's rows, all in one place, as arrays that can be cut up and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from belle.data.cleaning.looked import WIDE, Looked
from belle.data.cleaning.same import Index, Keys, keys_of
from belle.data.cleaning.signed import Signed
from belle.data.contamination.overlap import Overlap

Ints = npt.NDArray[np.int32]
Runs = list[tuple[int, int]]


@dataclass
class Seen:
    """``n`` rows in the order of their file; ``p`` of them pass by themselves. See ``Looked`` for what is what.

    Attributes:
        keys, ids [n, 2]; starts [n] (bytes from the file's beginning), sizes [n]; reasons, kinds [n]; chars [n, 3].
        passing: Which rows pass, rising [p].
        digests: [p, 2].
        tokens: ROUGE-L tokens end to end, words numbered by ``words``; ``token_starts`` [p + 1].
        signatures: MinHash of each row's text [p]; of none where nobody asks for them.
        mended: Row → line to write instead of its own.
        overlaps: Row → what it has in common with an evaluation row.
    """

    keys: Keys
    ids: Keys
    starts: Index
    sizes: Ints
    reasons: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint16]
    kind_names: list[str]
    chars: npt.NDArray[np.uint32]
    digests: Keys
    tokens: Ints
    token_starts: Index
    words: list[str]
    signatures: Signed
    mended: dict[int, bytes]
    overlaps: dict[int, Overlap]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def passing(self) -> Index:
        """The rows that pass by themselves."""
        return np.flatnonzero(self.reasons == 0)


def gathered(blocks: Iterable[tuple[int, Looked, npt.NDArray[np.uint32]]]) -> Seen:
    """Put blocks together, each given with where it begins in the file and the signatures of its passing rows."""
    words, kinds = dict[str, int](), {"": 0}
    parts: dict[str, list[npt.NDArray[np.generic]]] = {
        name: [] for name in (
            "keys", "ids", "starts", "sizes", "reasons", "kinds", "chars", "digests", "tokens", "counts", "signatures",
        )
    }  # fmt: skip
    mended: dict[int, bytes] = {}
    overlaps: dict[int, Overlap] = {}
    rows = 0
    for start, seen, signatures in blocks:
        spans = np.frombuffer(seen.spans, np.uint32).reshape(-1, 2)
        flat = np.frombuffer(seen.tokens, np.uint32).astype(np.int32)
        if seen.words:
            ours = np.array([words.setdefault(word, len(words)) for word in seen.words], np.int32)
            wide = flat >= WIDE
            flat[wide] = WIDE + ours[flat[wide] - WIDE]
        names = np.array([kinds.setdefault(name, len(kinds)) for name in seen.kind_names], np.uint16)
        for name, array in (
            ("keys", keys_of(seen.keys)),
            ("ids", keys_of(seen.ids)),
            ("starts", spans[:, 0].astype(np.int64) + start),
            ("sizes", spans[:, 1].astype(np.int32)),
            ("reasons", np.frombuffer(seen.reasons, np.uint8)),
            ("kinds", names[np.frombuffer(seen.kinds, np.uint16)]),
            ("chars", np.frombuffer(seen.chars, np.uint32).reshape(-1, 3)),
            ("digests", keys_of(seen.digests)),
            ("tokens", flat),
            ("counts", _counts(seen)),
            ("signatures", signatures),
        ):
            parts[name].append(array)
        mended.update((rows + row, line) for row, line in seen.mended.items())
        overlaps.update((rows + row, overlap) for row, overlap in seen.overlaps.items())
        rows += len(seen.reasons)
    if not rows:
        return empty()
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    counts, signatures = whole.pop("counts"), whole.pop("signatures")
    return Seen(
        **whole,
        signatures=Signed.of(signatures),
        token_starts=_starts(counts),
        words=list(words),
        kind_names=list(kinds),
        mended=mended,
        overlaps=overlaps,
    )  # type: ignore[arg-type]


def empty() -> Seen:
    """No rows."""
    none = np.zeros((0, 2), np.uint64)
    return Seen(
        keys=none, ids=none, starts=np.zeros(0, np.int64), sizes=np.zeros(0, np.int32), reasons=np.zeros(0, np.uint8),
        kinds=np.zeros(0, np.uint16), kind_names=[""], chars=np.zeros((0, 3), np.uint32), digests=none,
        tokens=np.zeros(0, np.int32), token_starts=np.zeros(1, np.int64), words=[],
        signatures=Signed((), np.zeros(0, np.int64)), mended={}, overlaps={},
    )  # fmt: skip


def taken(old: Seen, new: Seen, order: Index) -> Seen:
    """Rows of both, numbered as if the new ones stood behind the old, in another order, some left out, some twice.

    ``starts`` are those that each had.
    """
    words = {word: number for number, word in enumerate(old.words)}
    kinds = {name: number for number, name in enumerate(old.kind_names)}
    tokens = new.tokens
    if new.words:
        theirs = np.array([words.setdefault(word, len(words)) for word in new.words], np.int32)
        tokens = tokens.copy()
        tokens[tokens >= WIDE] = WIDE + theirs[tokens[tokens >= WIDE] - WIDE]
    names = np.array([kinds.setdefault(name, len(kinds)) for name in new.kind_names], np.uint16)

    rows = _apart(runs(order), len(old))
    before = np.zeros(len(old) + len(new) + 1, np.int64)
    np.cumsum(np.concatenate([old.reasons, new.reasons]) == 0, out=before[1:])
    first, last = (before[list(side)].tolist() for side in (zip(*rows, strict=True) if rows else ((), ())))
    passing = [(start, end) for start, end in zip(first, last, strict=True) if end > start]
    starts = np.concatenate([old.token_starts, new.token_starts[1:] + old.token_starts[-1]])
    spans = [(int(starts[start]), int(starts[end])) for start, end in passing]
    overlaps = {**old.overlaps, **{row + len(old): overlap for row, overlap in new.overlaps.items()}}
    return Seen(
        keys=_cut(old.keys, new.keys, rows), ids=_cut(old.ids, new.ids, rows),
        starts=_cut(old.starts, new.starts, rows), sizes=_cut(old.sizes, new.sizes, rows),
        reasons=_cut(old.reasons, new.reasons, rows),
        kinds=_cut(old.kinds, names[new.kinds], rows), kind_names=list(kinds),
        chars=_cut(old.chars, new.chars, rows),
        digests=_cut(old.digests, new.digests, passing),
        tokens=_cut(old.tokens, tokens, spans), token_starts=_starts(cut(np.diff(starts), passing)), words=list(words),
        signatures=old.signatures.behind(
            new.signatures, _cut(old.signatures.places, new.signatures.places + old.signatures.size, passing)
        ),
        mended=_moved({**old.mended, **{row + len(old): line for row, line in new.mended.items()}}, order),
        overlaps=_moved(overlaps, order),
    )  # fmt: skip


def _apart(ranges: Runs, edge: int) -> Runs:
    """Ranges none of which goes over the edge."""
    found = []
    for start, end in ranges:
        found += [(start, edge), (edge, end)] if start < edge < end else [(start, end)]
    return found


def _cut(old: Any, new: Any, ranges: Runs) -> Any:
    """The ranges of two arrays as if one stood behind the other, none over the edge between them, end to end."""
    edge = len(old)
    if not any(end > edge for _, end in ranges):
        return cut(old, ranges)
    parts = (old[start:end] if end <= edge else new[start - edge : end - edge] for start, end in ranges)
    return np.concatenate([old[:0], *parts])


def _moved(of_rows: dict[int, Any], order: Index) -> dict[int, Any]:
    if not of_rows:
        return {}
    places = np.flatnonzero(np.isin(order, list(of_rows)))
    return {place: of_rows[row] for place, row in zip(places.tolist(), order[places].tolist(), strict=True)}


def runs(order: Index) -> Runs:
    """``order`` as ranges of indexes that follow each other."""
    if not len(order):
        return []
    breaks = np.flatnonzero(np.diff(order) != 1) + 1
    firsts = order[np.concatenate([[0], breaks])].tolist()
    lasts = order[np.concatenate([breaks - 1, [len(order) - 1]])].tolist()
    return [(first, last + 1) for first, last in zip(firsts, lasts, strict=True)]


def cut(array: Any, ranges: Sequence[tuple[int, int]]) -> Any:
    """The ranges of an array, end to end."""
    if len(ranges) == 1:
        start, end = ranges[0]
        return array[start:end]
    return np.concatenate([array[:0], *(array[start:end] for start, end in ranges)])


def _counts(seen: Looked) -> Index:
    if not seen.token_counts:  # nobody asked for tokens
        return np.zeros(seen.reasons.count(0), np.int64)
    return np.frombuffer(seen.token_counts, np.uint32).astype(np.int64)


def _starts(counts: Index) -> Index:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts
