"""Write to a temporary name, rename when whole: nothing half-written ever carries its final name."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from belle.errors import InputError


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other process uses, hidden from listings."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def discard_temporaries(path: Path) -> None:
    """Remove what processes that were killed left of ``path``; whoever calls it knows that none writes it still."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, mode: str = "w", *, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary file for writing and rename it to ``path`` when the block ends without an error.

    Text is UTF-8 with ``\\n`` line ends on every system.

    Args:
        durable: Wait until the disk has it. Only what can be told to be damaged, and be made again, may do without.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(temporary, mode, **text) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of ``path`` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a file, or raise ``InputError`` that names ``what`` it should have been."""
    path = Path(path)
    try:
        if path.is_file():
            return path
    except PermissionError as error:
        raise _unreadable(path, what, error) from None
    raise not_there(path, f"{what}: there is no such file", f"{what}: a folder stands where a file is meant")


def not_there(path: Path, absent: str, folder: str) -> InputError:
    """What is wrong with a path that is no file: a folder, a link to nothing, data that DVC has not brought."""
    path, where = Path(path), str(path)
    if path.is_dir():
        return InputError(folder, where=where, cause="the path of the file's folder", fix="name one file in it")
    if path.exists():
        return InputError(
            "a pipe or a device, no file", where=where, cause="a path that is read once", fix="write a file first"
        )
    if path.is_symlink():
        return InputError(
            f"a link to {os.readlink(path)}, which is not there",
            where=where,
            cause="what it pointed to was moved or removed",
            fix="point the link to where it is now",
        )
    if path.with_name(f"{path.name}.dvc").is_file():
        return InputError(
            f"{absent}, only {path.name}.dvc beside it",
            where=where,
            cause="DVC tracks it, and it was not brought here yet",
            fix=f"dvc pull {path}.dvc",
        )
    return InputError(
        absent,
        where=where,
        cause="a wrong path, or a target that is not built yet",
        fix="check the path, or build it with `snakemake`",
    )


def _unreadable(path: Path, what: str, error: OSError) -> InputError:
    return InputError(
        f"{what}: cannot be read: {error.strerror}",
        where=str(path),
        cause="a file of another user" if isinstance(error, PermissionError) else "a damaged disk or a lost mount",
        fix=f"give yourself the right: chmod u+r {path}" if isinstance(error, PermissionError) else "copy it again",
    )


@contextmanager
def open_input(path: Path, what: str) -> Iterator[BufferedReader]:
    """Open a file for reading bytes.

    Raises:
        InputError: it is no file, or may not or cannot be read.
    """
    require_file(path, what)
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == errno.EIO:
            raise _unreadable(Path(path), what, error) from None
        raise


_MAGIC = {b"\x1f\x8b": "gzip (.gz)", b"\x28\xb5\x2f\xfd": "Zstandard (.zst)", b"PK\x03\x04": "zip (.zip)",
          b"PAR1": "Parquet (.parquet)", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}  # fmt: skip
UTF8_MARK = b"\xef\xbb\xbf"


def decoded(data: bytes, where: str) -> str:
    """Text of bytes that must be UTF-8 without NUL and without a byte order mark.

    Raises:
        InputError: they are not; the message says which encoding or kind of file it looks like.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(data, error, where) from None
    if "\0" in text:
        if len(data) > 3 and data.count(0) * 3 >= len(data) and data.strip(b"\0"):
            raise _other("UTF-16", where, f"NUL at byte {data.index(0)}")
        raise InputError(
            f"NUL at byte {data.index(0)}",
            where=where,
            cause="a file that a crash or a full disk left with holes",
            fix="copy or make the file again",
        )
    if text.startswith("\ufeff"):
        raise InputError(
            "begins with a byte order mark",
            where=where,
            cause="an editor that marks UTF-8, as Notepad does",
            fix="save it as UTF-8 without BOM",
        )
    return text


def _not_text(data: bytes, error: UnicodeDecodeError, where: str) -> InputError:
    what = f"not UTF-8 at byte {error.start} (0x{data[error.start]:02x})"
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            if kind == "UTF-16":
                return _other(kind, where, what)
            return InputError(
                what, where=where, cause=f"a {kind} file under another name", fix="give its name that ending"
            )
    if error.reason == "unexpected end of data":
        return InputError(
            f"{what}: a character is cut off",
            where=where,
            cause="a copy that ended in the middle of a character",
            fix="copy or make the file again",
        )
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    if sum("\u4e00" <= character <= "\u9fff" for character in text[:2000]) >= 2:
        return _other("GB18030", where, what)
    return InputError(
        what,
        where=where,
        cause="another encoding, such as Latin-1 or Big5",
        fix="save it as UTF-8, or iconv -f ENCODING -t UTF-8 FILE > NEW",
    )


def _other(encoding: str, where: str, what: str) -> InputError:
    name = "GB18030 (GBK)" if encoding == "GB18030" else encoding
    return InputError(
        what, where=where, cause=f"the file is {name}", fix=f"iconv -f {encoding} -t UTF-8 FILE > NEW, and name NEW"
    )


def read_text(path: Path, what: str, longest: int = 1 << 20) -> str:
    """Read a small text file, such as a prompt.

    Args:
        longest: how many bytes it may have.

    Raises:
        InputError: it is no file, cannot be read, is not UTF-8, or is longer.
    """
    with open_input(path, what) as file:
        data = file.read(longest + 1)
    if len(data) > longest:
        raise InputError(
            f"{what}: over {longest} bytes",
            where=str(path),
            cause="another file under its name",
            fix="name the right file",
        )
    return decoded(data, str(path))
