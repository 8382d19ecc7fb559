"""The mutation matrix: change one thing, build, and compare with a build from nothing.

``python -m trials.mutations`` runs all of it; ``--seconds 300`` as many as fit, drawn at random (CI does that).

For each change the miniature world is built twice: by ``snakemake`` in a copy of the built world, and from nothing in
an empty folder (``trials.truth``). **Missed** is a stage that had to run and did not, or a file whose bytes are not
those of the build from nothing. **Needless** is a stage that ran without need. A stage has need when what was changed
is its own (a setting it reads, code that it was seen to execute, its rule, a file it reads), or when a file that it
reads comes out of the build from nothing otherwise than before.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from trials import catalogue, surroundings, truth
from trials.catalogue import Mutation
from trials.forkserver import Forkserver
from trials.worlds import ROOT, built_miniature, copy_world


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
        """The whole catalogue."""
        chance = random.Random(seed)
        executed = truth.executed_functions(self.scratch / "calls")
        return [
            *catalogue.settings(), *catalogue.rules(self.base), *catalogue.code(executed, ROOT / "src", chance),
            *catalogue.artifacts(self.base, chance), *surroundings.inputs(ROOT / "src"), *surroundings.versions(),
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


def table(verdicts: list[Verdict], whole: int, seconds: float, seed: int) -> str:
    """The matrix as Markdown: counts by kind, then every mutation."""
    lines = [
        "# Mutation matrix", "",
        "Written by `python -m trials.mutations`; do not edit. Each change is made alone in a built miniature world;",
        "what ran is compared with what had to run, and the bytes with those of a build from nothing: how, and what",
        "counts as missed or needless, trials/mutations.py says.",
        "", f"{len(verdicts)} of {whole} mutations, seed {seed}, {seconds / 60:.0f} minutes: "
        f"**{sum(bool(v.missed) for v in verdicts)} missed, {sum(bool(v.needless) for v in verdicts)} needless, "
        f"{sum(bool(v.fault) for v in verdicts)} failed**.", "",
        "| kind | mutations | stages executed | restored | missed | needless |", "|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    groups = Counter(verdict.kind for verdict in verdicts)
    for kind, count in sorted(groups.items()):
        of = [verdict for verdict in verdicts if verdict.kind == kind]
        executed, restored = (sum(len(getattr(v, what)) for v in of) for what in ("executed", "restored"))
        missed, needless = (sum(bool(getattr(v, what)) for v in of) for what in ("missed", "needless"))
        lines.append(f"| {kind} | {count} | {executed} | {restored} | {missed} | {needless} |")
    stages = Counter(stage for verdict in verdicts for stage in verdict.executed)
    lines += [
        "",
        "| stage | times executed |",
        "|---|--:|",
        *(f"| {name} | {n} |" for name, n in sorted(stages.items())),
    ]
    lines += ["", "| mutation | executed | restored | verdict |", "|---|---|---|---|"]
    for verdict in sorted(verdicts, key=lambda v: (v.kind, v.name)):
        said = (
            "right"
            if verdict.right
            else f"missed {list(verdict.missed)}, needless {list(verdict.needless)} {verdict.fault[:80]}"
        )
        name = verdict.name.replace("|", "\\|")
        lines.append(f"| {verdict.kind}: {name} | {_short(verdict.executed)} | {_short(verdict.restored)} | {said} |")
    return "\n".join(lines) + "\n"


def _short(stages: tuple[str, ...]) -> str:
    return ", ".join(stages) if len(stages) <= 3 else f"{len(stages)} stages"


def main(argv: list[str] | None = None) -> int:
    """Run the matrix; the exit status is 1 when anything was missed, needless or failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0, help="stop starting after this long (default: run all)")
    parser.add_argument("--seed", type=int, default=0, help="order and choices (default: %(default)s)")
    parser.add_argument("--only", default="", help="only mutations whose kind or name has this text")
    parser.add_argument("--jobs", type=int, default=2, help="mutations at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the table here")
    parser.add_argument("--log", type=Path, help="append a line of JSON for each mutation")
    args = parser.parse_args(argv)
    started, verdicts = time.monotonic(), list[Verdict]()
    with Forkserver() as server, tempfile.TemporaryDirectory(prefix="belle-mutations-") as scratch:
        matrix = Matrix(server, built_miniature(), Path(scratch))
        whole = [m for m in matrix.mutations(args.seed) if args.only in f"{m.kind}: {m.name}"]
        order = random.Random(args.seed).sample(whole, len(whole)) if args.seconds else whole
        with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(order), unit="mutation") as bar:

            def run(number: int) -> None:
                if args.seconds and time.monotonic() - started > args.seconds:
                    return
                verdict = matrix.verdict(order[number], number)
                verdicts.append(verdict)
                bar.update()
                if not verdict.right:
                    said = f"missed {verdict.missed} needless {verdict.needless} {verdict.fault}"
                    tqdm.write(f"{verdict.kind}: {verdict.name}: {said}")
                if args.log:
                    with open(args.log, "a", encoding="utf-8") as log:
                        log.write(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")

            list(pool.map(run, range(len(order))))
    text = table(verdicts, len(whole), time.monotonic() - started, args.seed)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text.partition("\n| mutation |")[0])
    return 0 if verdicts and all(verdict.right for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
