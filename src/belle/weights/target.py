"""The folder that weights are written to: nothing of the user's is lost in it, and what a kill left is used again."""

import errno
import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from belle.errors import BelleError, InputError
from belle.files import atomic_file, temporary_name


def check_target(out: Path, *, sources: Iterable[Path]) -> None:
    """Refuse an ``out`` that is a file, or one of the ``sources`` or inside one."""
    if out.exists() and not out.is_dir():
        raise InputError("not a folder", where=str(out), fix="name a folder for the output")
    for source in sources:
        if source.is_dir() and (out.resolve() == source.resolve() or source.resolve() in out.resolve().parents):
            raise InputError(
                f"the output would lie in the input folder {source}", where=str(out), fix="name another folder"
            )


def check_replaceable(out: Path, names: Iterable[str]) -> None:
    """Refuse a folder that holds other files than ``names``: it is replaced as a whole."""
    if not out.is_dir():
        return
    known = set(names)
    others = [path for path in sorted(out.rglob("*")) if path.is_file() or path.is_symlink()]
    strange = [name for name in (path.relative_to(out).as_posix() for path in others) if name not in known]
    if strange:
        raise InputError(
            f"this folder would be replaced, but holds {len(strange)} other file(s), as {strange[0]}",
            where=str(out),
            fix="name a new folder",
        )


def check_space(out: Path, needed: int) -> None:
    """Refuse to start where the disk cannot take ``needed`` bytes more than what an ended run left of them."""
    parent = out.absolute()
    while not parent.is_dir():
        parent = parent.parent
    left = sum(path.stat().st_size for path in unfinished_name(out).rglob("*") if path.is_file())
    free = shutil.disk_usage(parent).free + left
    if needed > free:
        raise BelleError(
            f"needs {needed:,} bytes of disk, {free:,} are free",
            where=str(out),
            fix="free some space, or use another disk",
        )


def unfinished_name(out: Path) -> Path:
    """Where a folder stands before it is whole: no process has number 0, so the next run finds it."""
    return out.with_name(f".{out.name}.0.tmp")


@contextmanager
def unfinished(out: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield a hidden folder that takes the place of ``out`` when the block ends without an error.

    A kill leaves it behind, with the files among ``names`` that carry their names already; the next run goes on from
    them. An error takes it away.

    Raises:
        BelleError: another process is writing it.
    """
    folder = unfinished_name(out)
    made = [parent for parent in (out.parent, *out.parent.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BelleError(
                "another process is writing this folder", where=str(out), fix="wait for it, or end it"
            ) from None
        try:
            for path in sorted(folder.rglob("*"), reverse=True):
                if not path.is_dir() and path.relative_to(folder).as_posix() not in names:
                    path.unlink()
            yield folder
            _replace(out, folder)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made:
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()
            raise
    finally:
        os.close(handle)


def _replace(out: Path, folder: Path) -> None:
    for empty in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(empty.iterdir()):
            empty.rmdir()
    old = temporary_name(out)
    if out.is_symlink():
        out.unlink()
    elif out.exists():
        os.replace(out, old)
    os.replace(folder, out)
    shutil.rmtree(old, ignore_errors=True)


def bring(place: Path, target: Path) -> None:
    """Give a file that is whole its name in another folder, without copying it where that can be helped."""
    if place == target:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.unlink(missing_ok=True)
        os.link(place, target)
    except OSError:  # a file system without links
        with atomic_file(target, "wb") as file, open(place, "rb") as kept:
            shutil.copyfileobj(kept, file)


@contextmanager
def told(where: Path) -> Iterator[None]:
    """Say a full disk, a missing right or a damaged disk in one message that names the place."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or where)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BelleError(
                f"the disk is full: {shutil.disk_usage(_there(Path(place))).free:,} bytes are free; nothing was kept",
                where=str(where),
                cause="something else wrote to it at the same time, or a quota",
                fix="free some space, or name a folder on another disk",
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                f"may not be read or written: {error.strerror}",
                where=place,
                cause="a file or folder of another user" if error.errno != errno.EROFS else "mounted read-only",
                fix="give yourself the right (chmod u+rw), or name another folder",
            ) from None
        if error.errno == errno.EIO:
            raise BelleError(
                "cannot be read or written: an error of the disk", where=place, cause="a damaged disk or a lost mount",
                fix="copy it to another disk and try again",
            ) from None  # fmt: skip
        raise


def _there(path: Path) -> Path:
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
