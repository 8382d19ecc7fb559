"""Files in pieces: reading, computing, hashing and writing at the same time, in memory that no file's size changes.

SHA-256 is the slowest step by far on a processor without instructions for it, so it gets a thread of its own; hashlib,
NumPy and system calls all let other threads run.
"""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np

from belle.errors import BelleError

PIECE = 1 << 20
"""Bytes that are worked on at once; small enough to stay in a core's cache."""
RING = 6
"""Pieces of one file in memory."""
AT_ONCE = 4
"""Files that are worked on at the same time, at most; with the ring it bounds memory on any number of cores."""
SETTLE = 16 << 20
"""Written bytes after which the system is asked to begin bringing them to the disk, so that the last wait is short."""

Take = Callable[[memoryview], object]
Work = TypeVar("Work")


class Bar(Protocol):
    """What counts bytes done: a tqdm bar, or ``Progress``."""

    def update(self, n: float | None = 1) -> object: ...


class _StoppedError(Exception):
    """Another file failed; this one's work is of no use any more."""


class Progress:
    """A bar that several threads push, and that stops them all when one fails."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._lock, self._stopped = bar, threading.Lock(), False

    def update(self, n: float | None = 1) -> None:
        """Count ``n`` bytes; raises in every thread once ``stop`` was called."""
        with self._lock:
            if self._stopped:
                raise _StoppedError
            self._bar.update(n)

    def stop(self) -> None:
        """End the others' work at their next piece."""
        self._stopped = True


class Silent:
    """A bar that nobody sees."""

    def update(self, n: float | None = 1) -> None:
        """Count nothing."""


class Source:
    """A file that several threads can read at any place."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file = -1
        self._file = os.open(self.path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def fill(self, into: memoryview, position: int) -> None:
        """Fill ``into`` from ``position`` on.

        Raises:
            BelleError: the file has become shorter since it was measured.
        """
        done = 0
        while done < len(into):
            count = os.preadv(self._file, [into[done:]], position + done)
            if not count:
                raise BelleError(
                    f"the file ended {len(into) - done} bytes early",
                    where=str(self.path),
                    cause="it was cut off while it was read",
                    fix="run again when nothing else writes to it",
                )
            done += count

    def read(self, position: int, size: int) -> bytes:
        """A few bytes; fewer where the file ends."""
        found = bytearray(max(0, min(size, self.size - position)))
        self.fill(memoryview(found), position)
        return bytes(found)


def pour(size: int, fill: Callable[[memoryview, int], object], into: Sequence[Take]) -> None:
    """Let ``fill`` make ``size`` bytes piece by piece, and hand every piece to each of ``into``, in order.

    ``fill`` is given a piece and its position, and runs in this thread; each of ``into`` runs in one of its own.
    """
    if size <= PIECE:
        piece = memoryview(bytearray(size))
        if size:
            fill(piece, 0)
        for take in into:
            take(piece)
        return
    ring = [memoryview(np.empty(PIECE, np.uint8)) for _ in range(RING)]  # type: ignore[arg-type]
    waiting: deque[list[Future[object]]] = deque()
    with ExitStack() as stack:
        workers = [stack.enter_context(ThreadPoolExecutor(1)) for _ in into]
        for number, start in enumerate(range(0, size, PIECE)):
            if len(waiting) == RING:
                _ended(waiting.popleft())
            piece = ring[number % RING][: min(PIECE, size - start)]
            fill(piece, start)
            waiting.append([worker.submit(take, piece) for worker, take in zip(workers, into, strict=True)])
        for taken in waiting:
            _ended(taken)


def _ended(taken: Iterable[Future[object]]) -> None:
    for future in taken:
        future.result()


def hashed(path: Path, bar: Bar, *names: str) -> list[str]:
    """Read a file once for its digests, in hexadecimal, by their names in hashlib."""
    found = [hashlib.new(name, usedforsecurity=False) for name in names]
    with Source(path) as source:

        def fill(piece: memoryview, position: int) -> None:
            source.fill(piece, position)
            bar.update(len(piece))

        pour(source.size, fill, [digest.update for digest in found])
    return [digest.hexdigest() for digest in found]


def writing(file: IO[Any]) -> Take:
    """A ``write`` that has the system bring what is written to the disk along the way."""
    if not hasattr(os, "posix_fadvise"):
        return file.write
    written = settled = 0

    def write(piece: memoryview) -> None:
        nonlocal written, settled
        file.write(piece)
        written += len(piece)
        if written - settled >= SETTLE:
            file.flush()
            # of pages that are not written yet, Linux begins to write them
            os.posix_fadvise(file.fileno(), settled, written - settled, os.POSIX_FADV_DONTNEED)
            settled = written

    return write


def side_by_side(
    work: Callable[[Work], Any], items: Sequence[Work], progress: Progress, at_once: int = AT_ONCE
) -> list[Any]:
    """Do ``work`` on each item, several at a time; what comes of it in the order of ``items``.

    The first failure stops the others and is raised when they have ended.
    """
    at_once = max(1, min(at_once, len(os.sched_getaffinity(0)), len(items)))
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            progress.stop()
            for future in futures:
                future.cancel()
            raise
    return [future.result() for future in futures]
