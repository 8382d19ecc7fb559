"""What a build from nothing gives: every stage's command, one after the other, in an empty folder.

Neither Snakemake's scheduling nor DVC nor the rebuild decision has a part in it: Snakemake only prints the graph
(``snakemake -n -F -p``), each command is run as it stands there, and files are compared by SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trials.worlds import World


@dataclass(frozen=True)
class Job:
    """One stage as Snakemake prints it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Truth:
    """A build from nothing: its jobs in the order they ran, the SHA-256 of every file that they wrote, and which of
    the outputs were asked for."""

    jobs: tuple[Job, ...]
    files: dict[str, str]
    targets: frozenset[str]


def graph(world: World, *targets: str, **environment: str) -> tuple[tuple[Job, ...], frozenset[str]]:
    """All stages that lead to the targets, each after those that it reads from; and what the rule ``all`` asks for."""
    found, fields, rule, asked = [], dict[str, str](), "", frozenset[str]()
    text = world.run("snakemake", "-n", "-F", "-p", *targets, **environment).stdout
    for line in [*text.splitlines(), "rule end:"]:
        if re.match(r"(local)?(rule|checkpoint) ", line):
            fields, rule = {}, line.split()[1].rstrip(":")
        field, colon, value = line.strip().partition(": ")
        if colon and field in {"input", "output", "log"}:
            fields[field] = value
        if line.startswith("    input: "):
            asked = frozenset(fields["input"].split(", ")) if rule == "all" else asked
        command = re.search(r"python -m belle\.build\.run (\S+) -- (.*)", line)
        if command and "output" in fields:
            found.append(
                Job(
                    Path(command[1]).stem, tuple(filter(None, fields.get("input", "").split(", "))),
                    tuple(fields["output"].split(", ")), command[2],
                )
            )  # fmt: skip
    ordered: list[Job] = []
    made = {out for job in found for out in job.outputs}
    while len(ordered) < len(found):
        done = {out for job in ordered for out in job.outputs}
        ready = [job for job in found if job not in ordered and not (set(job.inputs) & made) - done]
        if not ready:
            raise ValueError("the printed jobs wait for each other")
        ordered += sorted(ready, key=lambda job: job.name)
    return tuple(job for job in ordered if job.name != "fingerprint"), asked


def contents(folder: Path, paths: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of every file at or under the paths, by its name relative to ``folder``."""
    found = {}
    for path in paths:
        whole = folder / path
        files = sorted(item for item in whole.rglob("*") if item.is_file()) if whole.is_dir() else [whole]
        for file in files:
            if file.is_file() and ".snakemake_timestamp" not in file.name:
                found[str(file.relative_to(folder))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def sources(world: World) -> dict[str, str]:
    """SHA-256 of every file that a build starts from: what git tracks or would, less what stages write there."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=world.folder, capture_output=True, check=True).stdout.split(b"\0")
    names = {os.fsdecode(item) for item in listed if item}
    built = (
        "results/",
        "data/ledger",
        "data/eval/",
        "dvc.lock",
        "ondemand/",
        "logs/",
        "code.json",
        "dvc.yaml",
        "models/",
    )
    return contents(world.folder, tuple(sorted(name for name in names if not name.startswith(built))))


def from_nothing(world: World, folder: Path, calls: Path | None = None, **environment: str) -> Truth:
    """Build in ``folder`` from the files that ``world`` starts from now, and say what came out.

    Args:
        calls: A folder that gets, for each stage, the functions of ``belle`` that it executed.
    """
    for name in sources(world):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(world.folder / name, folder / name)
    # Snakemake prints the graph in the world itself, whose registry is the same; it writes nothing with -n
    ordered, asked = graph(world, **environment)
    fresh = World(folder)
    for job in ordered:
        for out in job.outputs:
            (folder / out).parent.mkdir(parents=True, exist_ok=True)
        traced = {"BELLE_TRIAL_CALLS": str(calls / job.name)} if calls else {}
        ended = fresh.run("sh", "-c", job.command, check=False, **environment, **traced)
        if ended.returncode:
            raise AssertionError(f"{job.name} from nothing ended with {ended.returncode}:\n{ended.stdout[-4000:]}")
    return Truth(ordered, contents(folder, tuple(out for job in ordered for out in job.outputs)), asked)


def affected(truth: Truth, before: dict[str, str], roots: frozenset[str]) -> frozenset[str]:
    """The stages that must run: the roots, and each that reads or writes a file whose bytes came out otherwise."""
    changed = {name for name in {*truth.files, *before} if truth.files.get(name) != before.get(name)}
    needed = set(roots)
    for job in truth.jobs:
        if any(name == path or name.startswith(f"{path}/") for path in (*job.inputs, *job.outputs) for name in changed):
            needed.add(job.name)
    return frozenset(needed)


def executed_functions(calls: Path) -> dict[str, set[tuple[str, str]]]:
    """Stage → (module path under src, function) that its command executed, from what a build left in ``calls``.

    A command's stages count together: one whose requests are all answered already starts no sender, by chance alone.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    for folder in calls.iterdir():
        for file in folder.glob("*.json"):
            command = folder.name.partition("-")[0]
            found.setdefault(command, set()).update((path, name) for path, name in json.loads(file.read_text()))
    return {folder.name: found.get(folder.name.partition("-")[0], set()) for folder in calls.iterdir()}
