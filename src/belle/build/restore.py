"""Before a stage runs: bring back what was made already, and let nothing through that is not what its name says."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from belle.build.cache import MISSING, Cache, Fault, cache_folder, kept_in_git, read_run, run_key
from belle.build.remotes import Remotes
from belle.build.state import Stage, State
from belle.errors import BelleError
from belle.files import atomic_file


def say(text: str) -> None:
    """Tell the user of something that was found."""
    print(f"belle: {text}", file=sys.stderr, flush=True)


@dataclass
class Restorer:
    """What stands between DVC's cache and a stage."""

    state: State
    cache: Cache = field(init=False)
    remotes: Remotes = field(init=False)

    def __post_init__(self) -> None:
        self.cache = Cache(cache_folder(), self.state.hashes)
        self.remotes = Remotes(self.cache, say)

    def bring(self, wanted: dict[str, str], who: str) -> list[str]:
        """Have the objects of some outputs in the cache, right: those that are not are dropped and brought anew.

        Args:
            wanted: Path of an output → its MD5.
            who: The stage that made them, for messages.

        Returns:
            The outputs that cannot be had.
        """
        lacking = []
        for path, oid in wanted.items():
            here = self._one(oid, f"{path} ({who})")
            # a folder's list first: it names the rest
            members = self.cache.members(oid) if here else []
            if not all([here, *(self._one(inner, f"{relative} in {path} ({who})") for relative, inner in members)]):
                lacking.append(path)
        return lacking

    def _one(self, oid: str, users: str) -> bool:
        wrong = self.cache.fault(oid)
        if not wrong:
            return True
        if wrong != MISSING:
            say(f"cache: {Fault(oid, wrong, (users,))}; dropped")
            self.cache.drop(oid)
        source = self.remotes.bring(oid, users)
        self.state.hashes.forget()
        if source and wrong != MISSING:
            say(f"cache: object {oid} is right again, brought from remote {source}")
        return bool(source)

    def from_git(self, wanted: dict[str, str]) -> None:
        """Write back outputs that git holds, where what is staged or committed is what dvc.lock names.

        Args:
            wanted: Path of an output → its MD5.
        """
        for path, oid in wanted.items():
            for place in (f":./{path}", f"HEAD:./{path}"):
                found = subprocess.run(["git", "cat-file", "blob", place], capture_output=True, check=False)
                if not found.returncode and hashlib.md5(found.stdout, usedforsecurity=False).hexdigest() == oid:
                    with atomic_file(Path(path), "wb") as file:
                        file.write(found.stdout)
                    break
        self.state.hashes.forget()

    def inputs(self, stage: Stage) -> None:
        """Make good every input that leads into the cache and is not what dvc.lock says its stage made.

        Raises:
            BelleError: an input's object is corrupt and nothing can bring it back here.
        """
        made = {
            out["path"]: (out["md5"], name)
            for name, entry in self.state.locked.items()
            for out in entry.get("outs", [])
            if out.get("md5")
        }
        for dep in stage.deps:
            if dep not in made or self.state.hashes.get(dep) == made[dep][0] or not self.linked(dep):
                continue
            oid, maker = made[dep]
            if self.bring({dep: oid}, f"stage {maker}"):
                raise BelleError(
                    f"its object in the cache is not what stage {maker} made, and no remote has it",
                    where=dep, cause="the cache was damaged while the build ran", fix="build again: it is made anew",
                )  # fmt: skip

    def linked(self, path: str) -> bool:
        """Whether an output, or a file in it, is a link into the cache."""
        folder = str(self.cache.folder)
        names = [path]
        for root, _, files in os.walk(path):
            names += [os.path.join(root, name) for name in files]
        return any(os.path.islink(name) and os.readlink(name).startswith(folder) for name in names)

    def made_before(self, stage: Stage) -> dict[str, str]:
        """The outputs that a run on just these inputs had, from the run-cache here or of a remote; empty for none."""
        key = run_key(stage, self.state)
        if not key:
            return {}
        for attempt in ("here", "remote"):
            if attempt == "remote":
                self.remotes.bring_runs(key)
            for name in self.cache.runs(key):
                if wrong := self.cache.run_fault(name):
                    say(f"cache: {Fault(name, wrong)}; dropped")
                    self.cache.drop_run(name)
                    continue
                return {out["path"]: out["md5"] for out in read_run(self.cache.run_path(name))["outs"]}
        return {}


def locked_outs(state: State, name: str) -> dict[str, str]:
    """Output → MD5, as dvc.lock has them."""
    return {out["path"]: out["md5"] for out in state.locked.get(name, {}).get("outs", []) if out.get("md5")}


def unequal(state: State, name: str) -> dict[str, str]:
    """The outputs of a stage that stand here with other bytes than dvc.lock names, with the MD5 that it names."""
    return {path: oid for path, oid in locked_outs(state, name).items() if state.hashes.get(path) != oid}


def before(state: State, stage: Stage, only_outputs: bool) -> list[str]:
    """Prepare a stage's run.

    Args:
        only_outputs: The stage is as dvc.lock says and only its outputs are missing or other than that.

    Returns:
        The outputs whose objects could not be had: those must be made.
    """
    restorer = Restorer(state)
    restorer.inputs(stage)
    if only_outputs:
        locked, in_git = locked_outs(state, stage.name), kept_in_git()
        lacking = restorer.bring(
            {path: oid for path, oid in locked.items() if path not in in_git}, f"stage {stage.name}"
        )
        state.hashes.forget()
        restorer.from_git({path: oid for path, oid in unequal(state, stage.name).items() if path in in_git})
        for path in unequal(state, stage.name):  # DVC may take it for right by its times
            if state.hashes.get(path) is not None:
                remove(path)
        state.hashes.forget()
        return lacking
    wanted = restorer.made_before(stage)
    return restorer.bring(wanted, f"stage {stage.name}") if wanted else []


def remove(path: str) -> None:
    """Remove an output; the cache behind a link stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def after(state: State, name: str) -> list[str]:
    """Look at what a run left: where DVC linked a corrupt object, drop it. Returns the outputs that are not right."""
    wrong = unequal(state, name)
    if not wrong:
        return []
    restorer = Restorer(state)
    for path, oid in wrong.items():
        for inner, user in [
            (oid, path),
            *((md5, f"{relative} in {path}") for relative, md5 in restorer.cache.members(oid)),
        ]:
            if (fault := restorer.cache.fault(inner)) and fault != MISSING:
                say(f"cache: {Fault(inner, fault, (f'{user} (stage {name})',))}; dropped")
                restorer.cache.drop(inner)
        if state.hashes.get(path) is not None:
            remove(path)
    state.hashes.forget()
    return list(wrong)
