"""The matrix: each mutation built in both ways, and the verdict."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trials.forkserver import Forkserver
from trials.mutations import artifacts, code, rules, settings, surroundings, truth
from trials.mutations.mutation import Mutation
from trials.worlds import ROOT, copy_world


@dataclass(frozen=True)
class Verdict:
    """What one mutation led to; stages by name."""

    kind: str
    name: str
    executed: tuple[str, ...]
    restored: tuple[str, ...]
    missed: tuple[str, ...]
    needless: tuple[str, ...]
    seconds: float
    fault: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing was missed, nothing needless and nothing failed."""
        return not (self.missed or self.needless or self.fault)


class Matrix:
    """Tries mutations against one built world."""

    def __init__(self, server: Forkserver, built: Path, scratch: Path) -> None:
        self.server, self.built, self.scratch = server, built, scratch
        world = copy_world(built, scratch / "base" / "world")
        self.base = truth.from_nothing(world, scratch / "base" / "truth", scratch / "calls", **server.environment)
        stands = truth.contents(world.folder, tuple(out for job in self.base.jobs for out in job.outputs))
        if stands != self.base.files:
            differ = sorted(
                name for name in {*stands, *self.base.files} if stands.get(name) != self.base.files.get(name)
            )
            raise AssertionError(f"the unchanged world already differs from a build from nothing: {differ[:10]}")
        self._truths = {json.dumps(truth.sources(world), sort_keys=True): self.base}
        self._lock = threading.Lock()

    def mutations(self, seed: int) -> list[Mutation]:
        """All of them, kind by kind; ``seed`` chooses among the functions and outputs that are changed."""
        chance = random.Random(seed)
        executed = truth.executed_functions(self.scratch / "calls")
        return [
            *settings.settings(), *rules.rules(self.base), *code.code(executed, ROOT / "src", chance),
            *artifacts.artifacts(self.base, chance), *surroundings.inputs(ROOT / "src"), *surroundings.versions(),
            *surroundings.environment(), *surroundings.own_files(),
        ]  # fmt: skip

    def verdict(self, mutation: Mutation, number: int) -> Verdict:
        """Apply a mutation, build in both ways, compare."""
        started, folder = time.monotonic(), self.scratch / f"m{number}"
        try:
            return self._verdict(mutation, folder, started)
        except Exception as error:
            return Verdict(mutation.kind, mutation.name, (), (), (), (), time.monotonic() - started, f"{error}"[-1500:])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _verdict(self, mutation: Mutation, folder: Path, started: float) -> Verdict:
        world = copy_world(self.built, folder / "world")
        mutation.apply(world)
        key = json.dumps(truth.sources(world), sort_keys=True)
        environment = {**self.server.environment, **mutation.environment}
        outcomes = world.build(**environment)
        # a build from nothing in a clean environment: what a variable must not change
        after = self._truth(key, lambda: truth.from_nothing(world, folder / "truth", **self.server.environment))
        needed = truth.affected(after, self.base.files, mutation.roots)
        stands = truth.contents(world.folder, tuple(out for job in after.jobs for out in job.outputs))
        wrong = {name for name, digest in stands.items() if digest != after.files.get(name)}
        wrong |= {
            name for name in after.files
            if name not in stands and any(name == path or name.startswith(f"{path}/") for path in after.targets)
        }  # fmt: skip
        executed = {stage for stage, outcome in outcomes.items() if outcome == "executed"}
        restored = {stage for stage, outcome in outcomes.items() if outcome == "restored"}
        known = {job.name for job in after.jobs}
        return Verdict(
            mutation.kind, mutation.name, tuple(sorted(executed)), tuple(sorted(restored)),
            missed=tuple(sorted(((needed | mutation.restored) & known) - executed - restored)) + tuple(sorted(wrong)),
            needless=tuple(sorted((executed - needed) | (restored - needed - mutation.restored))),
            seconds=time.monotonic() - started,
        )  # fmt: skip

    def _truth(self, key: str, build: Callable[[], truth.Truth]) -> truth.Truth:
        """A build from nothing; the same files are built once."""
        with self._lock:
            known = self._truths.get(key)
        return known or build()
