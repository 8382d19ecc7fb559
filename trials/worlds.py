"""Worlds that tests build in: a copy of this checkout, and a miniature in which the whole graph takes a minute."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from belle import strict_yaml

ROOT = Path(__file__).parents[1]

SMALL: dict[str, Any] = {
    "corpus.tiny.sentences": 400,
    "evalset.tiny.rows_per_split": 20,
    "generate.tiny.rows": 60,
    "pace.in_flight": 4,
    "base.tiny.num_hidden_layers": 1,
    "base.tiny.steps": 4,
    "base.tiny.threads": 1,
    "sft.tiny.num_train_epochs": 1,
    "pace.save_steps": 1,
    "gptq.calibration_rows": 8,
    "gptq.threads": 1,
    "answer.tiny.max_new_tokens": 4,
    "tables.tiny.models": ["tiny-base", "belle-tiny", "belle-tiny-gptq"],
}
"""The smallest numbers for the same graph: what a stage computes is nonsense, when it runs is not."""


BUILT = ("results/", "params.yaml", "data/ledger.dvc", "data/eval/tiny.jsonl", ".dvc/config")
"""Files in git that building or shrinking a world changes."""


class World:
    """A checkout in a folder of its own, and the commands that its users type there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the virtual environment in the folder; its output is both streams together."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ended = subprocess.run(
            words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "src"), **environment}, timeout=600,
        )  # fmt: skip
        if check and ended.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {ended.returncode}:\n{ended.stdout[-6000:]}")
        return ended

    def planned(self, *targets: str, **environment: str) -> dict[str, str]:
        """Stage by stage, what ``snakemake -n`` would run and why."""
        plan, name, text = {}, "", self.run("snakemake", "-n", *targets, **environment).stdout
        for line in text.splitlines():
            word, _, rest = line.strip().partition(": ")
            if word == "log":
                name = Path(rest).stem
            elif word == "reason" and name:
                plan[name] = rest
                name = ""
        return plan

    def roots(self, *targets: str, **environment: str) -> dict[str, str]:
        """Of what is planned, the stages that have a cause of their own."""
        return {
            name: reason.partition("last execution: ")[2]
            for name, reason in self.planned(*targets, **environment).items()
            if "last execution: " in reason
        }

    def history(self) -> list[dict[str, Any]]:
        """The lines of .belle/history.jsonl."""
        path = self.folder / ".belle" / "history.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def build(self, *words: str, **environment: str) -> dict[str, str]:
        """Run ``snakemake`` and return the outcome of each stage that ran."""
        before = len(self.history())
        self.run("snakemake", *words, **environment)
        return {line["stage"]: line["outcome"] for line in self.history()[before:]}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text in a file; it must be there."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def set(self, key: str, value: Any) -> Any:
        """Set a value of params.yaml; returns what it was."""
        path = self.folder / "params.yaml"
        values = strict_yaml.load(path)
        inner = values
        *outer, last = key.split(".")
        for part in outer:
            inner = inner.setdefault(part, {})
        old, inner[last] = inner.get(last), value
        path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return old


def _tracked() -> list[str]:
    """What git has or would have of this checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    # nothing built elsewhere: neither its state nor a remote that other checkouts share
    names = (os.fsdecode(item) for item in listed if item)
    return sorted({name for name in names if name != "dvc.lock" and not name.startswith(("ondemand/", "public/"))})


def copy_checkout(folder: Path) -> Path:
    """A copy of this checkout's files, nothing built, as a repository of its own with one commit."""
    for name in _tracked():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    commit(folder, "copy")
    return folder


def commit(folder: Path, message: str) -> None:
    """Commit everything in a world."""
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", message], cwd=folder, check=True)


def copy_world(source: Path, folder: Path) -> World:
    """A copy of a built world and of the remote beside it; links into its cache lead into the copy's own."""
    shutil.copytree(source, folder, symlinks=True)
    if (source.parent / "remote").exists() and not (folder.parent / "remote").exists():
        shutil.copytree(source.parent / "remote", folder.parent / "remote")
    for root, folders, files in os.walk(folder):
        if root == str(folder):
            folders[:] = [name for name in folders if name not in {".git", ".dvc"}]
        for name in files:
            path = os.path.join(root, name)
            if os.path.islink(path) and os.readlink(path).startswith(f"{source}/"):
                target = f"{folder}{os.readlink(path).removeprefix(str(source))}"
                os.unlink(path)
                os.symlink(target, path)
    return World(folder)


def built_miniature() -> Path:
    """A miniature world, built, pushed and committed; kept in .belle/miniature for as long as no file changes.

    Never change it: ``copy_world`` gives one to work in. Its remote is the folder ``remote`` beside it.
    """
    if given := os.environ.get("BELLE_MINIATURE"):
        return _overlaid(Path(given))
    digest = hashlib.sha256(sys.version.encode())
    for name in _tracked():
        if (ROOT / name).is_file():
            digest.update(f"{name}\0".encode() + (ROOT / name).read_bytes() + b"\0")
    kept = ROOT / ".belle" / "miniature"
    folder = kept / digest.hexdigest()[:16]
    with _held(kept):
        if not (folder / "whole").exists():
            others = sorted((path for path in kept.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
            for old in [folder, *others[:-2]]:
                shutil.rmtree(old, ignore_errors=True)
            _build_miniature(folder)
            (folder / "whole").touch()
    return folder / "world"


def _overlaid(source: Path) -> Path:
    """For work on one part while it is written: a world built earlier, with the files of now and built no further."""
    folder = tempfile.mkdtemp(prefix="belle-miniature-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    world = copy_world(source, Path(folder) / "world")
    for name in _tracked():
        if (ROOT / name).is_file() and not name.startswith(BUILT):
            (world.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, world.folder / name)
    shrink(world)
    commit(world.folder, "overlaid")
    return world.folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_miniature(folder: Path) -> None:
    (folder / "world").mkdir(parents=True)
    world = World(copy_checkout(folder / "world"))
    shrink(world)
    world.edit(".dvc/config", "../public", "../../remote")
    world.run("snakemake")
    world.run("dvc", "push", "-q", "--run-cache")
    commit(world.folder, "built")


def shrink(world: World) -> None:
    """Make a world miniature."""
    for key, value in SMALL.items():
        world.set(key, value)
    world.run(sys.executable, "-m", "belle.cli", "dvc-yaml")
