"""DVC's local cache, checked: every object against its name, every run-cache entry against its own.

DVC links a protected object without reading it, so a flipped byte would reach the workspace unnoticed. Here an object
counts as right only when its bytes hash to its name. An object lies at ``files/md5/ab/cdef…`` (a folder's is a JSON
list and ends in ``.dir``), a run-cache entry at ``runs/ab/ab…/…``: the first name is the hash of what a stage ran on,
the second that of the whole entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle import strict_yaml
from belle.build import pipeline
from belle.build.hashes import Hashes
from belle.build.stages import DVC_FILE, ONDEMAND_FILE
from belle.build.state import Stage, State, look_up
from belle.errors import BelleError

MISSING = "is missing"
OBJECTS, RUNS = "files/md5", "runs"

LEANED_ON = (
    "dvc.config.Config",
    "dvc.repo.Repo.cloud",
    "dvc.stage.cache._get_cache_hash",
    "dvc.stage.cache.StageCache._get_cache_path",
    "dvc.data_cloud.Remote.odb",
    "dvc.data_cloud.Remote.legacy_odb",
    "dvc_data.hashfile.db.get_index",
)


@dataclass(frozen=True)
class Fault:
    """Something in a cache or remote that is not what its name says.

    Args:
        name: The object's MD5, or ``KEY/VALUE`` of a run-cache entry.
        what: What is wrong with it, a clause that follows the name.
        users: The outputs it belongs to, as ``models/x (stage sft-x)``.
    """

    name: str
    what: str
    users: tuple[str, ...] = ()

    def __str__(self) -> str:
        kind = "run-cache entry" if "/" in self.name else "object"
        users = f", of {'; '.join(self.users)}," if self.users else ""
        return f"{kind} {self.name}{users} {self.what}"


def cache_folder() -> Path:
    """Where DVC keeps its cache for this folder."""
    from dvc.config import Config

    config = Config(str(Path(".dvc").absolute()), validate=False)
    return Path(config.get("cache", {}).get("dir") or Path(".dvc/cache").absolute())


def object_path(oid: str) -> str:
    """Where an object lies inside a cache or remote."""
    return f"{OBJECTS}/{oid[:2]}/{oid[2:]}"


def md5_fault(oid: str, found: str, size: int) -> str:
    """What is wrong with an object of ``size`` bytes whose content hashes to ``found``; empty when nothing is."""
    if found.removesuffix(".dir") == oid.removesuffix(".dir"):
        return ""
    return "is empty" if size == 0 else f"holds other bytes, which hash to {found} ({size} bytes)"


def tree_fault(text: bytes) -> str:
    """What keeps the bytes of a ``.dir`` object from being a folder's list."""
    try:
        listed = json.loads(text)
        good = isinstance(listed, list) and all({"md5", "relpath"} <= set(item) for item in listed)
    except (ValueError, TypeError):
        good = False
    return "" if good else "is no list of a folder's files"


class Cache:
    """The objects and run-cache entries of a local cache folder.

    Args:
        hashes: Hashes behind a stat cache; None reads every byte anew, as a check of the whole cache must.
    """

    def __init__(self, folder: Path, hashes: Hashes | None = None) -> None:
        self.folder, self.hashes = folder, hashes

    def path(self, oid: str) -> Path:
        """Where the object lies."""
        return self.folder / object_path(oid)

    def fault(self, oid: str) -> str:
        """What is wrong with an object: empty when it is right, ``is missing`` when there is none."""
        path = self.path(oid)
        try:
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode):
                return "has a folder in its place"
            if not stat.S_ISREG(found.st_mode):
                return "is no plain file"
            if not found.st_mode & stat.S_IRUSR:
                return "may not be read by its owner"
            if self.hashes:
                actual = self.hashes.get(str(path)) or ""
            else:
                with open(path, "rb") as file:
                    actual = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return MISSING
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return md5_fault(oid, actual, found.st_size)

    def members(self, oid: str) -> list[tuple[str, str]]:
        """(path in the folder, MD5) of a folder's files; empty for a file, or where the list is no list."""
        if not oid.endswith(".dir"):
            return []
        try:
            text = self.path(oid).read_bytes()
        except OSError:
            return []
        return [] if tree_fault(text) else [(item["relpath"], item["md5"]) for item in json.loads(text)]

    def objects(self) -> list[str]:
        """The names of all objects, those of the wrong type included."""
        return sorted(f"{path.parent.name}{path.name}" for path in (self.folder / OBJECTS).glob("??/*"))

    def drop(self, oid: str) -> None:
        """Remove an object, whatever stands in its place."""
        _remove(self.path(oid))

    def sizes(self) -> dict[str, int]:
        """MD5 → bytes, of plain objects."""
        return {oid: self.path(oid).stat().st_size for oid in self.objects() if self.path(oid).is_file()}

    def run_path(self, name: str) -> Path:
        """Where the run-cache entry ``KEY/VALUE`` lies."""
        return self.folder / RUNS / name[:2] / name

    def runs(self, key: str = "??/*") -> list[str]:
        """``KEY/VALUE`` of all run-cache entries, or of those of one key, the newest first (as DVC takes them)."""
        pattern = key if "/" in key else f"{key[:2]}/{key}"
        found = sorted((self.folder / RUNS).glob(f"{pattern}/*"), key=lambda path: path.lstat().st_mtime, reverse=True)
        return [f"{path.parent.name}/{path.name}" for path in found]

    def run_fault(self, name: str, sizes: dict[str, int] | None = None) -> str:
        """What is wrong with a run-cache entry; empty when nothing is."""
        return run_fault(self.run_path(name), name, sizes or {})

    def drop_run(self, name: str) -> None:
        """Remove a run-cache entry, whatever stands in its place."""
        _remove(self.run_path(name))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _digest(entry: dict[str, Any], key: bool) -> str:
    """DVC's hash of a run: of what it ran on (``key``), or of the whole entry. Sizes and counts are no part of it."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items() if name not in ("size", "nfiles")}
        return value

    content = plain(entry)
    if key:
        content["outs"] = [out["path"] for out in content.get("outs", [])]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_key(stage: Stage, state: State) -> str:
    """The run-cache's name for what a stage would run on now; empty where an input is not here."""
    deps = [{"path": path, "hash": "md5", "md5": state.hashes.get(path)} for path in sorted(stage.deps)]
    entry: dict[str, Any] = {"cmd": stage.cmd}
    if not all(dep["md5"] for dep in deps):
        return ""
    if deps:
        entry["deps"] = deps
    try:
        params = {file: {key: look_up(key, state.values(file)) for key in keys} for file, keys in stage.params.items()}
    except KeyError:
        return ""
    if params:
        entry["params"] = params
    entry["outs"] = [{"path": path} for path in sorted(stage.outs)]
    return _digest(entry, key=True)


def read_run(path: Path) -> dict[str, Any]:
    """The content of a run-cache entry; raises ``BelleError`` or ``OSError`` where it is none."""
    entry = strict_yaml.load(path)
    outs = entry.get("outs") if isinstance(entry, dict) else None
    if not isinstance(outs, list) or not all(isinstance(out, dict) and {"path", "md5"} <= set(out) for out in outs):
        raise BelleError("lists no outputs", where=str(path))
    return entry


def run_fault(path: Path, name: str, sizes: dict[str, int]) -> str:
    """What is wrong with the run-cache entry that lies at ``path`` and is called ``KEY/VALUE``.

    Args:
        sizes: Bytes by MD5, where they are known: DVC's hash of an entry leaves the sizes in it out.
    """
    key, _, value = name.partition("/")
    try:
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            return "has a folder in its place"
        if not found.st_mode & stat.S_IRUSR:
            return "may not be read by its owner"
        if found.st_size == 0:
            return "is empty"
        entry = read_run(path)
        if _digest(entry, key=True) != key or _digest(entry, key=False) != value:
            return "says something else than its name"
        for item in [*entry.get("deps", []), *entry["outs"]]:
            for field in ("size", "nfiles"):
                if field in item and not isinstance(item[field], int):
                    return f"has a {field} that is no number"
            known = sizes.get(item.get("md5", ""))
            if known is not None and not item["md5"].endswith(".dir") and item.get("size", known) != known:
                return f"gives {item['path']} {item['size']} bytes, which has {known}"
    except FileNotFoundError:
        return MISSING
    except (BelleError, OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return "is no YAML of a run"
    return ""


def users_of(state: State, cache: Cache) -> dict[str, tuple[str, ...]]:
    """Object → the outputs it belongs to: dvc.lock's and the run-cache's stages, and folders that DVC tracks."""
    found: dict[str, dict[str, None]] = {}

    def add(oid: str | None, who: str) -> None:
        if not oid:
            return
        found.setdefault(oid, {})[who] = None
        for relative, inner in cache.members(oid):
            found.setdefault(inner, {})[f"{relative} in {who}"] = None

    for path, oid, who in recorded(state):
        add(oid, f"{path} ({who})")
    for name in cache.runs():
        try:
            entry = read_run(cache.run_path(name))
        except (BelleError, OSError, ValueError):
            continue
        for out in entry["outs"]:
            if out["md5"] not in found:
                add(out["md5"], f"an earlier {out['path']}")
    return {oid: tuple(who) for oid, who in found.items()}


def kept_in_git() -> set[str]:
    """Outputs that git holds instead of the cache."""
    entries = [entry for file in (DVC_FILE, ONDEMAND_FILE) for entry in pipeline.entries(file).values()]
    outs = [out for entry in entries for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    return {path for out in outs if isinstance(out, dict) for path, how in out.items() if how.get("cache") is False}


def recorded(state: State) -> list[tuple[str, str, str]]:
    """(path, MD5, who) of everything that git says DVC holds: stages' outputs and folders tracked by themselves."""
    in_git = kept_in_git()
    found = [
        (out["path"], out["md5"], f"stage {name}")
        for name, entry in state.locked.items()
        for out in entry.get("outs", [])
        if out.get("md5") and out["path"] not in in_git
    ]
    for file in sorted(Path().glob("data/*.dvc")):
        for out in (strict_yaml.load(file) or {}).get("outs", []):
            if out.get("md5"):
                found.append((os.path.join(file.parent, out["path"]), out["md5"], str(file)))
    return found
