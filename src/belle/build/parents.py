"""Processes that a stage must not outlive: a killed build leaves nothing running behind it."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

from belle.build.environment import BUILD_PID


def end_with(pids: set[int], interval_s: float = 0.5) -> None:
    """End this process when one of ``pids`` has gone: a killed build must leave nothing running behind it."""

    def watch() -> None:
        while True:
            time.sleep(interval_s)
            if not all(_alive(pid) for pid in pids):
                os.killpg(os.getpgrp(), 15) if os.getpgrp() == os.getpid() else None
                os._exit(143)

    init = Path("/proc/1/cmdline")
    if 1 in pids and init.exists() and not re.search(rb"dvc|python", init.read_bytes()):
        os._exit(143)  # DVC was killed while this process was starting: it has init for a parent now
    if pids:
        threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def build_pid() -> set[int]:
    """The Snakemake process that started this, if one did and it runs on this host (a cluster's jobs run elsewhere)."""
    host, _, text = os.environ.get(BUILD_PID, "").rpartition(":")
    return {int(text)} if text.isdigit() and host == os.uname().nodename else set()
