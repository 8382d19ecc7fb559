"""What a build costs that has nothing to do: ``snakemake -n`` decided by dvc.lock, plain Snakemake, ``dvc status``.

Generates workflows of N stages over real files, brings each up to date in both forms, and times the three commands in
turns on one machine. Peers: the same rules under Snakemake's own persistence with its metadata recorded, and DVC on
the same dvc.yaml, once as its own requirements install it and once with libyaml, as here. CPU time is user and system
time of the whole command, children included.

    python benchmarks/noop.py --out benchmarks/results/noop.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from common import device

ROOT = Path(__file__).resolve().parents[1]

STAGES = ("corpus", "clean", "base", "answer", "score")
"""Named as real stages, so that each has its real code fingerprint. Every chain has each of them once."""

OURS = """
from belle import strict_yaml
from belle.build.persistence import install
from belle.build.registry import Registry
from belle.build.stages import in_git, stage
from belle.stages import STAGES

registry = Registry(strict_yaml.load("params.yaml"))
install(workflow, list(STAGES), (), lambda targets: [])


def settings(section):
    return registry.settings(section, "chains.{chain}")
"""

PLAIN = """
configfile: "params.yaml"


def settings(section):
    def flags(wildcards):
        recipe = config[section][config["chains"][wildcards.chain][section]]
        return " ".join(f"--{key} {value}" for key, value in recipe.items())

    return flags


def stage(command):
    return command
"""

RULES = """
rule all:
    default_target: True
    input:
        expand("results/scores/{chain}.json", chain=%(chains)r),


rule corpus:
    input:
        "seeds.txt",
    output:
        "data/corpus/{chain}.txt",
    log:
        "logs/corpus-{chain}.log",
    params:
        settings=settings("corpus"),
    shell:
        stage("sh corpus {input} {output} {params.settings}")


rule clean:
    input:
        "data/corpus/{chain}.txt",
    output:
        "data/clean/{chain}.txt",
    log:
        "logs/clean-{chain}.log",
    params:
        settings=settings("clean"),
    shell:
        stage("sh clean {input} {output} {params.settings}")


rule base:
    input:
        "data/clean/{chain}.txt",
    output:
        directory("models/{chain}"),
    log:
        "logs/base-{chain}.log",
    params:
        settings=settings("base"),
    shell:
        stage("sh base {input} {output} {params.settings}")


rule answer:
    input:
        model="models/{chain}",
        questions="questions.txt",
    output:
        "results/answers/{chain}.txt",
    log:
        "logs/answer-{chain}.log",
    params:
        settings=settings("answer"),
    shell:
        stage("sh answer {input.model} {input.questions} {output} {params.settings}")


rule score:
    input:
        "results/answers/{chain}.txt",
    output:
        "results/scores/{chain}.json",
    log:
        "logs/score-{chain}.log",
    params:
        settings=settings("score"),
    shell:
        stage("sh score {input} {output} {params.settings}")
"""

FINGERPRINT = """

rule fingerprint:
    input:
        "requirements.lock",
        "src/belle",
    output:
        in_git("code.json"),
    log:
        "logs/fingerprint.log",
    shell:
        stage("belle fingerprint {output}")
"""

SCRIPTS = {
    "corpus": 'seq "$4" | sed "s|$|$2|" | cat "$1" - > "$2"',
    "clean": 'sort "$1" > "$2"; echo "$*" >> "$2"',
    "base": 'mkdir -p "$2"; cp "$1" "$2/weights.txt"; echo "$*" > "$2/config.json"; wc "$1" > "$2/tokens.txt"',
    "answer": 'cat "$1/config.json" "$2" > "$3"; head -n 50 "$1/weights.txt" >> "$3"; echo "$*" >> "$3"',
    "score": '(wc -l < "$1"; echo "$*") > "$2"',
}


def environment(folder: Path) -> dict[str, str]:
    """The commands of this interpreter's environment, with this checkout's modules."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder.parent)}


def run(folder: Path, *words: str) -> str:
    """Run a command that must succeed; returns what it wrote."""
    ended = subprocess.run(
        words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {ended.returncode} in {folder}:\n{ended.stdout[-3000:]}")
    return ended.stdout


def write_workflow(folder: Path, stages: int, ours: bool) -> None:
    """A workflow of ``stages`` stages in chains of five, with a recipe of its own for every tenth chain."""
    chains = [f"c{number:03}" for number in range(stages // len(STAGES))]
    recipes = {f"r{number}": {"lines": 2000 + number, "seed": number} for number in range(max(1, len(chains) // 10))}
    names = list(recipes)
    values: dict[str, Any] = {
        "chains": {
            chain: {stage: names[number % len(names)] for stage in STAGES} for number, chain in enumerate(chains)
        },
        **{stage: recipes for stage in STAGES},
    }
    folder.mkdir(parents=True)
    text = (OURS if ours else PLAIN) + RULES % {"chains": chains} + (FINGERPRINT if ours else "")
    (folder / "Snakefile").write_text(text, encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    for name in ("seeds.txt", "questions.txt"):
        (folder / name).write_text("".join(f"{name} {line}\n" for line in range(400)), encoding="utf-8")
    for name, script in SCRIPTS.items():
        (folder / name).write_text(
            f"set -e\nmkdir -p data/corpus data/clean models results/answers results/scores\n{script}\n",
            encoding="utf-8",
        )
    if ours:
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("requirements.lock", ".dvcignore"):
            shutil.copyfile(ROOT / name, folder / name)
        shutil.copytree(ROOT / "profiles" / "default", folder / "profiles" / "default")


def built(folder: Path, stages: int) -> tuple[Path, Path]:
    """Both forms of a workflow, brought up to date by their own means; returns their folders."""
    ours, plain = folder / f"{stages}" / "ours", folder / f"{stages}" / "plain"
    write_workflow(ours, stages, ours=True)
    write_workflow(plain, stages, ours=False)
    run(ours, "git", "init", "-q")
    run(ours, "dvc", "init", "-q")
    for key, value in (
        ("core.analytics", "false"),
        ("core.check_update", "false"),
        ("cache.type", "reflink,symlink,copy"),
    ):
        run(ours, "dvc", "config", key, value)
    run(ours, sys.executable, "-m", "belle.cli", "fingerprint")
    run(ours, sys.executable, "-m", "belle.cli", "dvc-yaml")
    run(ours, "dvc", "repro", "-q")  # minutes at 300: DVC writes the whole lock after each stage
    run(plain, "snakemake", "--quiet", "--cores", str(os.cpu_count()))
    return ours, plain


def timed(folder: Path, *words: str, without: Path | None = None) -> tuple[float, float, str]:
    """CPU seconds, seconds on the clock, and output of a command; modules in ``without`` hide those of their name."""
    variables = environment(folder)
    if without:
        variables["PYTHONPATH"] = os.pathsep.join([str(without), variables["PYTHONPATH"]])
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        process = subprocess.Popen(words, cwd=folder, env=variables, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode} in {folder}:\n{text[-3000:]}")
    return usage.ru_utime + usage.ru_stime, wall, text


def measure(ours: Path, plain: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU, clock) seconds of the commands, taken in turns, each found to have nothing to do."""
    commands = {
        "ours": (ours, ("snakemake", "-n"), "Nothing to be done"),
        "snakemake": (plain, ("snakemake", "-n"), "Nothing to be done"),
        "dvc": (ours, ("dvc", "status"), "up to date"),
        "dvc with libyaml": (ours, ("dvc", "status"), "up to date"),
    }
    # DVC as its own requirements install it parses YAML in Python; ours bring libyaml, and DVC takes it
    hidden = ours.parent / "without-libyaml"
    hidden.mkdir(exist_ok=True)
    (hidden / "_ruamel_yaml.py").write_text("raise ImportError\n", encoding="utf-8")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, (folder, words, expected) in commands.items():
            cpu, wall, text = timed(folder, *words, without=hidden if name == "dvc" else None)
            if expected not in text:
                raise SystemExit(f"{name} found work to do in {folder}:\n{text[-3000:]}")
            if turn:  # the first turn warms the caches of all
                taken[name].append((cpu, wall))
    return taken


def rows(stages: int, taken: dict[str, list[tuple[float, float]]], load: float) -> Iterable[dict[str, Any]]:
    """One row for each peer and each kind of time; ratios are of medians taken in the same run."""
    for peer, label in (("snakemake", "snakemake"), ("dvc", "dvc_status"), ("dvc with libyaml", "dvc_status_libyaml")):
        for kind, unit in enumerate(("s CPU", "s wall")):
            own, other = ([item[kind] for item in taken[name]] for name in ("ours", peer))
            middle, peers_middle = statistics.median(own), statistics.median(other)
            yield {
                "name": f"noop_vs_{label}_{stages}" + ("_wall" if kind else ""),
                "ours": round(middle, 3),
                "peer": round(peers_middle, 3),
                "unit": unit,
                "ratio": round(middle / peers_middle, 3),
                "n": len(own),
                "spread": {
                    "ours": [round(min(own), 3), round(max(own), 3)],
                    "peer": [round(min(other), 3), round(max(other), 3)],
                },
                "device": device(),
                "load": load,
                "date": datetime.now(UTC).date().isoformat(),
            }


def main() -> None:
    """Build, measure, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=[10, 100, 300], help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each command (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the workflows here, and use those that are there")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    args = parser.parse_args()
    folder = (args.folder or Path(tempfile.mkdtemp(prefix="belle-noop-"))).absolute()
    found: list[dict[str, Any]] = []
    try:
        worlds = {}
        for stages in args.stages:
            kept = folder / f"{stages}"
            if not (kept / "whole").exists():
                shutil.rmtree(kept, ignore_errors=True)
                built(folder, stages)
                (kept / "whole").touch()
            worlds[stages] = (kept / "ours", kept / "plain")
        for stages, (ours, plain) in worlds.items():
            load = round(os.getloadavg()[0], 2)
            found += rows(stages, measure(ours, plain, args.repeats), load)
            for row in found[-6:]:
                print(f"{row['name']:28} {row['ours']:7.3f} / {row['peer']:7.3f} {row['unit']:7} = {row['ratio']:.3f}")
    finally:
        if not args.folder:
            shutil.rmtree(folder, ignore_errors=True)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
