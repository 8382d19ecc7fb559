"""What Snakemake asks of its records: for stages read from dvc.lock and the history, for other rules kept by content.

Snakemake's own metadata is no part of a clone and does not learn what ``dvc repro`` ran. So ``--summary``, ``--report``
and ``--list-changes`` are answered from the one build state. A rule that is no stage (one that another workflow adds)
reruns when the bytes of an input are others than those it last read, which a restored file's times cannot tell.
"""

from __future__ import annotations

import json
import os
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

from belle.build.hashes import Hashes
from belle.build.history import FAILED, HISTORY
from belle.build.state import State
from belle.files import atomic_file

RULES = Path(".belle/rules.json")

KINDS = {"code ": "code", "package ": "code", "Python: ": "code", "input ": "input"}
"""How a cause begins, and what Snakemake calls such a change; all others are its ``params``."""


def kinds(causes: list[str]) -> set[str]:
    """What Snakemake calls changes of these causes: ``code``, ``input``, ``params``."""
    return {next((kind for start, kind in KINDS.items() if cause.startswith(start)), "params") for cause in causes}


class Built:
    """Snakemake's record of each stage's output, made from dvc.lock and the history."""

    def __init__(self, state: State) -> None:
        self._entries = {
            out["path"]: (name, entry) for name, entry in state.locked.items() for out in entry.get("outs", [])
        }
        self._times: dict[str, tuple[float, float]] | None = None

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def stage(self, path: str) -> str:
        """The stage that made an output."""
        return self._entries[path][0]

    def record(self, path: str) -> dict[str, Any] | None:
        """The fields of Snakemake's ``MetadataRecord`` for an output; None where dvc.lock has no entry for it."""
        if path not in self._entries:
            return None
        name, entry = self._entries[path]
        begin, end = self._time(name, path)
        return {
            "rule": entry["cmd"].split()[1],
            "input": [dep["path"] for dep in entry.get("deps", [])],
            "log": [f"logs/{name}.log"],
            "shellcmd": entry["cmd"],
            "params": [],
            "starttime": begin,
            "endtime": end,
            "incomplete": False,
            "job_hash": zlib.crc32(name.encode()),
        }

    def _time(self, name: str, path: str) -> tuple[float, float]:
        if self._times is None:
            self._times = {}
            for line in HISTORY.read_text(encoding="utf-8").splitlines() if HISTORY.exists() else []:
                try:
                    run = json.loads(line)
                    begin = datetime.fromisoformat(run["started"]).timestamp()
                    if run["outcome"] != FAILED:
                        self._times[run["stage"]] = (begin, begin + run["seconds"])
                except (ValueError, KeyError):
                    continue  # a line that a killed process left half
        if name not in self._times:  # built in another clone
            moment = os.stat(path).st_mtime if os.path.exists(path) else 0.0
            return moment, moment
        return self._times[name]


def _script(job: Any) -> list[str]:
    """The script or notebook of a job's rule, if it is a file here."""
    named = job.rule.script or job.rule.notebook
    if not named:
        return []
    path = job._path_to_source_file(named).get_path_or_uri(secret_free=True)
    return [os.path.relpath(path)] if os.path.exists(path) else []


class OwnRules:
    """Content of the inputs that rules beside the stages last read, their scripts among them."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._reading: dict[str, dict[str, str | None]] = {}
        try:
            self._read: dict[str, dict[str, str | None]] = json.loads(RULES.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._read = {}

    def causes(self, job: Any) -> list[str]:
        """Why the job must run, as far as its inputs tell."""
        found: list[str] = []
        now = self._now(job) if job.output else {}
        for output in map(str, job.output):
            if output not in self._read:
                return ["never run here"]
            was = self._read[output]
            found += [f"input {path} changed" for path in now if path in was and now[path] not in (None, was[path])]
            found += [f"input {path} is new to this rule" for path in now if path not in was]
            found += [f"input {path} is no longer read" for path in was if path not in now]
        return sorted(set(found))

    def started(self, job: Any) -> None:
        """Note what the job is about to read."""
        self._hashes.forget()
        read = self._now(job)
        self._reading |= {str(output): read for output in job.output}

    def _now(self, job: Any) -> dict[str, str | None]:
        return {path: self._hashes.get(path) for path in [*map(str, job.input), *_script(job)]}

    def finished(self, job: Any) -> None:
        """Keep what the job has read, now that its outputs stand."""
        self._read |= {str(output): self._reading.pop(str(output), {}) for output in job.output}
        with atomic_file(RULES) as file:
            json.dump(self._read, file, ensure_ascii=False)
