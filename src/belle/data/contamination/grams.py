"""Which texts may share an n-gram with the evaluation sets: a sieve that holds back none that does.

Every n-gram of 3b - 1 characters holds two neighbouring blocks of a text that is cut into blocks of b, wherever the
cuts are, and every one of 2b - 1 holds one. So a text is looked at block by block, not character by character.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from belle.data.contamination.codes import Codes, Keys

Hashes = npt.NDArray[np.uint32]
Longs = npt.NDArray[np.int64]

_BASE = 0x9E3779B1
_SPREAD = np.uint32(0x85EBCA6B)
_SLOTS_PER_GRAM = 32
_MOST_BITS = 22


def codes_of(key: str) -> Codes:
    """A key's code points."""
    return np.frombuffer(key.encode("utf-32-le"), np.uint32)


def hashes(codes: Codes, gram: int) -> Hashes:
    """A hash for each n-gram of ``codes`` [C] → [C - gram + 1]."""
    return _polynomial([codes[offset : max(0, len(codes) - gram + 1) + offset] for offset in range(gram)])


def _polynomial(columns: list[Codes]) -> Hashes:
    found = columns[0].copy()
    for column in columns[1:]:
        found *= np.uint32(_BASE)
        found += column
    return found


class HashSet:
    """A set of hashes, asked for many at once: a table of bits sorts out most, a sorted array decides."""

    def __init__(self, members: Hashes) -> None:
        self._members = np.unique(members)
        bits = min(max(10, (len(self._members) * _SLOTS_PER_GRAM).bit_length()), _MOST_BITS)
        self._shift = np.uint32(32 - bits)
        self._slots = np.zeros(1 << bits, np.bool_)
        self._slots[(self._members * _SPREAD) >> self._shift] = True

    def where(self, asked: Hashes) -> Longs:
        """The places in ``asked`` of hashes that are members, ascending."""
        if not len(self._members):
            return np.zeros(0, np.int64)
        slots = asked * _SPREAD
        slots >>= self._shift
        likely = np.flatnonzero(self._slots[slots])
        values = asked[likely]
        places = np.searchsorted(self._members, values)
        places[places == len(self._members)] = 0
        return likely[self._members[places] == values]


class Places:
    """Where each n-gram of a text stands in it.

    Args:
        text: Keys, with line ends between them; no n-gram runs over one.
        gram: The n.
    """

    def __init__(self, text: str, gram: int) -> None:
        self._codes, self._gram = codes_of(text), gram
        found = hashes(self._codes, gram)
        breaks = np.concatenate([[0], np.cumsum(self._codes == ord("\n"))])
        within = np.flatnonzero(breaks[gram:] == breaks[: len(found)]) if len(found) else np.zeros(0, np.int64)
        order = within[np.argsort(found[within], kind="stable")]
        self._places = order.astype(np.int32)
        self._hashes = found[order]
        self.all = HashSet(self._hashes)

    def shared(self, key: str) -> tuple[Longs, Longs]:
        """Every pair of places at which a key and the text have the same n-gram: those in the key, in the text."""
        codes = codes_of(key)
        found = hashes(codes, self._gram)
        likely = self.all.where(found)
        begin = np.searchsorted(self._hashes, found[likely], "left")
        counts = np.searchsorted(self._hashes, found[likely], "right") - begin
        here = np.repeat(likely, counts)
        there = self._places[np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(len(here))]
        steps = np.arange(self._gram)  # equal hashes are no proof
        same = (codes[here[:, None] + steps] == self._codes[there[:, None] + steps]).all(axis=1)
        return here[same], there[same].astype(np.int64)


class Sieve:
    """Finds the texts that may share an n-gram with the questions, or hold a whole short one.

    Args:
        long: Keys of questions of at least ``gram`` characters: an n-gram of them counts.
        short: Keys of at least ``least`` characters, to be found whole.
        places: Where the n-grams of the questions are.
        gram: The n of the n-grams.
        least: The least length of a key in ``short``.
    """

    def __init__(self, long: Iterable[str], short: Iterable[str], places: Places, *, gram: int, least: int) -> None:
        self._gram, self._grams = gram, places.all
        short = list(short)
        self._block = max(1, min((gram + 1) // 3, (least + 1) // 2) if short else (gram + 1) // 3)
        self._pairs = _hash_set(long, 2 * self._block)
        self._singles = _hash_set(short, self._block)
        self._short: dict[int, list[str]] = {}
        for key in short:
            for value in set(hashes(codes_of(key), self._block).tolist()):
                self._short.setdefault(value, []).append(key)

    def suspects(self, keys: Keys) -> tuple[list[int], set[tuple[int, str]]]:
        """The texts that share an n-gram, by its hash, and those that may hold a short key, with the key.

        Texts are numbered as in ``keys``. A text that is not among them does neither.
        """
        size = self._block
        count = len(keys.codes) // size
        blocks = _polynomial(list(keys.codes[: count * size].reshape(count, size).T))
        pairs = blocks[:-1] * np.uint32(pow(_BASE, size, 1 << 32))
        pairs += blocks[1:]
        # A text's END comes after all of its blocks.
        sharing = np.unique(np.searchsorted(keys.ends, self._pairs.where(pairs) * size))
        singles = self._singles.where(blocks)
        texts = np.searchsorted(keys.ends, singles * size).tolist()
        holding = {
            (text, short)
            for text, value in zip(texts, blocks[singles].tolist(), strict=True)
            for short in self._short[value]
        }
        return list(self._sharing(keys, sharing.tolist())), holding

    def _sharing(self, keys: Keys, texts: list[int]) -> Iterator[int]:
        """Those of ``texts`` that share a whole n-gram, by its hash."""
        if not texts:
            return
        parts = [keys.codes[keys.start(number) : keys.ends[number] + 1] for number in texts]
        ends = np.cumsum([len(part) for part in parts]) - 1
        for place in np.unique(
            np.searchsorted(ends, self._grams.where(hashes(np.concatenate(parts), self._gram)))
        ).tolist():
            yield texts[place]


def _hash_set(keys: Iterable[str], gram: int) -> HashSet:
    return HashSet(np.concatenate([np.zeros(0, np.uint32), *(hashes(codes_of(key), gram) for key in keys)]))
