"""Run stages in a copy of the checkout, traced, and hold what they do against what they declare."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from belle.build import pipeline
from belle.build.code import Code
from belle.build.environment import BUILD_PID, REASON, TRACE, hermetic
from belle.build.hermetic_rules import Finding, Rules, Seen
from belle.build.stages import DVC_FILE, ONDEMAND_FILE
from belle.build.state import Stage, State
from belle.build.tracing import getenv, recorder, strace
from belle.errors import BelleError, InputError
from belle.files import require_file


@dataclass(frozen=True)
class Means:
    """What a stage may use beside its inputs.

    Args:
        hosts: Hosts outside that it may talk to; ``*`` for any.
        added: Paths that it may read and add to, though they are no inputs or outputs.
        carried: Those of them that it is given as they stand in the checkout.
        reads_home: Whether it may read below the user's home (a cache of what was fetched).
    """

    hosts: frozenset[str] = frozenset()
    added: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    reads_home: bool = False


@dataclass
class Verdict:
    """What one stage did, in numbers, and what of it nobody declared."""

    stage: str
    seconds: float = 0.0
    seen: Seen = field(default_factory=Seen)
    findings: list[Finding] = field(default_factory=list)


def chosen(names: list[str], state: State) -> list[Stage]:
    """The stages of dvc.yaml with these names (none: all), each after those that make its inputs.

    Raises:
        BelleError: there is no such stage.
    """
    known = {**pipeline.entries(ONDEMAND_FILE), **pipeline.entries(DVC_FILE)}
    if not names:
        names = list(pipeline.entries(require_file(DVC_FILE, "the stages")))
    for name in names:
        if name not in known:
            raise InputError(f"no stage {name}", where=str(DVC_FILE), fix=f"one of: {', '.join(sorted(known))}")
        pipeline.refuse_stale(name, known[name], state)
    stages = {name: pipeline.resolve(name, known[name], state) for name in names}
    makers = {out: stage.name for stage in stages.values() for out in stage.outs}
    ordered: dict[str, Stage] = {}

    def place(stage: Stage) -> None:
        if stage.name not in ordered:
            for dep in stage.deps:
                maker = makers.get(dep)
                if maker and maker != stage.name:
                    place(stages[maker])
            ordered[stage.name] = stage

    for name in sorted(stages):
        place(stages[name])
    return list(ordered.values())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
        shutil.copymode(source, target)


def copy_checkout(stages: list[Stage], carried: set[str], folder: Path) -> None:
    """Copy what git has or would have of the current folder, and the inputs that ``stages`` do not make themselves.

    Raises:
        InputError: an input is not here.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True
    ).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        if Path(name).is_file():
            _copy(Path(name), folder / name)
    made: set[str] = set()
    for stage in stages:
        for dep in stage.deps:
            if dep not in made and not (folder / dep).exists():
                if not Path(dep).exists():
                    raise InputError(
                        f"input of {stage.name}, is not here",
                        where=dep,
                        fix="build it (`snakemake`), or name its stage, too",
                    )
                _copy(Path(dep), folder / dep)
        made.update(stage.outs)
    for name in carried:
        if Path(name).exists():
            _copy(Path(name), folder / name)


@contextmanager
def workplace(keep: bool) -> Iterator[Path]:
    """A folder of our own, removed at the end unless ``keep``."""
    folder = Path(mkdtemp(prefix="belle-verify-")).resolve()
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class Verifier:
    """Stages, one after the other, in one copy of the checkout; each finds there what the ones before have made."""

    def __init__(self, stages: list[Stage], means: Callable[[Stage], Means], folder: Path) -> None:
        self.stages, self.means, self.folder = stages, means, folder
        self.checkout, self.recorders = folder / "checkout", folder / "recorders"
        strace.require()
        copy_checkout(stages, {path for stage in stages for path in means(stage).carried}, self.checkout)
        self.recorders.mkdir()
        shutil.copyfile(recorder.__file__, self.recorders / "sitecustomize.py")
        self.blind = getenv.compile_into(self.recorders)
        """Why variables read from C are not seen; empty where they are."""
        self.code = Code(self.checkout / "src", self.checkout / "requirements.lock")

    def verify(self, stage: Stage) -> Verdict:
        """Run one stage and judge what it did."""
        command = stage.cmd.split()[1]
        means, scratch = self.means(stage), self.folder / "tmp"
        rules = Rules(
            root=self.checkout, stage=stage, command=command, code=self.code, added=means.added,
            hosts=means.hosts, reads_home=means.reads_home, own=(scratch, self.recorders), home=Path.home(),
        )  # fmt: skip
        for out in stage.outs:  # as DVC does before it runs a stage
            path = self.checkout / out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path in (scratch, self.checkout / ".belle"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        for file in (*self.recorders.glob("variables.*"), *self.recorders.glob("c-variables.*")):
            file.unlink()
        begin = time.monotonic()
        trace = strace.trace(
            ["/bin/sh", "-c", stage.cmd], self.checkout, self._environment(stage, command, scratch),
            self.folder / "notes" / stage.name, self.folder / "logs" / f"{stage.name}.log",
        )  # fmt: skip
        verdict = Verdict(stage.name, round(time.monotonic() - begin, 3))
        rules.judge_files(trace)
        rules.judge_connections(trace)
        rules.judge_variables(self.recorders)
        if trace.status:
            log = self.folder / "logs" / f"{stage.name}.log"
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
            rules.find("failed", f"the stage ended with {trace.status}: {said}", "see what it says; it may miss a file")
        verdict.seen, verdict.findings = rules.seen, rules.findings
        return verdict

    def _environment(self, stage: Stage, command: str, scratch: Path) -> dict[str, str]:
        given: dict[str, Any] = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "TMPDIR": str(scratch),
            "PWD": str(self.checkout),
            "DVC_STAGE": stage.name,
            "DVC_ROOT": str(self.checkout),
            TRACE: str(self.recorders),
            REASON: "belle verify",
            BUILD_PID: f"{os.uname().nodename}:{os.getpid()}",
        }
        given.pop("OPENAI_API_KEY", None)  # what is not in the ledger is not bought for a check
        return hermetic(given, command, self.checkout)


__all__ = ["BelleError", "Means", "Verdict", "Verifier", "chosen", "copy_checkout", "workplace"]
