"""One build at a time in a folder. The kernel drops the lock with its process: a killed build blocks nobody."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from belle.build.history import now
from belle.files import atomic_file

LOCK = Path(".belle/build.lock")

DVC_LOCKS = Path(".dvc/tmp/rwlock")
"""Which process reads or writes which path, as DVC's processes tell each other: ``{"read": …, "write": …}``."""


class BuildLock:
    """An advisory lock on ``.belle/build.lock``, which also says who holds it."""

    @staticmethod
    @contextmanager
    def hold() -> Iterator[None]:
        """Hold the folder for a build.

        Raises:
            snakemake.exceptions.WorkflowError: another live build holds it; the message names its process.
        """
        from snakemake.exceptions import WorkflowError

        LOCK.parent.mkdir(exist_ok=True)
        descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                try:
                    holder = json.loads(os.read(descriptor, 1000))
                    who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
                except (ValueError, KeyError):
                    who = "a process that did not say its name"
                raise WorkflowError(
                    f"Another build is running in this folder ({who}). "
                    "Wait for it, or stop it; its lock falls with it. No unlock is needed."
                ) from None
            note = {"pid": os.getpid(), "host": os.uname().nodename, "since": now().isoformat(timespec="seconds")}
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
            drop_dead_locks()
            yield
        finally:
            os.close(descriptor)


def drop_dead_locks() -> None:
    """Take out of DVC's own lock file what dead processes left in it.

    DVC passes over the ids of processes that are gone. It stops at a file that a kill tore in the middle of writing,
    and at an id that the system has given to another program since.
    """
    if not DVC_LOCKS.exists():
        return
    with open(DVC_LOCKS.with_name("rwlock.lock"), "a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # DVC holds it while it writes: what is torn now was torn by a kill
        try:
            text = DVC_LOCKS.read_text(encoding="utf-8")
            found = json.loads(text)
            left = {
                "write": {path: info for path, info in found.get("write", {}).items() if _is_dvc(info)},
                "read": {
                    path: kept
                    for path, infos in found.get("read", {}).items()
                    if (kept := [info for info in infos if _is_dvc(info)])
                },
            }
        except FileNotFoundError:
            return
        except (ValueError, AttributeError, TypeError, KeyError):
            DVC_LOCKS.unlink(missing_ok=True)
            return
        if left != {"write": found.get("write", {}), "read": found.get("read", {})}:
            with suppress(OSError), atomic_file(DVC_LOCKS) as file:
                json.dump(left, file)


def _is_dvc(info: dict[str, Any]) -> bool:
    """Whether the process that took a lock still runs, and still is DVC."""
    process = Path("/proc") / str(int(info["pid"]))
    if not Path("/proc/self").exists():
        return True  # nothing can be told here; DVC's own look must do
    try:
        state = (process / "stat").read_bytes().rpartition(b")")[2].split()[0]
        return state not in (b"Z", b"X") and b"dvc" in (process / "cmdline").read_bytes()
    except (OSError, IndexError):
        return False
