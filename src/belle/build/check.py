"""A whole cache or remote, looked at object by object."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belle.build.cache import (
    MISSING,
    OBJECTS,
    RUNS,
    Cache,
    Fault,
    cache_folder,
    md5_fault,
    object_path,
    recorded,
    run_fault,
    users_of,
)
from belle.build.remotes import Remote, Remotes, configured, within
from belle.build.state import State
from belle.errors import BelleError

Progress = Callable[[list[Any], str], Iterable[Any]]

THREADS = 8
"""Files that are read from a remote at a time."""


@dataclass
class Found:
    """The faults of a cache or remote, and how to be rid of them.

    ``checked`` counts objects and run-cache entries; ``left`` those that ``heal`` removed without bringing them back.
    """

    faults: list[Fault]
    checked: int
    cache: Cache
    remote: Remote | None = None
    left: int = 0
    _sources: Remotes | None = field(default=None, repr=False)

    def heal(self, fault: Fault) -> str:
        """Remove one fault and bring back what belongs there, where it can be had; returns what was done, in words."""
        entry = "/" in fault.name
        if self.remote:
            relative = f"{RUNS}/{fault.name[:2]}/{fault.name}" if entry else object_path(fault.name)
            if fault.what != MISSING:
                self.remote.drop(relative)
            source = self.cache.run_path(fault.name) if entry else self.cache.path(fault.name)
            if not (self.cache.run_fault(fault.name) if entry else self.cache.fault(fault.name)):
                self.remote.put(source, relative)
                return "sent again from the cache here"
            self.left += not entry
            return "gone; the next `dvc push --run-cache` of somebody who has it brings it back"
        if entry:
            self.cache.drop_run(fault.name)
            return "removed; the next build of its stage writes it anew"
        self.cache.drop(fault.name)
        if self._sources is None:
            self._sources = Remotes(self.cache, print)
        if source_name := self._sources.bring(fault.name):
            return f"right again, brought from remote {source_name}"
        if not fault.users or all(who.startswith("an earlier") or " an earlier " in who for who in fault.users):
            return "removed; nothing here needs it"
        return "removed; no remote has it: the next `snakemake` makes it anew"


def check(remote: str, progress: Progress) -> Found:
    """Look at every object of the cache here, or of the remote of that name.

    Raises:
        BelleError: the remote cannot be used.
    """
    state, cache = State(), Cache(cache_folder())
    return _check_remote(remote, state, cache, progress) if remote else _check_cache(state, cache, progress)


def _check_cache(state: State, cache: Cache, progress: Progress) -> Found:
    users = users_of(state, cache)
    faults: dict[str, str] = {}
    names = cache.objects()
    for oid in progress(names, "cache"):
        if wrong := cache.fault(oid):
            faults[oid] = wrong
    # what was never brought here is no fault: an output of which a part is here, or its link, is one
    present = set(names)
    for path, oid, _ in recorded(state):
        parts = [oid, *(inner for _, inner in cache.members(oid))]
        if Path(path).is_symlink() or Path(path).exists() or present & set(parts):
            faults |= {part: MISSING for part in parts if part not in present}
    sizes = {oid: size for oid, size in cache.sizes().items() if oid not in faults}
    runs = cache.runs()
    for name in runs:
        if wrong := cache.run_fault(name, sizes):
            faults[name] = wrong
    listed = [Fault(name, wrong, users.get(name, ())) for name, wrong in faults.items()]
    return Found(listed, len(names) + len(runs) + sum(wrong == MISSING for wrong in faults.values()), cache)


def _check_remote(name: str, state: State, cache: Cache, progress: Progress) -> Found:
    from dvc.repo import Repo

    remote = within(60, name, lambda: Remote(Repo(), name))
    remote.answers()
    if not remote.lists:
        raise BelleError("its files cannot be listed", where=f"remote {name}", fix="check it where they lie")
    objects, runs = remote.listed(OBJECTS), remote.listed(RUNS)
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="belle-check-") as folder:
        there = Cache(Path(folder))  # the lists of folders, as the remote has them

        def look(relative: str) -> tuple[str, str, int]:
            parts = relative.split("/")
            oid = parts[2] + parts[3]
            if len(parts) > 4:
                return oid, "has a folder in its place", 0
            mode = objects[relative]
            if mode is not None and not int(mode) & 0o400:
                return oid, "may not be read by its owner", 0
            target = there.path(oid)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                remote.get(relative, target)
            except FileNotFoundError:
                return oid, MISSING, 0
            except BelleError as error:
                return oid, f"cannot be read: {error.what}", 0
            with open(target, "rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            size = target.stat().st_size
            wrong = md5_fault(oid, found, size)
            if wrong or not oid.endswith(".dir"):
                target.unlink()
            return oid, wrong, size

        sizes: dict[str, int] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            ahead = pool.map(look, objects)
            for _ in progress(list(objects), f"remote {name}"):
                oid, wrong, size = next(ahead)
                if wrong:
                    faults[oid] = wrong
                else:
                    sizes[oid] = size
        seen = {path.split("/")[2] + path.split("/")[3] for path in objects}
        needed = [oid for _, oid, _ in recorded(state)]
        for oid in needed:
            members = there.members(oid) or cache.members(oid)
            faults |= {part: MISSING for part in [oid, *(inner for _, inner in members)] if part not in seen}
        entries = {}
        for relative, mode in runs.items():
            entry = "/".join(relative.split("/")[2:4])
            entries[entry] = _run_of_remote(remote, relative, entry, mode, Path(folder) / "entry", sizes)
        faults |= {entry: wrong for entry, wrong in entries.items() if wrong}
        users = {**users_of(state, there), **users_of(state, cache)}
    listed = [Fault(fault, wrong, users.get(fault, ())) for fault, wrong in faults.items()]
    missing = sum(wrong == MISSING for wrong in faults.values())
    return Found(listed, len(seen) + len(entries) + missing, cache, remote)


def _run_of_remote(
    remote: Remote, relative: str, name: str, mode: int | None, target: Path, sizes: dict[str, int]
) -> str:
    if len(relative.split("/")) > 4:
        return "has a folder in its place"
    if mode is not None and not int(mode) & 0o400:
        return "may not be read by its owner"
    try:
        remote.get(relative, target)
    except (FileNotFoundError, BelleError):
        return "cannot be read"
    try:
        return run_fault(target, name, sizes)
    finally:
        target.unlink(missing_ok=True)


__all__ = ["Found", "check", "configured"]
