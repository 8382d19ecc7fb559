"""A small language model of characters: how surprised it is by a text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]

ORDER = 3
ALPHABET = 8_000
"""How many characters the model takes there to be: those it never saw share what is left over."""

_BITS = 21  # of a code point
_DIGIT = ord("0")


def _codes(text: str) -> Longs:
    """The characters that are modelled: width folded, one digit for all, a line end as one, other white space gone."""
    lines = ("".join(line.split()) for line in unicodedata.normalize("NFKC", text).split("\n"))
    joined = "\n".join(line for line in lines if line)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    codes[(codes >= _DIGIT) & (codes < _DIGIT + 10)] = _DIGIT
    return codes


def _packed(codes: Longs, size: int) -> Longs:
    """Each run of ``size`` characters as one number; runs that begin before the text begin with zeros [C]."""
    padded = np.concatenate([np.zeros(size - 1, np.int64), codes])
    found = np.zeros(len(codes), np.int64)
    for offset in range(size):
        found = (found << _BITS) | padded[offset : offset + len(codes)]
    return found


class _Counts:
    """Number → a count for each of some numbers, 0 for all others."""

    def __init__(self, numbers: Longs, counts: Longs) -> None:
        self.numbers, self.counts = numbers, counts

    def of(self, asked: Longs) -> Longs:
        if not len(self.numbers):
            return np.zeros(len(asked), np.int64)
        places = np.minimum(np.searchsorted(self.numbers, asked), len(self.numbers) - 1)
        return np.where(self.numbers[places] == asked, self.counts[places], 0)


class CharacterModel:
    """An n-gram model of characters with Witten and Bell's interpolation (1991).

    p(c | h) = (n(hc) + t(h) p(c | h')) / (n(h) + t(h)), with n how often, t with how many different characters after
    it, h' the context without its first character, and below it the same chance for each of ``ALPHABET`` characters.

    Args:
        texts: What it is trained on.
        max_chars: How many characters are read of them.
    """

    def __init__(self, texts: Iterable[str], max_chars: int = 20_000_000) -> None:
        parts: list[Longs] = []
        size = 0
        for text in texts:
            parts.append(_codes(text)[: max_chars - size])
            size += len(parts[-1])
            if size >= max_chars:
                break
        self.characters = size
        self._grams: list[_Counts] = []
        self._totals: list[_Counts] = []
        self._kinds: list[_Counts] = []
        for order in range(1, ORDER + 1):
            every = np.concatenate([np.zeros(0, np.int64), *(_packed(part, order) for part in parts)])
            grams, counts = np.unique(every, return_counts=True)
            contexts, first, kinds = np.unique(grams >> _BITS, return_index=True, return_counts=True)
            totals = np.add.reduceat(counts, first) if len(first) else counts
            self._grams.append(_Counts(grams, counts))
            self._totals.append(_Counts(contexts, totals))
            self._kinds.append(_Counts(contexts, kinds))

    def save(self, folder: Path) -> None:
        """Write what it has counted, so that processes can share it in memory."""
        for name, several in self._parts().items():
            for order, counts in enumerate(several):
                np.save(folder / f"{name}{order}.numbers.npy", counts.numbers)
                np.save(folder / f"{name}{order}.counts.npy", counts.counts)

    @classmethod
    def load(cls, folder: Path) -> CharacterModel:
        """The model that was saved in a folder; what it counted is read as it is asked for."""
        model = cls([])
        for name, several in model._parts().items():
            for order, counts in enumerate(several):
                counts.numbers = np.load(folder / f"{name}{order}.numbers.npy", mmap_mode="r")
                counts.counts = np.load(folder / f"{name}{order}.counts.npy", mmap_mode="r")
        return model

    def _parts(self) -> dict[str, list[_Counts]]:
        return {"grams": self._grams, "totals": self._totals, "kinds": self._kinds}

    def perplexity(self, text: str) -> float:
        """The perplexity of a character of the text, 1 to infinity; that of an empty text is 1."""
        codes = _codes(text)
        if not len(codes):
            return 1.0
        chance: npt.NDArray[np.float64] = np.full(len(codes), 1.0 / ALPHABET)
        for order in range(1, ORDER + 1):
            grams = _packed(codes, order)
            contexts = grams >> _BITS
            total, kinds = self._totals[order - 1].of(contexts), self._kinds[order - 1].of(contexts)
            seen = total > 0
            mixed = (self._grams[order - 1].of(grams) + kinds * chance) / np.maximum(total + kinds, 1)
            chance = np.where(seen, mixed, chance)
        # math.log, not NumPy's: that one's last bit differs between processors
        return math.exp(-math.fsum(map(math.log, chance.tolist())) / len(codes))
