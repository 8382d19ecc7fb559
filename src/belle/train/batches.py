"""Tokenised examples, the order they are trained in, and how they are stacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from belle.prompts import IGNORE

SORTED_BATCHES = 16
"""Batches whose examples are sorted by length together: little padding, and still a shuffled order."""


@dataclass(frozen=True, eq=False)
class Example:
    """One training sequence: ``input_ids`` and ``labels``, both int32 [T]."""

    input_ids: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, input_ids: Sequence[int], labels: Sequence[int]) -> "Example":
        """Pack token ids and labels, 8 bytes a token."""
        return cls(np.array(input_ids, dtype=np.int32), np.array(labels, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained(self) -> int:
        """How many positions carry a label that the loss counts; the first position is never predicted."""
        return int((self.labels[1:] != IGNORE).sum())


class Sized(Protocol):
    """Anything to train on that has a length in tokens."""

    def __len__(self) -> int:
        """Tokens that it takes in a batch."""


Item = TypeVar("Item", bound=Sized)


def lengths_of(examples: Sequence[Item]) -> np.ndarray:
    """Tokens of each example, int64; a sequence that keeps them as ``lengths`` is not gone through."""
    known = getattr(examples, "lengths", None)
    return np.fromiter(map(len, examples), np.int64, len(examples)) if known is None else known


class Ordered(torch.utils.data.Dataset[Item], Generic[Item]):
    """The whole training as one list: every epoch's order put end to end, fixed by the seed.

    A run that resumes at step n only has to skip n batches; no sampler state has to be saved.

    Args:
        group_by_length: Whether a batch holds examples of similar length, or any.
        order: The whole order, where the caller decides it; else ``count`` examples of as many epochs as it takes.
    """

    def __init__(
        self,
        examples: Sequence[Item],
        *,
        batch_size: int,
        count: int,
        seed: int,
        group_by_length: bool = True,
        order: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self.examples = examples
        if order is not None:
            self.order: Sequence[int] | np.ndarray = order
            return
        lengths = lengths_of(examples).tolist() if group_by_length else [0] * len(examples)
        found: list[int] = []
        epoch = 0
        while len(found) < count:
            found += _epoch_order(lengths, batch_size, seed + epoch)
            epoch += 1
        self.order = found[:count]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Item:
        return self.examples[int(self.order[index])]


def _epoch_order(lengths: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """One shuffled pass in batches of similar length; the short batch, if any, comes last."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(lengths)).tolist()
    step = batch_size * SORTED_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), step):
        chunk = sorted(shuffled[start : start + step], key=lengths.__getitem__)
        batches += [chunk[at : at + batch_size] for at in range(0, len(chunk), batch_size)]
    whole = [batch for batch in batches if len(batch) == batch_size]
    short = [batch for batch in batches if len(batch) < batch_size]
    turn = generator.permutation(len(whole))
    return [index for at in turn for index in whole[at]] + [index for batch in short for index in batch]


def stack(examples: Sequence[Example], pad: int = 0) -> dict[str, torch.Tensor]:
    """Stack examples, padded on the right with ``pad``, and name the positions whose logits the loss needs.

    Returns (B examples, L the longest, K positions at which any example has a label to predict):
        input_ids, attention_mask, labels [B, L]; logits_to_keep [K]; shift_labels [B, K], already shifted by one.
    """
    longest = max(len(example.input_ids) for example in examples)
    shape = (len(examples), longest)
    input_ids = torch.full(shape, pad, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORE, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        input_ids[row, :length] = torch.from_numpy(example.input_ids)
        attention_mask[row, :length] = 1
        labels[row, :length] = torch.from_numpy(example.labels)
    following = labels[:, 1:]
    logits_to_keep = (following != IGNORE).any(dim=0).nonzero().squeeze(1)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": labels,
        "logits_to_keep": logits_to_keep,
        "shift_labels": following[:, logits_to_keep],
    }
