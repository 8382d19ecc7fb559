"""Kill trainings with SIGKILL at random steps and start them again: the weights and loss curve of a straight run.

``python -m trials.training --kills 20 --out docs/trials/training.md``. For each kind (see ``KINDS``; fine-tuning packs
its rows) a tiny base is trained once without a kill, and once in a process that is killed after each of 20 random
steps, or in the middle of the checkpoint that comes next, and started again each time. Everything in the model's
folder, and the curve, must then be equal in bytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle.stages import numeric_environment
from trials import training_child
from trials.worlds import ROOT

ANIMALS, PLACES = "猫狗马牛羊鸡鸭鹅兔虎狼熊", "山水林田"
BASE: dict[str, Any] = {
    "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
    "context_length": 96, "steps": 10, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "warmup_ratio": 0.1,
    "weight_decay": 0.01, "adam_beta2": 0.98, "threads": 1, "seed": 7,
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 2e-3,
    "lr_scheduler_type": "cosine", "warmup_ratio": 0.1, "weight_decay": 0.01, "adam_beta2": 0.98, "bf16": False,
    "fp16": False, "gradient_checkpointing": False, "attention": "sdpa", "quantised_base": 0, "lora_r": 0,
    "lora_alpha": 16, "lora_dropout": 0.1, "lora_target_modules": ["q_proj", "v_proj", "down_proj"],
    "lora_modules_to_save": [], "deepspeed": "", "save_steps": 7, "threads": 1, "seed": 7,
}  # fmt: skip
SFT: dict[str, Any] = {
    **TRAINING, "data_fraction": 1.0, "prompt_format": "belle", "cutoff_len": 96, "num_train_epochs": 30.0,
    "packing": True, "group_by_length": True,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "full": SFT,
    "lora": {**SFT, "lora_r": 4},
    "pretrain": {
        **TRAINING, "trains": "adapters", "lora_r": 4, "lora_modules_to_save": ["embed_tokens"], "block_size": 48,
        "ratios": [1, 2], "steps": 150, "num_train_epochs": 0.0,
    },
}  # fmt: skip
"""Fine-tuning every weight, LoRA, and CLA's second stage of pretraining on two texts."""


@dataclass(frozen=True)
class Ended:
    """How a trial of one kind ended."""

    kind: str
    steps: int
    killed: tuple[tuple[int, bool], ...]
    """After which steps, and whether while writing the checkpoint that came next."""
    repeated: int
    """Steps that were done again after kills."""
    different: tuple[str, ...]
    seconds: float


def world(folder: Path) -> None:
    """Write the rows and build the base that is trained."""
    numeric_environment(1)
    from belle import jsonl
    from belle.train.base import base

    rows = [
        {"id": f"{place}{animal}", "instruction": f"{animal}在{place}里吗？" * (1 + number % 3),
         "output": f"{animal}在{PLACES[number % 4]}里。" * (1 + number % 4)}
        for place in PLACES for number, animal in enumerate(ANIMALS)
    ]  # fmt: skip
    jsonl.write(folder / "rows.jsonl", rows)
    (folder / "rows.txt").write_text("\n".join(row["instruction"] for row in rows), encoding="utf-8")
    (folder / "corpus.txt").write_text("\n".join(row["instruction"] + row["output"] for row in rows), encoding="utf-8")
    base(corpus=folder / "corpus.txt", out=folder / "base", checkpoints=folder / "checkpoints-base", **BASE)


def in_a_process(work: Callable[[Path], None], folder: Path) -> None:
    """Do some work in a process of its own, so that this one computes nothing and can be forked."""
    child = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{work.__name__} failed with exit status {child.exitcode}")


def run(folder: Path, kind: str, name: str, step: int = 0, saving: bool = False, fresh: bool = True) -> None:
    """Train in a process of its own, and see it end as it should.

    Args:
        step: After which it kills itself; 0: it does not.
        saving: Kill instead in the middle of the first checkpoint at or after that step.
        fresh: Whether in an interpreter of its own, or in a fork of this one.
    """
    given: dict[str, Any] = {"data": folder / "rows.jsonl"}
    if kind == "pretrain":
        given = {"texts": [folder / "rows.txt", folder / "corpus.txt"]}
    paths = {
        **given, "base": folder / "base", "out": folder / f"{kind}-{name}", "curve": folder / f"{kind}-{name}.csv",
        "checkpoints": folder / f"checkpoints-{kind}-{name}", "tokens": folder / "tokens",
    }  # fmt: skip
    asked: dict[str, Any] = {
        "paths": paths, "settings": KINDS[kind], "step": step, "saving": saving, "seen": folder / "seen",
    }  # fmt: skip
    written, log = json.dumps(asked, default=str), folder / f"{kind}-{name}.log"
    if fresh:
        command = [sys.executable, "-m", "trials.training_child", written]
        with open(log, "ab") as file:
            status = subprocess.run(command, stdout=file, stderr=file, cwd=ROOT).returncode
    else:
        status = training_child.forked(json.loads(written), log)
    if status != (-signal.SIGKILL if step else 0):
        said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"exit status {status} of {kind}, {name}, to be killed after step {step or 'none'}:\n{said}")


def contents(folder: Path, kind: str, name: str) -> dict[str, bytes]:
    """Every file of a model's folder, and its curve."""
    model = folder / f"{kind}-{name}"
    found = {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    return {**found, "curve.csv": (folder / f"{kind}-{name}.csv").read_bytes()}


def trial(folder: Path, kind: str, kills: int, seed: int, fresh: bool = True) -> Ended:
    """Train once straight and once killed ``kills`` times, and compare."""
    begin = time.monotonic()
    run(folder, kind, "straight", fresh=fresh)
    straight = contents(folder, kind, "straight")
    steps = straight["curve.csv"].count(b"\n") - 1
    dice = random.Random(f"{seed} {kind}")
    last = steps - TRAINING["save_steps"]
    chosen = sorted(dice.sample(range(1, last), kills))
    killed, repeated, reached = [], 0, 0
    for step in tqdm(chosen, desc=kind, unit="kill"):
        saving = dice.random() < 0.25
        step = max(step, reached + 1)  # the kill before may have waited for the next checkpoint
        run(folder, kind, "killed", step, saving, fresh)
        reached = int((folder / "seen").read_text())
        kept = [int(path.parent.name.rpartition("-")[2])
                for path in (folder / f"checkpoints-{kind}-killed").glob("checkpoint-*/complete.json")]  # fmt: skip
        repeated += reached - max(kept, default=0)
        killed.append((reached, saving))
    run(folder, kind, "killed", fresh=fresh)
    after = contents(folder, kind, "killed")
    different = tuple(sorted(name for name in straight.keys() | after.keys() if straight.get(name) != after.get(name)))
    return Ended(kind, steps, tuple(killed), repeated, different, time.monotonic() - begin)


def render(ended: list[Ended], kills: int, seed: int) -> str:
    """The report, in Markdown."""
    lines = [
        "# Trainings killed and resumed",
        "",
        f"`python -m trials.training --kills {kills} --seed {seed}`: one training of each kind is",
        "killed by SIGKILL and started again each time; at the end its folder and loss curve are compared in bytes",
        "with those of a run that nothing disturbed.",
        "",
        "| kind | optimizer steps | kills | of these in a checkpoint | steps done again | different files |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for one in ended:
        half = sum(saving for _, saving in one.killed)
        lines.append(
            f"| {one.kind} | {one.steps} | {len(one.killed)} | {half} | {one.repeated} "
            f"| {', '.join(one.different) or 'none'} |"
        )
    lines += ["", "Killed after step (c: while writing the checkpoint of that step):", ""]
    for one in ended:
        lines.append(f"- {one.kind}: " + ", ".join(f"{step}{'c' if saving else ''}" for step, saving in one.killed))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the trial; returns 1 when a file differs or a kill did not happen."""
    parser = argparse.ArgumentParser(
        prog="python -m trials.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--fresh", action="store_true", help="each run in an interpreter of its own: seconds more each")
    parser.add_argument("--out", type=Path, help="write the report here")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="belle-training-"))
    try:
        in_a_process(world, folder)
        if not args.fresh:
            numeric_environment(1)
            import belle.train.pretrain
            import belle.train.sft  # noqa: F401  loaded once, for every fork
        ended = [trial(folder, kind, args.kills, args.seed, args.fresh) for kind in args.kinds]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = render(ended, args.kills, args.seed)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.different or len(one.killed) < args.kills for one in ended) else 0


if __name__ == "__main__":
    sys.exit(main())
