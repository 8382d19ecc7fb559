"""Two builds from nothing: where they stand, and how alike their artifacts came out."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from belle.build import pipeline
from belle.build.state import State
from belle.errors import BelleError

CLASSES = ("bytes", "tensors", "statistics", "different")
"""From best to worst: equal files; equal tensors in other files; other values of the same kind and size; neither."""

NO_REMOTE = "[core]\n    analytics = false\n    check_update = false\n"


@dataclass(frozen=True)
class Alike:
    """One output of a stage in two builds. ``alike`` is one of ``CLASSES``; ``note`` says what differs."""

    stage: str
    output: str
    files: int
    alike: str
    note: str = ""

    def row(self) -> dict[str, str | int]:
        """The fields as JSON takes them."""
        return asdict(self)


def checkout_of(source: Path, folder: Path) -> None:
    """Copy what git has or would have of ``source``, without anything that was built, its state, or a remote."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source, capture_output=True, check=True).stdout.split(b"\0")
    built = {out for _, outs in outputs(source).items() for out in outs} - {"code.json"}
    for name in (os.fsdecode(item) for item in listed if item):
        if name == "dvc.lock" or name in built or name.startswith(("ondemand/", "public/")):
            continue
        if not (source / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    (folder / ".dvc" / "config").write_text(NO_REMOTE, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def outputs(folder: Path) -> dict[str, tuple[str, ...]]:
    """Stage → outputs, as dvc.yaml of a checkout declares them."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        state = State()
        found = pipeline.entries(pipeline.DVC_FILE)
        return {name: pipeline.resolve(name, entry, state).outs for name, entry in found.items()}
    finally:
        os.chdir(here)


def build(folder: Path, cores: int) -> None:
    """Build the default targets in a checkout of its own.

    Raises:
        BelleError: the build failed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        raise BelleError("the build failed", where=str(folder), fix="read its logs/, or build it there by hand")


def compare(first: Path, second: Path, tensors: Callable[[Path, Path], tuple[str, str]]) -> list[Alike]:
    """Every output of every stage in both folders.

    Args:
        tensors: Compares two files that differ in bytes; returns one of ``CLASSES`` and what differs.
    """
    found = []
    for stage, outs in sorted(outputs(first).items()):
        if stage == "fingerprint":
            continue
        for out in outs:
            found.append(_compared(stage, out, first / out, second / out, tensors))
    return found


def _compared(
    stage: str, out: str, first: Path, second: Path, tensors: Callable[[Path, Path], tuple[str, str]]
) -> Alike:
    ours, theirs = _digests(first), _digests(second)
    if not ours or ours.keys() != theirs.keys():
        names = sorted(ours.keys() ^ theirs.keys()) or ["nothing stands in either"]
        return Alike(stage, out, len(ours), "different", f"only in one: {', '.join(names[:3])}")
    worst, notes = "bytes", []
    for name in sorted(name for name in ours if ours[name] != theirs[name]):
        alike, note = tensors(first / name if name else first, second / name if name else second)
        worst = max(worst, alike, key=CLASSES.index)
        notes.append(f"{name or out}: {note}")
    return Alike(stage, out, len(ours), worst, "; ".join(notes[:3]))


def _digests(path: Path) -> dict[str, str]:
    files = {"": path} if path.is_file() else {str(file.relative_to(path)): file for file in path.rglob("*")}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in files.items()
        if file.is_file() and file.name != ".snakemake_timestamp"
    }


def worse(now: list[Alike], published: list[dict[str, str | int]]) -> list[str]:
    """What came out less alike than was published, one line each; an output not published yet is none of it."""
    known = {row["output"]: str(row["alike"]) for row in published}
    return [
        f"{item.output}: {known[item.output]} → {item.alike} ({item.note})"
        for item in now
        if item.output in known and CLASSES.index(item.alike) > CLASSES.index(known[item.output])
    ]
