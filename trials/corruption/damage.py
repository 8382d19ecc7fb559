"""The kinds of damage, and how each is done."""

from __future__ import annotations

import random

from trials.corruption.places import Folder, Place


def flipped(content: bytes, chance: random.Random) -> bytes:
    """One bit other than it was."""
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def plant(place: Place, kind: str, name: str, chance: random.Random) -> None:
    """Do one damage to one file."""
    content = place.read(name)
    if kind in ("bit flipped", "folder's list: bit flipped", "run-cache entry: bit flipped"):
        place.write(name, flipped(content, chance))
    elif kind in ("truncated", "folder's list truncated", "run-cache entry truncated"):
        place.write(name, content[: chance.randrange(len(content))])
    elif kind == "emptied":
        place.write(name, b"")
    elif kind == "missing":
        place.write(name, None)
    elif kind == "another's bytes":
        others = [other for other in place.names() if other.startswith("files/") and other != name]
        place.write(name, place.read(chance.choice(others)))
    elif kind == "run-cache entry: garbage":
        place.write(name, chance.randbytes(200))
    elif kind == "not readable by its owner":
        assert isinstance(place, Folder)
        (place.folder / name).chmod(0)
    elif kind == "a folder in its place":
        assert isinstance(place, Folder)
        place.write(name, None)
        (place.folder / name).mkdir()
        (place.folder / name / "inside").write_text("x")
    else:
        raise ValueError(kind)


OBJECT = ("bit flipped", "truncated", "emptied", "missing", "another's bytes")
LIST = ("folder's list: bit flipped", "folder's list truncated")
RUN = ("run-cache entry: bit flipped", "run-cache entry truncated", "run-cache entry: garbage")
FILES_ONLY = ("not readable by its owner", "a folder in its place")


def kinds(place: Place) -> tuple[str, ...]:
    """The damages that a place can suffer: S3 has no modes and no folders."""
    return (*OBJECT, *LIST, *RUN, *(FILES_ONLY if isinstance(place, Folder) else ()))


def suitable(place: Place, kind: str) -> list[str]:
    """The files that a kind of damage is done to."""
    names = place.names()
    if kind in RUN:
        return [name for name in names if name.startswith("runs/")]
    lists = [name for name in names if name.endswith(".dir")]
    if kind in LIST:
        return lists
    objects = [name for name in names if name.startswith("files/") and name not in lists]
    return objects if kind not in OBJECT else [name for name in objects if place.read(name)]  # none is emptied twice
