"""A source's bytes, decompressed on the way, with limits on what a small file may grow to."""

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow

from belle.data.importing.sources import Source, kind_of
from belle.errors import InputError
from belle.files import UTF8_MARK, open_input

MOST_TIMES = 200
"""How many times its size a compressed file may grow to.

Texts of people shrink far less; a bomb, up to 1,000 times by deflate.
"""
ALLOWED = 64 << 20
"""Bytes that any file may grow to, whatever its size."""
LARGEST = 1 << 40
"""Bytes that no file may grow to."""

_BLOCK = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip
"""What decompressors raise of bytes that are not theirs."""


class Growth:
    """Counts what comes out of a compressed file, and stops a bomb.

    Args:
        where: the file.
        taken: how many compressed bytes went in so far.
    """

    def __init__(self, where: str, taken: Callable[[], int]) -> None:
        self.where, self.taken, self.out = where, taken, 0

    def add(self, count: int) -> None:
        """Count bytes that came out.

        Raises:
            InputError: they are more than a file of texts grows to.
        """
        self.out += count
        taken = max(1, self.taken())
        if self.out > ALLOWED and self.out > MOST_TIMES * taken:
            raise _bomb(self.where, f"{taken} bytes grow to over {self.out}, {MOST_TIMES} times and more")
        if self.out > LARGEST:
            raise _bomb(self.where, f"grows to over {LARGEST} bytes")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _bomb(where: str, what: str) -> InputError:
    return InputError(
        what,
        where=where,
        cause="a file made to fill the memory or the disk of its reader, or one row repeated",
        fix="unpack it yourself if you trust it, and name what comes out",
    )


class _Expanded(io.RawIOBase):
    """What a decompressor gives, counted; its errors become ours."""

    def __init__(self, inner: Any, growth: Growth, what: str) -> None:
        self.inner, self.growth, self.what = inner, growth, what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.inner.read(min(len(buffer), _BLOCK))
        except _DAMAGED as error:
            short = isinstance(error, EOFError) or "runcated" in str(error)
            fault = "cut off" if short else "damaged"
            raise InputError(
                f"{fault} after {self.growth.out} bytes of {self.what}: {_first_line(error)}",
                where=self.growth.where,
                cause="a download that was not finished" if short else "another kind of file under this ending",
                fix="fetch it again and compare its size",
            ) from None
        self.growth.add(len(data))
        buffer[: len(data)] = data
        return len(data)


def _buffered(inner: Any, growth: Growth, what: str) -> IO[bytes]:
    return io.BufferedReader(_Expanded(inner, growth, what), _BLOCK)


@contextmanager
def opened(source: Source) -> Iterator[Iterator[tuple[str, str, IO[bytes]]]]:
    """Open a source; yields (name, container, bytes) of it, or of each file in a zip, one after another.

    A byte order mark of UTF-8 at the start is taken off.

    Raises:
        InputError: it cannot be read, is damaged or cut off, or grows past all bounds.
    """
    where = str(source.path)
    with open_input(source.path, "data set") as file:
        if source.compression == "zip":
            yield _members(source, file)
            return
        if source.compression == "gz":
            opened_file = _buffered(gzip.GzipFile(fileobj=file, mode="rb"), Growth(where, file.tell), "gzip")
        elif source.compression == "zst":
            inner = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), "zstd")
            opened_file = _buffered(inner, Growth(where, file.tell), "Zstandard")
        else:
            opened_file = file
        yield iter([(source.name, source.container, without_mark(opened_file))])


def without_mark(file: IO[bytes]) -> IO[bytes]:
    """``file`` with the byte order mark of UTF-8 read, where it begins with one."""
    if file.peek(3)[:3] == UTF8_MARK:  # type: ignore[attr-defined]
        file.read(3)
    return file


def _members(source: Source, file: IO[bytes]) -> Iterator[tuple[str, str, IO[bytes]]]:
    where = str(source.path)
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise InputError(
            f"no zip: {_first_line(error)}",
            where=where,
            cause="a download that was not finished, or another kind of file under this ending",
            fix="fetch it again and compare its size",
        ) from None
    size = source.path.stat().st_size
    growth = Growth(where, lambda: size)  # members may overlap, so what counts is the file
    read = 0
    with archive:
        for info in sorted(archive.infolist(), key=lambda item: item.filename):
            parts = info.filename.split("/")
            if not parts[-1] or any(part.startswith((".", "__MACOSX")) for part in parts):
                continue
            kind = kind_of(info.filename)
            if kind is None:
                continue
            if not info.filename.isprintable():
                raise InputError(
                    f"the name {info.filename!r} in it holds a line end or another control character",
                    where=where,
                    cause="a damaged archive, or one packed under another encoding",
                    fix="unpack it, and name the folder that comes out",
                )
            member = f"{where}/{info.filename}"
            if kind[1] or kind[0] == "parquet":
                raise InputError(
                    "is compressed itself",
                    where=member,
                    cause="an archive within an archive",
                    fix="unpack the outer one, and name the folder that comes out",
                )
            if info.flag_bits & 1:
                raise InputError(
                    "is encrypted", where=member, cause="an archive with a password", fix="unpack it with its password"
                )
            read += 1
            growth.where = member
            try:
                inner = archive.open(info)
            except _DAMAGED as error:
                raise InputError(
                    f"damaged: {_first_line(error)}",
                    where=member,
                    cause="a download that went wrong",
                    fix="fetch it again",
                ) from None
            with inner:
                yield f"{source.name}/{info.filename}", kind[0], without_mark(_buffered(inner, growth, "zip"))
    if not read:
        raise InputError(
            "no file of rows in it",
            where=where,
            cause="an archive of something else",
            fix="look with `unzip -l`; rows lie in files that end in .json, .jsonl, .csv, .tsv or .txt",
        )
