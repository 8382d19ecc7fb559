"""Which texts may share an n-gram with the evaluation sets: a sieve that holds back none that does.

Every n-gram of 3b - 1 characters holds two neighbouring blocks of a text that is cut into blocks of b, wherever the
cuts are, and every one of 2b - 1 holds one. So a text is looked at block by block, not character by character.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from belle.data.contamination.codes import Codes, Keys

Hashes = npt.NDArray[np.uint32]
Longs = npt.NDArray[np.int64]

_BASE = np.uint32(0x9E3779B1)
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_SLOTS_PER_GRAM = 32
_MOST_BITS = 22


def codes_of(key: str) -> Codes:
    """A key's code points."""
    return np.frombuffer(key.encode("utf-16-le"), np.uint16)


def hashes(codes: Codes, gram: int) -> Hashes:
    """A hash for each n-gram of ``codes`` [C] → [C - gram + 1]."""
    count = max(0, len(codes) - gram + 1)
    found = codes[:count].astype(np.uint32)
    for offset in range(1, gram):
        found *= _BASE
        found += codes[offset : offset + count]
    return found


def block_hashes(blocks: Codes) -> Longs:
    """A hash for each row of ``blocks`` [N, b], 0 or more."""
    if blocks.shape[1] % 4:
        blocks = np.pad(blocks, ((0, 0), (0, -blocks.shape[1] % 4)))
    fours = np.ascontiguousarray(blocks).view(np.uint64)
    found = fours[:, 0] * _FACTORS[0]
    found ^= found >> np.uint64(29)
    found *= _FACTORS[1]
    for place in range(1, fours.shape[1]):
        found += fours[:, place]
        found ^= found >> np.uint64(29)
        found *= _FACTORS[place % len(_FACTORS)]
    return (found >> np.uint64(1)).view(np.int64)


def pair_hashes(blocks: Longs) -> Longs:
    """A hash for each two neighbours in ``blocks`` [N] → [N - 1]."""
    found = blocks[:-1].view(np.uint64) * _FACTORS[-1]
    found += blocks[1:].view(np.uint64)
    found *= _FACTORS[0]
    return (found >> np.uint64(1)).view(np.int64)


class HashSet:
    """A set of hashes, asked for many at once: a table of bits sorts out most, a sorted array decides."""

    def __init__(self, members: Longs) -> None:
        self._members = np.unique(members)
        bits = min(max(10, (len(self._members) * _SLOTS_PER_GRAM).bit_length()), _MOST_BITS)
        self._shift = 63 - bits
        self._slots = np.zeros(1 << bits, np.bool_)
        self._slots[self._members >> self._shift] = True

    def where(self, asked: Longs) -> Longs:
        """The places in ``asked`` of hashes that are members, ascending."""
        if not len(self._members):
            return np.zeros(0, np.int64)
        likely = np.flatnonzero(self._slots.take(asked >> self._shift))
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
        codes = codes_of(text)
        self._said, self._gram = codes.tobytes(), gram
        found = hashes(codes, gram)
        breaks = np.concatenate([[0], np.cumsum(codes == ord("\n"))])
        within = np.flatnonzero(breaks[gram:] == breaks[: len(found)]) if len(found) else np.zeros(0, np.int64)
        order = within[np.argsort(found[within], kind="stable")]
        self._places = order.astype(np.int32)
        self._hashes = found[order]
        self._all = HashSet(self._hashes.astype(np.int64) << 31)

    def shared(self, codes: Codes) -> tuple[list[tuple[int, bytes]], dict[bytes, list[int]]]:
        """The n-grams of ``codes`` that the text has.

        Returns:
            Each place in ``codes`` with the n-gram there, ascending, and each n-gram's places in the text. Both sides
            apart: together they would be too many where one character is said over and over.
        """
        found = hashes(codes, self._gram)
        likely = self._all.where(found.astype(np.int64) << 31)
        begin = np.searchsorted(self._hashes, found[likely], "left").tolist()
        end = np.searchsorted(self._hashes, found[likely], "right").tolist()
        said, size = codes.tobytes(), 2 * self._gram
        here: list[tuple[int, bytes]] = []
        there: dict[bytes, list[int]] = {}
        for start, low, high in zip(likely.tolist(), begin, end, strict=True):
            gram = said[2 * start : 2 * start + size]
            if gram not in there:
                # equal hashes are no proof
                places = self._places[low:high].tolist()
                there[gram] = [place for place in places if self._said[2 * place : 2 * place + size] == gram]
            if there[gram]:
                here.append((start, gram))
        return here, there


class Sieve:
    """Finds the texts that share blocks with the questions.

    Args:
        long: Keys of questions of at least ``gram`` characters: an n-gram of them counts.
        short: Keys of at least ``least`` characters, to be found whole.
        gram: The n of the n-grams.
        least: The least length of a key in ``short``.
    """

    def __init__(self, long: Iterable[str], short: Iterable[str], *, gram: int, least: int) -> None:
        short = list(short)
        self._block = max(1, min((gram + 1) // 3, (least + 1) // 2) if short else (gram + 1) // 3)
        size = self._block
        windows = [self._windows(key) for key in long]
        # The neighbour of a block begins where the block ends.
        pairs = [pair_hashes(np.stack([found[:-size], found[size:]], axis=1).ravel())[::2] for found in windows]
        self._pairs = HashSet(np.concatenate([np.zeros(0, np.int64), *pairs]))
        self._short: dict[int, list[str]] = {}
        for key in short:
            for value in set(self._windows(key).tolist()):
                self._short.setdefault(value, []).append(key)
        self._singles = HashSet(np.array(list(self._short), np.int64))

    def _windows(self, key: str) -> Longs:
        return block_hashes(np.lib.stride_tricks.sliding_window_view(codes_of(key), self._block))

    def suspects(self, keys: Keys) -> tuple[list[int], set[tuple[int, str]]]:
        """The texts that may share an n-gram, ascending, and those that may hold a short key, with the key.

        Texts are numbered as in ``keys``. A text that is not among them does neither.
        """
        size = self._block
        count = len(keys.codes) // size
        blocks = block_hashes(keys.codes[: count * size].reshape(count, size))
        # A text's END comes after all of its blocks.
        sharing = np.unique(np.searchsorted(keys.ends, self._pairs.where(pair_hashes(blocks)) * size)).tolist()
        singles = self._singles.where(blocks)
        texts = np.searchsorted(keys.ends, singles * size).tolist()
        holding = {
            (text, short)
            for text, value in zip(texts, blocks[singles].tolist(), strict=True)
            for short in self._short[value]
        }
        return sharing, holding
