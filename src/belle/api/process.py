"""Who sends a request: a process that others on this machine can tell alive from dead."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process by host, id and start, so that a later process with the same id is not taken for it."""

    host: str
    pid: int
    started: str

    def alive(self) -> bool:
        """Tell whether this very process still runs. Meaningful on its own host only."""
        return process(self.pid) == self


def process(pid: int) -> Process | None:
    """Describe the process ``pid`` of this host; None if there is none, or only its unreaped remains.

    ``started`` is the boot's id and the start in clock ticks since boot: neither moves when the clock is set.
    Empty on a system without /proc, where the process id alone must do.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return Process(platform.node(), pid, "")
    try:
        # The name in brackets may hold spaces and brackets: what counts stands behind the last one.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return Process(platform.node(), pid, f"{_boot()}:{fields[19]}")


def this_process() -> Process:
    """Describe the process that calls."""
    return process(os.getpid()) or Process(platform.node(), os.getpid(), "")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""
