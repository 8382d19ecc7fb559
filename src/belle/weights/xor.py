"""The XOR release format: 32 bytes of the plaintext's SHA-256, then the plaintext XOR a key file.

Byte i of the text meets this byte of the key (K its size, C the chunk, 10 MiB): with P = ceil(K/C)·C, p = i mod P,
k = p div C and r = min(C, K − kC), the byte at ``kC + (p mod C) mod r``. That is: both files are read chunk by
chunk, a key chunk that is too short is cycled to the length of the text's, and the key starts over at its end.
It is not byte ``i mod K``, unless K is a multiple of C. The format is that of point-alpaca, which BELLE took over.
"""

from collections.abc import Callable

import numpy as np

from belle.weights.streams import PIECE, Source

CHUNK = 10 * 1024 * 1024
"""Bytes of a chunk. Part of the format: only tests have a reason to change it."""

HEADER = 32
"""Bytes in front of the ciphertext: the plaintext's raw SHA-256."""


class KeyStream:
    """A key file as the format lays it along a text of any length; several threads can read it.

    Holds at most one chunk and one piece in memory, and only if the key ends in an incomplete chunk.
    """

    def __init__(self, source: Source, *, chunk: int = CHUNK) -> None:
        self.source, self._chunk = source, chunk
        self.size = source.size
        if not self.size:
            raise ValueError("an empty file cannot be a key")
        self._period = -(-self.size // chunk) * chunk
        last = self.size % chunk
        self._cycled = self._repeated(self.size - last, last) if last else memoryview(b"")

    def _repeated(self, start: int, real: int) -> memoryview:
        """The incomplete last chunk, repeated to a piece past its end."""
        cycled = np.empty(real + min(PIECE, self._chunk), np.uint8)
        self.source.fill(cycled[:real].data, start)
        filled = real
        while filled < len(cycled):
            count = min(filled, len(cycled) - filled)
            cycled[filled : filled + count] = cycled[:count]
            filled += count
        return cycled.data

    def fill(self, into: memoryview, position: int) -> None:
        """Fill ``into`` with the key bytes for the text from ``position`` on."""
        done = 0
        while done < len(into):
            number, start = divmod((position + done) % self._period, self._chunk)
            real = min(self._chunk, self.size - number * self._chunk)
            take = min(len(into) - done, self._chunk - start)
            if real == self._chunk:
                self.source.fill(into[done : done + take], number * self._chunk + start)
            else:
                at = start % real
                take = min(take, len(self._cycled) - real)
                into[done : done + take] = self._cycled[at : at + take]
            done += take


def xored(source: Source, start: int, key: KeyStream) -> Callable[[memoryview, int], None]:
    """What fills a piece with the bytes of ``source`` XOR the key; byte ``start`` of ``source`` is byte 0 of the text.

    The pieces come from one thread, and none is larger than ``PIECE``.
    """
    keys = np.empty(PIECE, np.uint8)

    def fill(piece: memoryview, position: int) -> None:
        text, own = np.frombuffer(piece, np.uint8), keys[: len(piece)]
        source.fill(piece, start + position)
        key.fill(own.data, position)
        np.bitwise_xor(text, own, out=text)

    return fill
