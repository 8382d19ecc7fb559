"""What a model said of rows that it has read, kept beside the build: a row is read once, whatever becomes of the run.

No output depends on it. Records are added as rows are read, so a killed run goes on where it was; a file of another
model, settings, code or machine's making is as good as none, and so is a record that was not written whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from xxhash import xxh3_64_intdigest

from belle.files import atomic_file

_MAGIC = b"belle weighing 1 "
_TOGETHER = 64
"""Records that are written together."""


class Journal:
    """Key → record, on disk.

    Args:
        path: A file, or None: then nothing is kept.
        made_by: A hexadecimal name for all that records depend on; under another one nothing counts.
        size: Numbers in a vector.
    """

    def __init__(self, path: Path | None, made_by: str, size: int) -> None:
        self._path = path
        self._head = _MAGIC + made_by.encode() + b"\n"
        self.record = np.dtype(
            [("key", "S16"), ("losses", "<f8", 2), ("counts", "<i4", 2), ("windows", "<i4"), ("vector", "i1", size),
             ("check", "<u8")]
        )  # fmt: skip
        self._places: dict[bytes, int] = {}
        self._kept = self._load()
        self._new: list[Any] = []
        self._file: IO[bytes] | None = None
        self._written = 0

    def __len__(self) -> int:
        return len(self._kept) + len(self._new)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def get(self, key: bytes) -> Any:
        """The record of a key: ``losses, counts, windows, vector``."""
        place = self._places[key]
        return self._kept[place] if place < len(self._kept) else self._new[place - len(self._kept)]

    def add(self, key: bytes, losses: Any, counts: Any, windows: int, vector: Any) -> None:
        """Keep what was said of a row; it is on disk at the latest ``_TOGETHER`` rows on."""
        record = np.zeros((), self.record)
        record["losses"], record["counts"], record["windows"], record["vector"] = losses, counts, windows, vector
        # NumPy drops zeros at the end of bytes, so the key is written as it is
        raw = bytearray(record.tobytes())
        raw[:16] = key
        raw[-8:] = xxh3_64_intdigest(bytes(raw[:-8])).to_bytes(8, "little")
        self._places[key] = len(self)
        self._new.append(np.frombuffer(bytes(raw), self.record)[0])
        if len(self._new) - self._written >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet; a disk without room for it is no fault."""
        waiting = self._new[self._written :]
        self._written = len(self._new)
        if not waiting or self._path is None:
            return
        with suppress(OSError):
            if self._file is None:
                self._file = self._opened(self._path)
            self._file.write(b"".join(record.tobytes() for record in waiting))
            self._file.flush()

    def close(self, wanted: set[bytes]) -> None:
        """Write what is left; where more than half of the records are of rows that are gone, only those wanted stay."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._path is not None and len(self) > 2 * max(1, len(wanted)):
            with suppress(OSError), atomic_file(self._path, "wb") as file:
                file.write(self._head)
                for key in self._places:
                    if key in wanted:
                        file.write(self.get(key).tobytes())

    def _opened(self, path: Path) -> IO[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not len(self._kept):
            path.write_bytes(self._head)
        # a record that was not written whole goes
        os.truncate(path, len(self._head) + len(self._kept) * self.record.itemsize)
        return open(path, "ab")

    def _load(self) -> Any:
        none = np.zeros(0, self.record)
        if self._path is None:
            return none
        try:
            raw = np.memmap(self._path, np.uint8, "r")
        except (OSError, ValueError):  # not there, a folder, or empty
            return none
        if bytes(raw[: len(self._head)]) != self._head:
            return none
        size, start = self.record.itemsize, len(self._head)
        count = (len(raw) - start) // size
        for number in range(count):
            at = start + number * size
            record = bytes(raw[at : at + size])
            if xxh3_64_intdigest(record[:-8]) != int.from_bytes(record[-8:], "little"):
                count = number  # what follows a damaged record may stand anywhere
                break
            self._places[record[:16]] = number
        return raw[start : start + count * size].view(self.record).view(np.ndarray)
