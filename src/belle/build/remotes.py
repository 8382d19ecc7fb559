"""DVC's remotes, read object by object: what a build needs is brought, what is wrong is named.

Every object is checked against its name while it is brought, whatever the remote's ``verify`` says. A remote that does
not answer is no reason to fail: the build goes on without it, and asks it no second time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from belle.build.cache import MISSING, OBJECTS, RUNS, Cache, Fault, md5_fault, object_path, run_fault
from belle.build.environment import BUILD_PID
from belle.errors import BelleError, InputError
from belle.files import atomic_file, temporary_name

PUBLIC = "public"
"""The remote that lies in this repository, for readers without an account: asked after the default one."""
ANSWER_S = 20.0
"""Seconds that a remote has for its first answer."""
SILENT = Path(".belle/silent-remotes.json")


class Remote:
    """One of DVC's remotes.

    Raises:
        InputError: DVC has no remote of that name.
        BelleError: it does not answer, or its files cannot be reached.
    """

    def __init__(self, repo: Any, name: str) -> None:
        from dvc.config import ConfigError

        self.name = name
        try:
            self._remote = repo.cloud.get_remote(name)
        except ConfigError as error:
            raise InputError(
                str(error), where=f"remote {name}", fix="`dvc remote list` shows the names; `dvc remote add` adds one"
            ) from None
        except Exception as error:
            raise _unreachable(name, error) from None
        self.fs, self.folder = self._remote.fs, self._remote.path
        self.lists = self.fs.protocol not in ("http", "https")
        """Whether its files can be listed: the run-cache and a check need that."""

    def answers(self) -> None:
        """Make sure that it is there; raises ``BelleError`` where it is not."""
        if not self.lists:
            return
        if not within(ANSWER_S, self.name, lambda: self.fs.exists(self.folder)) and self.fs.protocol == "local":
            raise BelleError("there is no such folder", where=f"remote {self.name}")

    def _path(self, relative: str) -> str:
        return self.fs.join(self.folder, *relative.split("/"))

    def get(self, relative: str, target: Path) -> None:
        """Bring one file to a local path; raises ``FileNotFoundError`` or ``BelleError``."""
        with self._speaking():
            self.fs.get_file(self._path(relative), str(target))

    def listed(self, relative: str) -> dict[str, int | None]:
        """Every file below a folder, by its path inside the remote, with its bits of access where they are known."""
        start = self._path(relative)
        with self._speaking():
            if not self.fs.exists(start):
                return {}
            found = self.fs.find(start, detail=True)
        details = found if isinstance(found, dict) else {path: {} for path in found}
        depth = len(self.fs.parts(self.folder))
        return {"/".join(self.fs.parts(path)[depth:]): self._mode(path, info or {}) for path, info in details.items()}

    def _mode(self, path: str, info: dict[str, Any]) -> int | None:
        if self.fs.protocol == "local":
            return os.stat(path).st_mode
        if self.fs.protocol == "ssh":
            info = self.fs.info(path)  # its listing comes without
        return info.get("mode", info.get("permissions"))

    def put(self, source: Path, relative: str) -> None:
        """Write a local file into the remote, whole or not at all where its protocol can rename."""
        with self._speaking():
            self.fs.makedirs(self.fs.parent(self._path(relative)), exist_ok=True)
            self.fs.put_file(str(source), self._path(relative))

    def drop(self, relative: str) -> None:
        """Remove a file or folder, and what DVC remembers of this remote's content."""
        from dvc_data.hashfile.db import get_index

        with self._speaking():
            self.fs.remove(self._path(relative), recursive=True)
        index = get_index(self._remote.odb)  # DVC takes a folder that it pushed once for whole ever after
        index.clear()
        index.close()

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, BelleError):
            raise
        except Exception as error:
            raise _unreachable(self.name, error) from None


def _unreachable(name: str, error: BaseException) -> BelleError:
    # an error's text may hold an address with a password in it: only its kind and the system's words are shown
    words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
    if isinstance(error, ImportError):
        words = "its package is not installed: dvc-ssh for ssh, dvc-s3 for S3"
    return BelleError(
        f"cannot be used ({type(error).__name__}{': ' + words if words else ''})", where=f"remote {name}",
        cause="no network, a wrong address, or credentials that are missing",
        fix=f"try `dvc status -c -r {name}`, which shows DVC's own words",
    )  # fmt: skip


def within(seconds: float, name: str, ask: Callable[[], Any]) -> Any:
    """The result of ``ask``; raises ``BelleError`` where it fails or takes longer. A hanging call is left behind."""
    answer: list[Any] = []

    def run() -> None:
        try:
            answer.append((True, ask()))
        except BaseException as error:
            answer.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise BelleError(f"no answer in {seconds:.0f} s", where=f"remote {name}")
    good, value = answer[0]
    if good:
        return value
    raise value if isinstance(value, BelleError) else _unreachable(name, value)


def _open(name: str) -> Remote:
    from dvc.repo import Repo

    return Remote(Repo(), name)


class Remotes:
    """The remotes that a build asks, in order: the default one, then ``public``. Opened when first needed."""

    def __init__(self, cache: Cache, say: Callable[[str], None], names: list[str] | None = None) -> None:
        self.cache, self.say, self._names = cache, say, names
        self._open: list[Remote] | None = None

    def _opened(self) -> list[Remote]:
        if self._open is None:
            self._open = []
            for name in self._names if self._names is not None else configured():
                if name in _silent():
                    continue
                try:
                    remote = within(ANSWER_S, name, partial(_open, name))
                    remote.answers()
                except BelleError as error:
                    self.say(f"{error.where}: {error.what}; going on without it")
                    _remember_silent(name)
                    continue
                self._open.append(remote)
        return self._open

    def bring(self, oid: str, users: str = "") -> str:
        """Bring an object into the cache from the first remote that has it right; returns its name, or ``""``."""
        for remote in list(self._opened()):
            target = self.cache.path(oid)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_name(target)
            try:
                remote.get(object_path(oid), temporary)
                with open(temporary, "rb") as file:
                    found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                if wrong := md5_fault(oid, found, temporary.stat().st_size):
                    self.say(f"remote {remote.name}: {Fault(oid, wrong, (users,) if users else ())}")
                    continue
                os.chmod(temporary, 0o444)
                self.cache.drop(oid)
                os.replace(temporary, target)
                return remote.name
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                self.say(f"remote {remote.name}: {Fault(oid, 'has a folder in its place', (users,) if users else ())}")
            except BelleError as error:
                self.say(f"{error.where}: {error.what}; going on without it")
                _remember_silent(remote.name)
                self._opened().remove(remote)
            finally:
                if temporary.is_file():
                    temporary.unlink()
        return ""

    def bring_runs(self, key: str) -> None:
        """Bring the run-cache entries of one key, whole ones only."""
        for remote in self._opened():
            if not remote.lists:
                continue
            try:
                names = list(remote.listed(f"{RUNS}/{key[:2]}/{key}"))
                for relative in names:
                    name = "/".join(relative.split("/")[-2:])
                    target = self.cache.run_path(name)
                    if target.exists():
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    temporary = temporary_name(target)
                    try:
                        remote.get(relative, temporary)
                        if wrong := run_fault(temporary, name, {}):
                            self.say(f"remote {remote.name}: {Fault(name, wrong)}")
                        else:
                            os.replace(temporary, target)
                    finally:
                        temporary.unlink(missing_ok=True)
            except (BelleError, OSError) as error:
                self.say(f"remote {remote.name}: its run-cache cannot be read ({type(error).__name__})")


def configured() -> list[str]:
    """The default remote of this folder and ``public``, where they are configured."""
    from dvc.config import Config

    config = Config(str(Path(".dvc").absolute()), validate=False)
    names = [config.get("core", {}).get("remote"), PUBLIC]
    return list(dict.fromkeys(name for name in names if name and name in config.get("remote", {})))


def _silent() -> list[str]:
    try:
        noted = json.loads(SILENT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return noted["names"] if noted.get("build") and noted["build"] == os.environ.get(BUILD_PID) else []


def _remember_silent(name: str) -> None:
    if build := os.environ.get(BUILD_PID):
        with atomic_file(SILENT) as file:
            json.dump({"build": build, "names": sorted({*_silent(), name})}, file)


__all__ = ["MISSING", "OBJECTS", "PUBLIC", "Remote", "Remotes", "configured", "within"]
