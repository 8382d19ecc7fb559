"""Agreement: after random edits, ``snakemake -n`` and ``dvc status`` name the same stages.

``python -m trials.agreement`` makes 1,000 edits; ``--seconds 180`` as many as fit. Edits pile up in a world until it
is put back to what was built. After each, both are asked; what Snakemake plans for a cause of its own must be what DVC
calls changed. Two differences are by design and left out: DVC also lists an intermediate that is gone though nothing
needs it, and the stage ``fingerprint``, which is bookkeeping.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle import strict_yaml
from trials.forkserver import Forkserver
from trials.worlds import World, built_miniature, copy_world

EDITS_A_WORLD = 12
"""After so many edits a world is put back: by then most stages are stale, and an edit has little left to show."""


class Editor:
    """Makes random edits of the kinds that people make."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.kinds: tuple[tuple[str, Callable[[], str]], ...] = (
            ("a setting", self.setting), ("a setting", self.setting), ("a setting back", self.setting_back),
            ("code", self.code), ("comment", self.comment), ("artifact changed", self.artifact),
            ("artifact gone", self.gone), ("input", self.seed_row), ("touch", self.touch),
        )  # fmt: skip
        self.params = (world.folder / "params.yaml").read_bytes()

    def edit(self) -> tuple[str, str]:
        """Make one edit; returns its kind and what it was."""
        while True:
            kind, make = self.chance.choice(self.kinds)
            if done := make():
                return kind, done

    def setting(self) -> str:
        """Change a number anywhere in the sections of settings, within what is allowed."""
        values = strict_yaml.load(self.world.folder / "params.yaml")
        section = self.chance.choice(
            ["corpus", "evalset", "generate", "clean", "base", "sft", "gptq", "answer", "judge"]
        )
        leaves = [
            (keys, value) for keys, value in _leaves((section,), values[section])
            if isinstance(value, int | float) and not isinstance(value, bool)
            and keys[-1] in {"seed", "steps", "rows", "sentences", "max_output_chars", "rows_per_split",
                             "learning_rate",
                             "num_train_epochs", "calibration_rows", "max_new_tokens", "max_tokens", "damp_percent"}
        ]  # fmt: skip
        keys, value = self.chance.choice(leaves)
        new = value + 1 if isinstance(value, int) else round(value * 0.9, 8)
        self.world.set(".".join(keys), new)
        return f"{'.'.join(keys)}: {value} → {new}"

    def setting_back(self) -> str:
        """Put all settings back."""
        (self.world.folder / "params.yaml").write_bytes(self.params)
        return "params.yaml as it was built"

    def code(self) -> str:
        """Add a statement to a function of a random module that stages use."""
        modules = [
            path for path in (self.world.folder / "src/belle").rglob("*.py") if "def " in path.read_text("utf-8")
        ]
        path = self.chance.choice(sorted(item for item in modules if not {"build", "commands"} & set(item.parts)))
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        returns = [n for n, line in enumerate(lines) if line.startswith("    return ")]
        if not returns:
            return ""
        line = self.chance.choice(returns)
        lines.insert(line, f"    edited = {self.chance.randrange(10**6)}\n")
        path.write_text("".join(lines), encoding="utf-8")
        return f"{path.name}, line {line + 1}: a statement"

    def comment(self) -> str:
        """Add a comment to a random module."""
        path = self.chance.choice(sorted((self.world.folder / "src/belle").rglob("*.py")))
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"\n# {self.chance.random()}\n")
        return f"{path.name}: a comment"

    def _artifact(self) -> Path | None:
        found = [
            path for name in ("data/corpus", "data/raw", "data/clean", "models", "results/answers", "results/verdicts",
                              "results/scores", "results/tables")
            for path in (self.world.folder / name).rglob("*") if path.is_file()
        ]  # fmt: skip
        return self.chance.choice(sorted(found)) if found else None

    def artifact(self) -> str:
        """Change a byte in a built file."""
        if (path := self._artifact()) is None or not path.stat().st_size:
            return ""
        data = bytearray(path.read_bytes())
        data[self.chance.randrange(len(data))] ^= 1
        path.unlink()
        path.write_bytes(data)
        return f"{path.relative_to(self.world.folder)}: a bit"

    def gone(self) -> str:
        """Remove a whole output."""
        if (path := self._artifact()) is None:
            return ""
        parts = path.relative_to(self.world.folder).parts
        out = self.world.folder.joinpath(*parts[:2]) if parts[0] == "models" else path
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        return f"{out.relative_to(self.world.folder)}: removed"

    def seed_row(self) -> str:
        """Reword a seed task or a judge's prompt."""
        prompts = sorted((self.world.folder / "src/belle/prompts").rglob("*.txt"))
        path = self.chance.choice([self.world.folder / "data/seeds/seed_tasks.jsonl", *prompts])
        text = path.read_text(encoding="utf-8")
        path.write_text(_reordered(text) if path.suffix == ".jsonl" else text + "\n再看一遍。\n", encoding="utf-8")
        return f"{path.name}: changed"

    def touch(self) -> str:
        """Give random files another modification time."""
        files = [path for path in self.world.folder.rglob("*") if path.is_file() and ".git" not in path.parts]
        for path in self.chance.sample(sorted(files), min(50, len(files))):
            moment = time.time() - self.chance.uniform(-1e6, 3e8)
            os.utime(path, (moment, moment))
        return "50 files touched"


def _reordered(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[1:], lines[0]])


def _leaves(keys: tuple[str, ...], value: Any) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves((*keys, key), inner)]
    return [(keys, value)]


def asked_of_dvc(world: World, **environment: str) -> tuple[set[str], set[str]]:
    """What DVC calls changed: stages with a cause, and stages whose only cause is an output (or input) that is gone."""
    world.run("belle", "fingerprint", **environment)  # a build does this first; here nothing is built
    said = json.loads(world.run("dvc", "status", "--json", **environment).stdout.splitlines()[-1] or "{}")
    changed, lost = set(), set()
    for stage, causes in said.items():
        name = stage.rpartition(":")[2]
        kinds = set[str]()
        for cause in causes:
            if isinstance(cause, str):
                kinds.add(cause)
            for group in cause.values() if isinstance(cause, dict) else ():
                kinds |= set(group.values()) if all(isinstance(x, str) for x in group.values()) else {"params"}
        if name != "fingerprint" and not name.endswith(".dvc") and kinds != {"always changed"}:
            (lost if kinds <= {"deleted"} else changed).add(name)
    return changed, lost


class Trial:
    """Counts agreements over worlds that are edited until they are put back."""

    def __init__(self, server: Forkserver, built: Path, scratch: Path, seed: int) -> None:
        self.server, self.built, self.scratch, self.seed = server, built, scratch, seed
        self.kinds: Counter[str] = Counter()
        self.faults: list[str] = []
        self.edits = self.stale = 0
        self._lock = threading.Lock()

    def world(self, number: int, edits: int, until: float, bar: Any) -> None:
        """Make ``edits`` edits in one world and ask after each."""
        folder, chance = self.scratch / f"w{number}", random.Random(self.seed * 100_003 + number)
        editor = Editor(copy_world(self.built, folder / "world"), chance)
        made = []
        for _ in range(edits):
            if until and time.monotonic() > until:
                break
            kind, what = editor.edit()
            made.append(what)
            try:
                fault = self._compare(editor.world)
            except Exception as error:
                fault = f"{error}"[-800:]
            with self._lock:
                self.edits += 1
                self.kinds[kind] += 1
                bar.update()
                if fault:
                    self.faults.append(f"world {number}: {made}: {fault}")
                    tqdm.write(self.faults[-1])
            if fault:
                break
        shutil.rmtree(folder, ignore_errors=True)

    def _compare(self, world: World) -> str:
        roots = set(world.roots(**self.server.environment))
        changed, lost = asked_of_dvc(world, **self.server.environment)
        with self._lock:
            self.stale += bool(roots)
        only_ours, only_dvc = roots - changed - lost, changed - roots
        if only_ours or only_dvc:
            return f"only snakemake names {sorted(only_ours)}, only dvc {sorted(only_dvc)} (gone: {sorted(lost)})"
        return ""


def report(runs: list[dict[str, Any]]) -> str:
    """All runs together, as Markdown."""
    edits, stale, faults = (sum(run[what] for run in runs) for what in ("edits", "stale", "faults"))
    kinds = sum((Counter(run["kinds"]) for run in runs), Counter[str]())
    rows = "\n".join(f"| {kind} | {count} |" for kind, count in sorted(kinds.items()))
    seeds = ", ".join(f"{run['edits']} of seed {run['seed']}" for run in runs)
    return f"""# Agreement of `snakemake -n` and `dvc status`

Written by `python -m trials.agreement`; do not edit. After each random edit both are asked what is stale; what is
compared and how, trials/agreement.py says.

{edits} edits ({seeds}), {sum(run["minutes"] for run in runs):.0f} minutes; something was stale after {stale} of them:
**{edits - faults} of {edits} agree**.

| edit | times |
|---|--:|
{rows}
"""


def main(argv: list[str] | None = None) -> int:
    """Run the trial; the exit status is 1 where the two ever disagreed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--edits", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0, help="stop after this long (default: make all edits)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="worlds at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the result here, as Markdown")
    parser.add_argument(
        "--log", type=Path, help="a line of JSON for each run; those in it are counted: give other seeds"
    )
    args = parser.parse_args(argv)
    with Forkserver() as server, tempfile.TemporaryDirectory(prefix="belle-agreement-") as scratch:
        trial = Trial(server, built_miniature(), Path(scratch), args.seed)
        started = time.monotonic()  # the world is built: it takes as long as it takes
        until = started + args.seconds if args.seconds else 0.0
        whole = [min(EDITS_A_WORLD, args.edits - first) for first in range(0, args.edits, EDITS_A_WORLD)]
        with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=args.edits, unit="edit") as bar:
            list(pool.map(lambda item: trial.world(item[0], item[1], until, bar), enumerate(whole)))
    run = {
        "seed": args.seed, "edits": trial.edits, "stale": trial.stale, "faults": len(trial.faults),
        "kinds": dict(trial.kinds), "minutes": (time.monotonic() - started) / 60,
    }  # fmt: skip
    runs = [run]
    if args.log:
        with open(args.log, "a+", encoding="utf-8") as log:
            log.write(json.dumps(run) + "\n")
            log.seek(0)
            runs = [json.loads(line) for line in log]
    text = report(runs)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if trial.faults or not trial.edits else 0


if __name__ == "__main__":
    sys.exit(main())
