"""Rows put into blocks of one size, without cutting a row and without attention from one row to another.

A block is laid out as its rows end to end. Positions start anew at each row, no row's first token is predicted from the
row before, and attention runs within each row (``belle.train.attention``): a row's loss is the one that it has alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch

from belle.prompts import IGNORE
from belle.train.batches import Example, lengths_of


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that are trained as one sequence."""

    rows: tuple[Example, ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))


class Packed(Sequence[Block]):
    """Every epoch's blocks, in the order in which they are trained.

    Args:
        examples: The rows; none is longer than ``capacity``.
        epochs: How often each row is seen; of a part of an epoch, that part of its blocks is.
        seed: Rows of one length are dealt out anew each epoch, and the blocks are shuffled.
    """

    def __init__(self, examples: Sequence[Example], *, capacity: int, epochs: float, seed: int) -> None:
        self.examples = examples
        row_lengths = lengths_of(examples)
        blocks: list[list[int]] = []
        epoch = 0
        while epoch < epochs:
            made = best_fit(row_lengths, capacity, seed + epoch)
            turn = np.random.default_rng([seed, epoch]).permutation(len(made)).tolist()
            share = min(1.0, epochs - epoch)
            blocks += [made[at] for at in turn[: max(1, round(share * len(made)))]]
            epoch += 1
        self.blocks = blocks
        self.lengths = np.fromiter((row_lengths[block].sum() for block in blocks), np.int64, len(blocks))
        self.capacity = capacity

    @property
    def waste(self) -> float:
        """The share of the blocks' room that no token fills."""
        return 1 - float(self.lengths.sum()) / (len(self.blocks) * self.capacity)

    def __len__(self) -> int:
        return len(self.blocks)

    @overload
    def __getitem__(self, at: int) -> Block: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Block]: ...
    def __getitem__(self, at: int | slice) -> Block | Sequence[Block]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        return Block(tuple(self.examples[row] for row in self.blocks[at]))


def best_fit(lengths: np.ndarray, capacity: int, seed: int) -> list[list[int]]:
    """Put every row into a block: the longest first, each where it leaves the least room (arXiv 2404.10830).

    Args:
        lengths: Tokens of each row, at most ``capacity``.
        seed: The order of rows of one length.

    Returns:
        The rows of each block, by their numbers.
    """
    shuffled = np.random.default_rng(seed).permutation(len(lengths))
    order = shuffled[np.argsort(-lengths[shuffled], kind="stable")]
    blocks: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set where a block has room for r more tokens
    for row, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            block = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
            blocks[block].append(row)
        else:
            block, room = len(blocks), capacity
            blocks.append([row])
        if left := room - length:
            by_room[left].append(block)
            rooms |= 1 << left
    return blocks


def lay(blocks: Sequence[Block]) -> dict[str, torch.Tensor | int]:
    """Lay blocks end to end as one sequence, for models whose attention follows ``cu_seq_lens_q``.

    Returns (N tokens in all, R rows, K positions that predict a label):
        input_ids, position_ids, labels [1, N]; logits_to_keep [K]; shift_labels [1, K], already shifted by one;
        cu_seq_lens_q, cu_seq_lens_k int32 [R + 1], where rows begin and end; max_length_q, max_length_k, the longest
        row. These are the names by which transformers hands them to FlashAttention-2.
    """
    rows = [row for block in blocks for row in block.rows]
    lengths = [len(row) for row in rows]
    labels = np.concatenate([row.labels for row in rows]).astype(np.int64)
    ends = np.cumsum(lengths)
    labels[np.concatenate([[0], ends[:-1]])] = IGNORE
    shifted = torch.from_numpy(np.append(labels[1:], IGNORE)).unsqueeze(0)
    keep = (shifted[0] != IGNORE).nonzero().squeeze(1)
    bounds = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32))
    longest = max(lengths)
    return {
        "input_ids": torch.from_numpy(np.concatenate([row.input_ids for row in rows]).astype(np.int64)).unsqueeze(0),
        "position_ids": torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])).unsqueeze(0),
        "labels": torch.from_numpy(labels).unsqueeze(0),
        "logits_to_keep": keep,
        "shift_labels": shifted[:, keep],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }
