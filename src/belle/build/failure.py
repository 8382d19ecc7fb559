"""Why a stage failed where the machine is at fault: a full disk, a read-only folder, too little memory, a kill."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

from belle.errors import BelleError

_TAIL = 1 << 16

_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left on device|\b(?:os error|Errno) 28\b|Disk quota exceeded|database or disk is full"
        r"|ENOSPC|PytorchStreamWriter failed writing",
        "a full disk ({disk})",
        "make room there, then run the same command again",
    ),
    (
        r"Read-only file system|\b(?:os error|Errno) 30\b",
        "a file system that is mounted read-only ({disk})",
        "mount it for writing, or move this folder",
    ),
    (
        r"Permission denied|Operation not permitted|\b(?:os error|Errno) (?:13|1)\b",
        "a file or folder that may not be written to by this user",
        "look in the log for its name and change who may write there",
    ),
    (
        r"MemoryError|[Cc]annot allocate memory|can't allocate memory|std::bad_alloc|CUDA out of memory"
        r"|failed to map segment from shared object|Killed process",
        "too little memory",
        "give it more memory, or lower batch sizes in params.yaml; a training goes on from its last checkpoint",
    ),
)


def explain(name: str, log: Path) -> BelleError | None:
    """What is known of a stage's failure from its log and its disk; None where the log speaks for itself.

    A stage that names its own fault (``belle STAGE: …``) needs no second guess.
    """
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    if not text and shutil.disk_usage(log.parent).free < 1 << 20:
        text = "No space left on device"
    said = [line.strip() for line in text.splitlines()]
    for pattern, cause, fix in _CAUSES:
        if re.search(pattern, text):
            line = next((line for line in said if re.search(pattern, line)), "")
            return BelleError(
                f"the stage {name} failed: {line[:300]}", where=str(log), cause=cause.format(disk=_disk()), fix=fix
            )
    killed = re.search(r"exited with (?:-(\d+)|(1[3-5]\d))$", text, re.MULTILINE)
    if killed:
        number = int(killed[1] or int(killed[2]) - 128)
        names = {signal.SIGKILL: "the system, for want of memory, or somebody's kill -9"}
        try:
            what = signal.Signals(number).name
        except ValueError:
            return None
        return BelleError(
            f"the stage {name} was ended by {what}",
            where=str(log),
            cause=names.get(signal.Signals(number), "somebody's signal, or the end of the build"),
            fix="run again: what is paid stays in the ledger, and a training goes on from its last checkpoint",
        )
    return None


def _disk() -> str:
    """The fullest of the file systems that a build writes to, with its place and free space."""
    places = [place for place in (Path(), Path(".dvc/cache"), Path("models"), Path("data/ledger")) if place.exists()]
    free, place = min((shutil.disk_usage(place).free, place) for place in places)
    mount = place.resolve()
    while not mount.is_mount():
        mount = mount.parent
    return f"{mount}: {free / 1e6:.0f} MB are free"
