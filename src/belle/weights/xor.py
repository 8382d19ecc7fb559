"""The XOR release format: 32 bytes of the plaintext's SHA-256, then the plaintext XOR a key file.

Byte i of the text meets this byte of the key (K its size, C the chunk, 10 MiB): with P = ceil(K/C)·C, p = i mod P,
k = p div C and r = min(C, K − kC), the byte at ``kC + (p mod C) mod r``. That is: both files are read chunk by
chunk, a key chunk that is too short is cycled to the length of the text's, and the key starts over at its end.
It is not byte ``i mod K``, unless K is a multiple of C. The format is that of point-alpaca, which BELLE took over.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from belle.errors import BelleError

CHUNK = 10 * 1024 * 1024
"""Bytes of a chunk. Part of the format: only tests have a reason to change it."""

HEADER = 32
"""Bytes in front of the ciphertext: the plaintext's raw SHA-256."""

PIECE = 1 << 20
"""Bytes that are worked on at once; no part of the format. Small enough to stay in a core's cache."""


class KeyStream:
    """A key file as the format lays it along a text of any length.

    Holds at most one chunk and one piece in memory, and only if the key ends in an incomplete chunk.
    """

    def __init__(self, file: BinaryIO, *, chunk: int = CHUNK) -> None:
        self._file, self._chunk = file, chunk
        self.size = file.seek(0, 2)
        if not self.size:
            raise ValueError("an empty file cannot be a key")
        self._period = -(-self.size // chunk) * chunk
        self._cycled: np.ndarray | None = None  # the incomplete last chunk, repeated to a piece past its end

    def fill(self, into: memoryview, position: int) -> None:
        """Fill ``into`` with the key bytes for the text from ``position`` on."""
        done = 0
        while done < len(into):
            number, start = divmod((position + done) % self._period, self._chunk)
            real = min(self._chunk, self.size - number * self._chunk)
            take = min(len(into) - done, self._chunk - start)
            if real == self._chunk:
                self._file.seek(number * self._chunk + start)
                read_full(self._file, into[done : done + take])
            else:
                take = min(take, PIECE)
                at = start % real
                into[done : done + take] = self._last(number, real)[at : at + take].data
            done += take

    def _last(self, number: int, real: int) -> np.ndarray:
        if self._cycled is None:
            cycled = np.empty(real + min(PIECE, self._chunk), np.uint8)
            self._file.seek(number * self._chunk)
            read_full(self._file, cycled[:real].data)
            filled = real
            while filled < len(cycled):
                count = min(filled, len(cycled) - filled)
                cycled[filled : filled + count] = cycled[:count]
                filled += count
            self._cycled = cycled
        return self._cycled


def read_full(file: BinaryIO, into: memoryview) -> None:
    """Fill ``into`` from ``file``, or raise ``BelleError``: the file has become shorter since it was measured."""
    done = 0
    while done < len(into):
        count = file.readinto(into[done:])  # type: ignore[attr-defined]
        if not count:
            raise BelleError(
                f"the file ended {len(into) - done} bytes early",
                where=str(file.name),
                cause="it was cut off while it was read",
                fix="run again when nothing else writes to it",
            )
        done += count


def xored(source: BinaryIO, size: int, key: KeyStream) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield the next ``size`` bytes of ``source`` piece by piece: as they are, and XOR the key.

    The first byte read is byte 0 of the text. The views are overwritten by the next step.
    """
    before, after, keys = (np.empty(min(PIECE, max(size, 1)), np.uint8) for _ in range(3))
    for start in range(0, size, PIECE):
        count = min(PIECE, size - start)
        read_full(source, before[:count].data)
        key.fill(keys[:count].data, start)
        np.bitwise_xor(before[:count], keys[:count], out=after[:count])
        yield before[:count].data, after[:count].data
