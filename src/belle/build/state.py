"""The one build state, dvc.lock, and the rebuild decision taken on it.

A stage is up to date when dvc.lock has an entry for it whose command, dependencies, parameters and outputs are those
of now, by content. DVC decides the same way; this does it without starting DVC, and says why in the user's words.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle import strict_yaml
from belle.build import kept
from belle.build.hashes import Hashes
from belle.files import atomic_file

LOCKS = {"dvc.yaml": "dvc.lock", "ondemand/dvc.yaml": "ondemand/dvc.lock"}
"""Pipeline files and their locks: the default targets' stages, and those that were asked for by name."""

HASHES = Path(".belle/hashes.json")
DVC_BUSY = Path(".dvc/tmp/lock")
"""What DVC holds (``flock``) whenever it reads or writes its files."""
PARSED = Path(".belle/parsed")
"""Lock files as JSON, each with the digest of the bytes that it was read from."""
_LARGE = 50_000
"""Bytes of a lock file from which its reading is kept: tens of stages."""


@dataclass(frozen=True)
class Stage:
    """One stage as dvc.yaml states it, with all values filled in.

    ``params`` maps a file to the keys that the stage reads from it.
    """

    name: str
    cmd: str
    deps: tuple[str, ...]
    params: dict[str, tuple[str, ...]]
    outs: tuple[str, ...]


def shown(value: Any) -> str:
    """A value as a person would write it into params.yaml."""
    plain = isinstance(value, str) and value and value == value.strip()
    return value if plain else json.dumps(value, ensure_ascii=False)


def _code_cause(leaf: str, before: str, after: str) -> str:
    """A difference between two fingerprints, as ``sft.modules.belle.train.sft``, in words."""
    _, kind, *rest = leaf.split(".")
    if kind == "modules":
        return f"code {'.'.join(rest)} changed"
    what = f"package {'.'.join(rest)}" if kind == "packages" else "Python"
    before, after = before.split("+")[0], after.split("+")[0]
    return f"{what}: {before} → {after}" if before != after else f"{what}: a package that it needs has another version"


def look_up(key: str, values: Any) -> Any:
    """The value at a dotted key; raises ``KeyError`` where there is none."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            raise KeyError(key)
        values = values[part]
    return values


def differences(key: str, old: Any, new: Any) -> Iterator[tuple[str, str, str]]:
    """Leaf by leaf, (key, old, new) where two values differ; ``(none)`` stands for a key that is not there."""
    if isinstance(old, dict) and isinstance(new, dict):
        if old == new and repr(old) == repr(new):
            return  # the usual case, at C's speed; alone, == would take 1, 1.0 and True for the same
        for inner in [*old, *(part for part in new if part not in old)]:
            if inner not in old:
                yield f"{key}.{inner}", "(none)", shown(new[inner])
            elif inner not in new:
                yield f"{key}.{inner}", shown(old[inner]), "(none)"
            else:
                yield from differences(f"{key}.{inner}", old[inner], new[inner])
    elif old != new or type(old) is not type(new):
        yield key, shown(old), shown(new)


def _stages(lock: Path) -> dict[str, Any]:
    """The stages of a lock file; reading YAML takes most of a decision's time, so the last reading is kept."""
    text = lock.read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    path = PARSED / f"{lock.as_posix().replace('/', '-')}.json"
    if (known := kept.load(path, digest)) is not None:
        return known
    stages = (strict_yaml.load(lock) or {}).get("stages") or {}
    if len(text) > _LARGE and json.loads(json.dumps(stages)) == stages:  # a key that is no text would come back as one
        kept.save(path, digest, stages)
    return stages


@contextmanager
def _nobody_writes(wait_s: float = 5.0) -> Iterator[bool]:
    """Hold off DVC, which rewrites dvc.lock in place for another job: half of it would read as a whole one.

    Yields whether it is held off.

    Where its lock is held for longer (a long ``dvc push``, say), dvc.lock is not being written, and is read as it is.
    """
    try:
        descriptor = os.open(DVC_BUSY, os.O_RDONLY)
    except OSError:
        yield False  # DVC was never here
        return
    try:
        until, alone = time.monotonic() + wait_s, False
        while time.monotonic() < until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                alone = True
                break
            except BlockingIOError:
                time.sleep(0.02)
        yield alone
    finally:
        os.close(descriptor)


def _mend(lock: Path) -> None:
    """Take back a lock file that a killed DVC left cut off; while it is whole, keep a copy for that.

    DVC writes it in place, from an empty file on, and ends it with a line end. Only while nobody writes.
    """
    name, text = lock.as_posix().replace("/", "-"), lock.read_bytes()
    whole, cut = PARSED / f"{name}.whole", PARSED / f"{name}.cut"
    with suppress(OSError):  # a folder that cannot be written to is no reason to fail
        before = whole.read_bytes() if whole.exists() else b""
        if text.endswith(b"\n"):
            if text != before:
                _put(whole, text)
        elif before:
            _put(cut, text)  # should an editor have left the line end away, nothing is lost
            _put(lock, before)
            print(f"belle: {lock} was cut off, as by a DVC that was killed; taken back from {whole}", file=sys.stderr)
            print(f"  what stood there is in {cut}", file=sys.stderr)


def _put(path: Path, content: bytes) -> None:
    with atomic_file(path, "wb") as file:
        file.write(content)


class State:
    """What dvc.lock says was built, and how it compares with what stands here now.

    Args:
        values: Parameter files and their content, for files that are fresher in memory than on disk.
    """

    def __init__(self, values: dict[str, Any] | None = None, hashes: Hashes | None = None) -> None:
        self.hashes = hashes or Hashes(HASHES)
        self._values: dict[str, Any] = dict(values or {})
        self.locked: dict[str, dict[str, Any]] = {}
        with _nobody_writes() as alone:
            for lock in LOCKS.values():
                if Path(lock).exists():
                    if alone:
                        _mend(Path(lock))
                    for name, entry in _stages(Path(lock)).items():
                        self.locked.setdefault(name, entry)
        self._made = {out["path"]: out.get("md5") for entry in self.locked.values() for out in entry.get("outs", [])}

    def values(self, file: str) -> Any:
        """The content of a parameter file."""
        if file not in self._values:
            path = Path(file)
            self._values[file] = (strict_yaml.load(path) or {}) if path.exists() else {}
        return self._values[file]

    def reasons(self, stage: Stage) -> list[str]:
        """Why the stage must run, one cause a line, in the user's words; empty when it is up to date.

        An intermediate that is not here counts as what dvc.lock says it was: it is fetched only when it is needed.
        """
        entry = self.locked.get(stage.name)
        if entry is None:
            return ["never built here"]
        causes = [*self._param_causes(stage, entry), *self._dep_causes(stage, entry), *self._out_causes(stage, entry)]
        if not causes and entry.get("cmd") != stage.cmd:
            causes.append("the rule's command changed")
        return causes

    def complete(self, stage: Stage) -> bool:
        """Whether every output stands here with the bytes that dvc.lock names."""
        return all(self.hashes.get(out) is not None for out in stage.outs)

    def _param_causes(self, stage: Stage, entry: dict[str, Any]) -> Iterator[str]:
        recorded = entry.get("params") or {}
        for file, keys in stage.params.items():
            old = recorded.get(file, {})
            word = "param" if file == "params.yaml" else "code"
            for key in keys:
                try:
                    new = look_up(key, self.values(file))
                except KeyError:
                    yield f"{word} {key} is gone"
                    continue
                if key not in old:
                    yield f"{word} {key} is new to this stage"
                    continue
                for leaf, before, after in differences(key, old[key], new):
                    yield f"param {leaf}: {before} → {after}" if word == "param" else _code_cause(leaf, before, after)
            for key in old:
                if key not in keys:
                    yield f"{word} {key} is no longer read"

    def _dep_causes(self, stage: Stage, entry: dict[str, Any]) -> Iterator[str]:
        old = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        for dep in stage.deps:
            now = self.hashes.get(dep) or self._made.get(dep)
            if dep not in old:
                yield f"input {dep} is new to this stage"
            elif now is None:
                yield f"input {dep} is missing"
            elif now != old[dep]:
                yield f"input {dep} changed"
        yield from (f"input {dep} is no longer read" for dep in old if dep not in stage.deps)

    def _out_causes(self, stage: Stage, entry: dict[str, Any]) -> Iterator[str]:
        old = {out["path"]: out.get("md5") for out in entry.get("outs", [])}
        for out in stage.outs:
            now = self.hashes.get(out)
            if out not in old:
                yield f"output {out} is new to this stage"
            elif now is not None and now != old[out]:
                yield f"output {out} was changed by hand"
