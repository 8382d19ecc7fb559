"""What was seen in a block of raw rows, as it travels between processes; and a row that could not be looked at."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from belle.data.contamination.overlap import Overlap
from belle.errors import InputError

WIDE = 1 << 16
"""Below it a token is an ideograph's code point; from it on, a word of the block's list."""


class RowFault(Exception):
    """A line that is no row: ``number`` counts lines (``of`` is ``line``) or rows (``row``) of the block from 1."""

    def __init__(self, of: str, number: int, fault: InputError) -> None:
        super().__init__(of, number, fault)  # as pickle gives it back
        self.of, self.number, self.what, self.cause, self.fix = of, number, fault.what, fault.cause, fault.fix


@dataclass
class Looked:
    """What was seen in a block of lines, in flat arrays that travel between processes. ``n`` rows, ``p`` pass.

    Attributes:
        lines: How many lines there were, blank ones too.
        keys: 16 bytes for each row's line [n].
        spans: Where each row's line begins in the block, and its length in bytes without the line end [n, 2].
        reasons: 0 where a row passes, else the number of its reason, from 1 [n].
        ids: 16 bytes for each row's id [n].
        chars: Characters of instruction, input and output [n, 3].
        kinds: The row's class as a number in ``kind_names``, 0 for none [n].
        digests: 16 bytes for what rows have in common that differ only in white space or width [p].
        tokens, token_counts: ROUGE-L tokens of the compared text, end to end [p].
        words: What tokens from ``WIDE`` on mean.
        texts, text_lengths: UTF-8 of instruction, input and output for near-duplicates, end to end [p].
        mended: Row → the line to write in the place of its own.
        overlaps: Row → what it has in common with an evaluation row, of rows that pass the filters.
    """

    lines: int = 0
    keys: bytearray = field(default_factory=bytearray)
    spans: array[int] = field(default_factory=lambda: array("I"))
    reasons: bytearray = field(default_factory=bytearray)
    ids: bytearray = field(default_factory=bytearray)
    chars: array[int] = field(default_factory=lambda: array("I"))
    kinds: array[int] = field(default_factory=lambda: array("H"))
    kind_names: list[str] = field(default_factory=lambda: [""])
    digests: bytearray = field(default_factory=bytearray)
    tokens: array[int] = field(default_factory=lambda: array("I"))
    token_counts: array[int] = field(default_factory=lambda: array("I"))
    words: list[str] = field(default_factory=list)
    texts: bytearray = field(default_factory=bytearray)
    text_lengths: array[int] = field(default_factory=lambda: array("I"))
    mended: dict[int, bytes] = field(default_factory=dict)
    overlaps: dict[int, Overlap] = field(default_factory=dict)
