"""One build at a time in a folder. The kernel drops the lock with its process: a killed build blocks nobody."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from belle.build.history import now

LOCK = Path(".belle/build.lock")


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
            yield
        finally:
            os.close(descriptor)
