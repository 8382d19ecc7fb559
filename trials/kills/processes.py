"""Which processes of a world run, and what each of them is to the build."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Processes:
    """The processes of one world by what they are, looked up in /proc without starting anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._settled: dict[int, str] = {}
        self._seen: dict[int, float] = {}

    def now(self) -> dict[int, str]:
        """Process id → snakemake, wrapper, dvc, stage, sender or other."""
        found, now = {}, time.monotonic()
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        for gone in self._seen.keys() - pids:
            del self._seen[gone]
            self._settled.pop(gone, None)
        for pid in pids:
            role = self._settled.get(pid)
            if role is None:
                role = self._role(pid)
                # a child that was forked just now still carries its parent's command line
                if now - self._seen.setdefault(pid, now) > 1:
                    self._settled[pid] = role
            if role and not dead(pid):
                found[pid] = role
        return found

    def _role(self, pid: int) -> str:
        try:
            if os.readlink(f"/proc/{pid}/cwd") != self.folder:
                return ""
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return ""
        if words[1:3] == ["-m", "belle.build.run"]:
            return "wrapper"
        if words[1:3] == ["-m", "dvc"]:
            return "dvc"
        if words[1:3] == ["-m", "belle.api.serve"]:
            return "sender"
        if len(words) > 1 and words[1].endswith("/bin/belle"):
            return "stage"
        if len(words) > 1 and words[1].endswith("/bin/snakemake"):
            return "snakemake"
        return "other"


def dead(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def belongs(pid: int, stage: str, log: str) -> bool:
    """Whether a process works on a stage: it, or one above it, was started for its log or by its name."""
    for _ in range(6):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if log in words or stage in words:
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False
