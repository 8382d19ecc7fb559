"""Several texts as one training: blocks of each, in stated ratios, none repeated before it is used up."""

from collections.abc import Sequence
from typing import overload

import numpy as np

from belle.errors import InputError
from belle.train.batches import Example
from belle.train.tokens import Tokens


class Blocks(Sequence[Example]):
    """Texts as blocks of ``size`` tokens: each text's documents put end to end and cut, what is left over dropped.

    Blocks are read when they are asked for, so the texts may be larger than memory.

    Raises:
        InputError: a text is shorter than one block.
    """

    def __init__(self, texts: Sequence[Tokens], names: Sequence[str], size: int) -> None:
        self.texts = texts
        self.size = size
        self.counts = [len(text.ids) // size for text in texts]
        self.firsts = np.concatenate([[0], np.cumsum(self.counts)])
        for text, name, count in zip(texts, names, self.counts, strict=True):
            if not count:
                raise InputError(
                    f"it has {len(text.ids)} tokens, fewer than one block of {size}",
                    where=name,
                    cause="a text that was not written to its end, or a block_size meant for more",
                    fix="lower pretrain.block_size or give a longer text",
                )

    def __len__(self) -> int:
        return int(self.firsts[-1])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each block, int64."""
        return np.full(len(self), self.size, np.int64)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        text = int(np.searchsorted(self.firsts, at, side="right")) - 1
        begin = (at - int(self.firsts[text])) * self.size
        ids = np.array(self.texts[text].ids[begin : begin + self.size])
        return Example(ids, ids)


def pass_sizes(counts: Sequence[int], ratios: Sequence[int]) -> list[int]:
    """How many blocks of each text one pass holds: in the ratios, and as many as repeat no block.

    Without ratios, all of them. With ratios the scarcest text is seen whole and of the others a part, another in each
    pass (ChatHome's 1:5, arXiv 2307.15290). A text never gets none.
    """
    if not ratios:
        return list(counts)
    scarcest = min(range(len(counts)), key=lambda at: counts[at] / ratios[at])
    return [max(1, counts[scarcest] * ratio // ratios[scarcest]) for ratio in ratios]


def order(counts: Sequence[int], ratios: Sequence[int], total: int, seed: int) -> np.ndarray:
    """Which block comes when: ``total`` numbers of blocks, int64.

    Each text is gone through in a shuffled order, and in another one when it is used up; the passes are shuffled.
    """
    firsts = np.concatenate([[0], np.cumsum(counts)])
    sizes = pass_sizes(counts, ratios)
    passes = -(-total // sum(sizes))
    streams = []
    for text, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        rounds = -(-passes * size // count)
        stream = [np.random.default_rng([seed, text, at]).permutation(count) for at in range(rounds)]
        streams.append(np.concatenate(stream)[: passes * size].reshape(passes, size) + firsts[text])
    together = np.concatenate(streams, axis=1)
    for number, row in enumerate(together):
        np.random.default_rng([seed, len(counts), number]).shuffle(row)
    return together.reshape(-1)[:total].astype(np.int64)
