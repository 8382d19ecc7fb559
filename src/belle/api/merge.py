"""The union of two ledgers: whoever merges whose, in whatever order and however often, the same lines come out."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from belle.api.lines import KINDS, parsed
from belle.api.request import request_digest
from belle.api.shard import SHARDS, Shard
from belle.errors import InputError
from belle.files import atomic_file

_SHARD_NAME = re.compile(r"[0-9a-f]\.jsonl")
_ORDER = {kind: number for number, kind in enumerate(("intent", "broken", "release", "refusal", "reply"))}
assert _ORDER.keys() == set(KINDS)


@dataclass
class Merged:
    """What a merge did: lines that are new here, lines that were here already, and requests both had paid for."""

    added: int = 0
    known: int = 0
    paid_twice: int = 0


def merge(ours: Path, theirs: Path) -> Merged:
    """Bring every line of the ledger ``theirs`` into ``ours``; theirs stays as it is.

    A line that both have stands there once. The lines are put in the order of their times, and by their bytes within
    one moment, so that merging the other way round gives the same files. Of two replies to one request the earlier
    counts, for both. All files are locked, and read to the end, before the first is changed.

    Raises:
        InputError: a file of ``theirs`` is torn, or is no ledger's; the message names file and byte.
    """
    ours, theirs = Path(ours), Path(theirs)
    _check_folder(theirs, ours)
    ours.mkdir(parents=True, exist_ok=True)
    done = Merged()
    with ExitStack() as locks:
        # In one order for everybody: two who merge each other's at once must not wait for each other.
        for folder, digit in sorted((folder.resolve(), digit) for folder in (ours, theirs) for digit in SHARDS):
            path = folder / f"{digit}.jsonl"
            locks.enter_context(_read_lock(path) if folder == theirs.resolve() else _write_lock(path))
        for folder in (theirs, ours):
            for digit in tqdm(SHARDS, desc=f"check {folder}", unit="file", leave=False, disable=None):
                for _ in _checked(folder / f"{digit}.jsonl", digit):
                    pass
        for digit in tqdm(SHARDS, desc="merge", unit="file", leave=False, disable=None):
            _merge_shard(ours / f"{digit}.jsonl", theirs / f"{digit}.jsonl", done)
    return done


def _merge_shard(path: Path, other: Path, done: Merged) -> None:
    mine, new = _lines(path), _lines(other)
    held, others = set(mine), set(new)
    done.added += len(others - held)
    done.known += len(others & held)
    done.paid_twice += len(_replied(others - held) & _replied(held - others))
    merged = sorted(held | others, key=_place)
    if merged != mine:
        # A reader that has the old file open notices that another is in its place, and reads anew.
        with atomic_file(path, "wb") as file:
            file.writelines(line + b"\n" for line in merged)


def _place(line: bytes) -> tuple[float, int, bytes]:
    row = parsed(line) or {}
    return row["time"], _ORDER[row["kind"]], line


def _replied(lines: set[bytes]) -> set[str]:
    return {row["digest"] for row in map(parsed, lines) if row and row["kind"] == "reply"}


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _checked(path: Path, digit: str) -> Iterator[bytes]:
    """Yield the lines of a shard, each of which is a ledger line that belongs there.

    Raises:
        InputError: one does not.
    """
    if not path.exists():
        return
    at = 0
    with open(path, "rb") as file:
        for line in file:
            fault = _fault(line, digit)
            if fault:
                raise InputError(
                    f"{fault}: {line[:60]!r}; nothing was merged",
                    where=f"{path}, byte {at}",
                    cause="a copy that was cut off, an edit, or a file of something else",
                    fix="copy the ledger again, or move this line to a file of its own",
                )
            yield line
            at += len(line)


def _fault(line: bytes, digit: str) -> str:
    if not line.endswith(b"\n"):
        return "a line that was torn"
    row = parsed(line)
    if row is None:
        return "no ledger line"
    if not row["digest"].startswith(digit):
        return f"a line of the file {row['digest'][0]}.jsonl"
    if not isinstance(row.get("time"), int | float):
        return "a line without its time"
    if row["kind"] in ("reply", "refusal"):
        try:
            if request_digest(row["request"]) != row["digest"]:
                return "a request with another's digest"
        except (KeyError, TypeError, ValueError, AttributeError):
            return "no request"
    if row["kind"] == "reply" and not isinstance(row.get("reply"), str):
        return "a reply without its body"
    return ""


def _check_folder(theirs: Path, ours: Path) -> None:
    if not theirs.is_dir():
        raise InputError(
            "there is no such folder", where=str(theirs), fix="name the folder of a ledger, as data/ledger"
        )
    if theirs.resolve() == ours.resolve():
        raise InputError("a ledger cannot be merged with itself", where=str(theirs))
    names = sorted(path.name for path in theirs.iterdir() if not path.name.startswith("."))
    foreign = [name for name in names if not _SHARD_NAME.fullmatch(name.removesuffix(".torn"))]
    if foreign or not any(_SHARD_NAME.fullmatch(name) for name in names):
        raise InputError(
            f"no ledger: {foreign[0] + ' is none of its files' if foreign else 'it has no file 0.jsonl to f.jsonl'}; "
            "nothing was merged",
            where=str(theirs),
            cause="another folder than data/ledger, or an archive that is not unpacked",
            fix="name the folder that holds 0.jsonl to f.jsonl and nothing else",
        )


@contextmanager
def _write_lock(path: Path) -> Iterator[None]:
    """Hold a shard of ours as its writers do; a torn last line is set aside first, as by them."""
    existed = path.exists()
    shard = Shard(path)
    try:
        with shard.locked():
            yield
    finally:
        shard.close()
        if not existed and path.exists() and not path.stat().st_size:
            path.unlink()


@contextmanager
def _read_lock(path: Path) -> Iterator[None]:
    """Keep writers away from a shard of theirs, which may be write-protected."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
