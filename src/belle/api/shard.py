"""One append-only file of whole lines, shared by processes that may be killed at any moment."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from belle.errors import BelleError
from belle.files import temporary_name

SHARDS = "0123456789abcdef"
"""The files of a ledger: the first digit of the digests that each holds."""

_BLOCK = 1 << 20


class Shard:
    """A file that is appended to under ``flock`` and read on from where the last reading ended.

    A last line without its line end was torn by a kill: the next writer moves it to ``<name>.torn`` before it
    appends. A file that DVC linked to its cache (a symbolic or hard link, or write-protected) is replaced by a copy
    of its own first, so that the cache is never written to.

    Not safe for threads: its owner holds a lock around every call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = -1
        self._writer_pid = 0
        self._reader = -1
        self._reader_inode = 0
        self._read_to = 0

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        for descriptor in (self._writer, self._reader):
            if descriptor >= 0:
                os.close(descriptor)
        self._writer = self._reader = -1
        self._reader_inode = self._read_to = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file for writing, alone among all processes; its last line is whole."""
        if self._writer >= 0 and self._writer_pid != os.getpid():
            # A forked child shares its parent's lock: it needs a descriptor of its own.
            os.close(self._writer)
            self._writer = -1
        while True:
            if self._writer < 0:
                self._make_own()
                self._writer = _open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
                self._writer_pid = os.getpid()
                _sync_folder(self.path.parent)
            fcntl.flock(self._writer, fcntl.LOCK_EX)
            # While we waited, another process may have put a copy, or DVC a link, in the file's place.
            if _is_own(self.path) and os.fstat(self._writer).st_ino == _inode(self.path):
                break
            os.close(self._writer)
            self._writer = -1
        try:
            self._set_torn_line_aside()
            yield
        finally:
            fcntl.flock(self._writer, fcntl.LOCK_UN)

    def append(self, lines: bytes) -> None:
        """Add whole lines, on the disk when this returns. Only inside ``locked``."""
        start = os.fstat(self._writer).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._writer, rest) :]
            os.fsync(self._writer)
        except OSError as error:
            os.ftruncate(self._writer, start)
            raise no_room(f"cannot write to the ledger: {error.strerror}", self.path) from None

    def news(self) -> Iterator[tuple[int, bytes]]:
        """Yield ``(offset, line)`` of the whole lines added since the last reading, line ends taken off.

        Offset 0 a second time means that the file was replaced and is read anew.
        """
        if not self._reopen_if_replaced():
            return
        size = os.fstat(self._reader).st_size
        if size < self._read_to:
            self._read_to = 0
        pending = b""
        position = self._read_to
        while position < size:
            block = os.pread(self._reader, min(_BLOCK, size - position), position)
            if not block:
                return
            position += len(block)
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                yield self._read_to, line
                self._read_to += len(line) + 1

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``, as they were found by ``news``."""
        if self._reader < 0 and not self._reopen_if_replaced():
            return b""
        return os.pread(self._reader, length, offset)

    def torn(self) -> int:
        """Count the torn lines that were set aside."""
        try:
            return self._torn_path().read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def _reopen_if_replaced(self) -> bool:
        inode = _inode(self.path)
        if not inode:
            return False
        if self._reader < 0 or inode != self._reader_inode:
            if self._reader >= 0:
                os.close(self._reader)
            self._reader = _open(self.path, os.O_RDONLY)
            self._reader_inode = os.fstat(self._reader).st_ino
            self._read_to = 0
        return True

    def _make_own(self) -> None:
        """Put a copy in the place of a link. Its target is locked, so that no two processes do it at once."""
        while not _is_own(self.path):
            target = _open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(target, fcntl.LOCK_EX)
                if os.fstat(target).st_ino != _inode(self.path) or _is_own(self.path):
                    continue
                temporary = temporary_name(self.path)
                shutil.copyfile(self.path, temporary)
                copy = _open(temporary, os.O_RDWR)
                os.fsync(copy)
                os.close(copy)
                os.replace(temporary, self.path)
            finally:
                os.close(target)

    def _set_torn_line_aside(self) -> None:
        size = os.fstat(self._writer).st_size
        if not size or os.pread(self._writer, 1, size - 1) == b"\n":
            return
        tail, start = b"", size
        while start and b"\n" not in tail:
            length = min(_BLOCK, start)
            start -= length
            tail = os.pread(self._writer, length, start) + tail
        whole, newline, torn = tail.rpartition(b"\n")
        aside = _open(self._torn_path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(aside, torn + b"\n")
            os.fsync(aside)
        finally:
            os.close(aside)
        os.ftruncate(self._writer, start + len(whole) + len(newline))

    def _torn_path(self) -> Path:
        return self.path.with_name(self.path.name + ".torn")


def _is_own(path: Path) -> bool:
    """Tell whether ``path`` is missing, or a file that is nobody else's and may be written to."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and bool(status.st_mode & stat.S_IWUSR)


def _inode(path: Path) -> int:
    """The number of the file that ``path`` leads to; 0 if there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BelleError(
            f"cannot open this file of the ledger: {error.strerror}", where=str(path), fix="check who may write there"
        ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_room(what: str, where: Path) -> BelleError:
    """The fault of a disk that takes no more."""
    return BelleError(
        what,
        where=str(where),
        cause="a full disk",
        fix="make room, then run the same command again: what is in the ledger is kept",
    )
