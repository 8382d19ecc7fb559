"""Changes around the settings and the code: inputs, pinned versions, the environment, the build's own files."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trials.mutations.mutation import NONE, Mutation, each, one
from trials.mutations.settings import BASE, GENERATE, GPTQ, SFT
from trials.worlds import World

SEEDS = "data/seeds/seed_tasks.jsonl"
ASK_PROMPT = "src/belle/prompts/self_instruct.txt"
JUDGE_PROMPTS = "src/belle/prompts/judge"


def _text(path: str, change: Callable[[str], str]) -> Callable[[World], None]:
    def apply(world: World) -> None:
        file = world.folder / path
        before = file.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, f"{path} was not changed"
        file.write_text(after, encoding="utf-8")

    return apply


def _reordered(text: str) -> str:
    return "".join(reversed(text.splitlines(keepends=True)))


def _without_last(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def _seed_reworded(text: str) -> str:
    first, _, rest = text.partition("\n")
    row = json.loads(first)
    row["instruction"] += "。"
    return json.dumps(row, ensure_ascii=False) + "\n" + rest


def inputs(source: Path) -> Iterator[Mutation]:
    """Files that people write: seeds and prompts."""
    yield Mutation("input", f"{SEEDS}: a row reworded", _text(SEEDS, _seed_reworded), GENERATE)
    yield Mutation("input", f"{SEEDS}: a row removed", _text(SEEDS, _without_last), GENERATE)
    yield Mutation("input", f"{SEEDS}: the order of rows", _text(SEEDS, _reordered), GENERATE)
    yield Mutation("input", f"{ASK_PROMPT}: a space more", _text(ASK_PROMPT, lambda text: " " + text), GENERATE)
    for file in sorted((source / "belle/prompts/judge").glob("*.txt")):
        path = f"{JUDGE_PROMPTS}/{file.name}"
        yield Mutation(
            "input", f"{path}: a line more", _text(path, lambda text: text + "\n再看一遍。\n"), each("judge")
        )
    yield Mutation(
        "input", "an unused prompt beside them", lambda world: _write(world, "src/belle/prompts/extra.txt"), NONE
    )
    yield Mutation(
        "input", "an unused seed file beside them", lambda world: _write(world, "data/seeds/extra.jsonl"), NONE
    )
    for path in (SEEDS, ASK_PROMPT, "params.yaml", "requirements.lock", "Snakefile", "src/belle/train/sft.py"):
        yield Mutation("input touched", path, lambda world, path=path: _later(world.folder / path), NONE)  # type: ignore[misc]
        yield Mutation("input, equal bytes", path, lambda world, path=path: _rewritten(world.folder / path), NONE)  # type: ignore[misc]


def _write(world: World, path: str) -> None:
    (world.folder / path).write_text("x\n", encoding="utf-8")


def _later(path: Path) -> None:
    os.utime(path, (time.time() + 3600, time.time() + 3600))


def _rewritten(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


TRAINED = BASE | SFT | GPTQ | each("answer")
ASKED = GENERATE | each("judge")
VERSIONS = {
    "torch": TRAINED, "transformers": TRAINED, "tokenizers": TRAINED, "safetensors": TRAINED, "gptqmodel": GPTQ,
    "peft": SFT, "sentencepiece": BASE, "openai": ASKED, "aiohttp": ASKED,
    "snakemake": NONE, "dvc": NONE, "pytest": NONE, "ruff": NONE, "moto": NONE,
}  # fmt: skip
"""Package → stages that run on it; of many packages that a stage needs only through another, the obvious ones."""


def versions() -> Iterator[Mutation]:
    """requirements.lock with another version, and the Python version that dvc.lock recorded."""
    for package, roots in VERSIONS.items():
        change = _text(
            "requirements.lock", lambda text, package=package: re.sub(rf"^({package}==\S+)", r"\1.1", text, flags=re.M)
        )  # type: ignore[misc]
        yield Mutation("version", f"{package} in requirements.lock", change, roots)
    for stage in ("clean-tiny", "sft-belle-tiny", "table-tiny"):
        yield Mutation("version", f"Python recorded for {stage}", _recorded_python(stage), one(stage))


def _recorded_python(stage: str) -> Callable[[World], None]:
    def change(text: str) -> str:
        head, mark, rest = text.partition(f"\n  {stage}:\n")
        return head + mark + re.sub(r"python: ['\"]3\.11['\"]", "python: '3.10'", rest, count=1)

    return _text("dvc.lock", change)


ENVIRONMENT = {
    "SOME_VARIABLE": "1", "LC_ALL": "C", "TZ": "Asia/Shanghai", "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true", "TRANSFORMERS_VERBOSITY": "debug", "HF_HOME": "elsewhere",
    "ATEN_CPU_CAPABILITY": "default", "CUDA_VISIBLE_DEVICES": "", "OPENAI_API_KEY": "sk-of-somebody-else",
    "PYTHONOPTIMIZE": "1", "COLUMNS": "40",
}  # fmt: skip


def environment() -> Iterator[Mutation]:
    """Variables that no stage declares."""
    for name, value in ENVIRONMENT.items():
        yield Mutation("environment", f"{name}={value}", lambda world: None, NONE, environment={name: value})


def _gone(*paths: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        for path in paths:
            whole = world.folder / path
            shutil.rmtree(whole) if whole.is_dir() else whole.unlink()

    return apply


def _garbled(path: str) -> Callable[[World], None]:
    return lambda world: (world.folder / path).write_text("{garbled", encoding="utf-8") and None


def _every_time(world: World) -> None:
    chance = random.Random(5)
    for root, folders, files in os.walk(world.folder):
        if root == str(world.folder):
            folders.remove(".git")
        for name in files:
            moment = time.time() - chance.uniform(-1e6, 3e8)
            os.utime(os.path.join(root, name), (moment, moment), follow_symlinks=False)


def _lock_without(stage: str) -> Callable[[World], None]:
    return _text("dvc.lock", lambda text: re.sub(rf"^  {stage}:\n(?:    .*\n|  - .*\n)+", "", text, flags=re.M))


def own_files() -> Iterator[Mutation]:
    """What Snakemake, DVC and the build keep for themselves."""
    yield Mutation("own file", "every modification time, at random", _every_time)
    for name, paths in {
        "the stat cache gone": (".belle/hashes.json",), "all of .belle gone": (".belle",),
        ".snakemake gone": (".snakemake",), "logs gone": ("logs",), ".dvc/tmp gone": (".dvc/tmp",),
        "the run-cache gone": (".dvc/cache/runs",), "dvc.yaml gone": ("dvc.yaml",), "code.json gone": ("code.json",),
        "the ledger's record gone": ("data/ledger.dvc",),
    }.items():  # fmt: skip
        yield Mutation("own file", name, _gone(*paths))
    for path in (
        ".belle/hashes.json",
        ".belle/code-cache.json",
        ".belle/plan.json",
        ".belle/history.jsonl",
        "code.json",
    ):
        yield Mutation("own file", f"{path} garbled", _garbled(path))
    for stage in ("clean-tiny", "sft-belle-tiny", "score-tiny-belle-tiny"):
        yield Mutation("own file", f"dvc.lock without {stage}", _lock_without(stage), NONE, one(stage))
    yield Mutation("own file", "dvc.lock: the order of stages", _text("dvc.lock", _stages_reversed))


def _stages_reversed(text: str) -> str:
    head, mark, rest = text.partition("stages:\n")
    stages = re.findall(r"^  \S+:\n(?:    .*\n|  - .*\n)+", rest, re.M)
    assert "".join(stages) == rest
    return head + mark + "".join(reversed(stages))
