"""Worlds that tests build in: a copy of this checkout, and a miniature in which the whole graph takes a minute."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from belle import strict_yaml

ROOT = Path(__file__).parents[1]

SMALL: dict[str, Any] = {
    "corpus.tiny.sentences": 400,
    "evalset.tiny.rows_per_split": 20,
    "generate.tiny.rows": 60,
    "generate.tiny.in_flight": 4,
    "base.tiny.num_hidden_layers": 1,
    "base.tiny.steps": 4,
    "base.tiny.threads": 1,
    "sft.tiny.num_train_epochs": 1,
    "sft.tiny.save_steps": 1,
    "gptq.calibration_rows": 8,
    "gptq.threads": 1,
    "answer.tiny.max_new_tokens": 4,
    "tables.tiny.models": ["tiny-base", "belle-tiny", "belle-tiny-gptq"],
}
"""The smallest numbers for the same graph: what a stage computes is nonsense, when it runs is not."""


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

    def planned(self, *targets: str) -> dict[str, str]:
        """Stage by stage, what ``snakemake -n`` would run and why."""
        plan, name, text = {}, "", self.run("snakemake", "-n", *targets).stdout
        for line in text.splitlines():
            word, _, rest = line.strip().partition(": ")
            if word == "log":
                name = Path(rest).stem
            elif word == "reason" and name:
                plan[name] = rest
                name = ""
        return plan

    def roots(self, *targets: str) -> dict[str, str]:
        """Of what is planned, the stages that have a cause of their own."""
        return {
            name: reason.partition("last execution: ")[2]
            for name, reason in self.planned(*targets).items()
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
            inner = inner[part]
        old, inner[last] = inner[last], value
        path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return old


def copy_checkout(folder: Path) -> Path:
    """A copy of what git has or would have of this checkout, as a repository of its own with one commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, (os.fsdecode(item) for item in listed)):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    # nothing built elsewhere: neither its state nor a remote that other checkouts share
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(folder / "ondemand", ignore_errors=True)
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "copy"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def shrink(world: World) -> None:
    """Make a world miniature."""
    for key, value in SMALL.items():
        world.set(key, value)
    world.run(sys.executable, "-m", "belle.cli", "dvc-yaml")
