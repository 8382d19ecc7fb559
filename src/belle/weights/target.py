"""The folder that encrypt and decrypt write to: nothing of the user's is lost in it."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from belle.errors import BelleError, InputError


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
    """Refuse to start where the disk cannot take ``needed`` bytes."""
    parent = out.absolute()
    while not parent.is_dir():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise BelleError(
            f"needs {needed:,} bytes of disk, {free:,} are free",
            where=str(out),
            fix="free some space, or use another disk",
        )
