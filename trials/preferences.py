"""Kill trainings by preferences with SIGKILL at random steps and start them again: the bytes of a straight run.

``python -m trials.preferences --kills 20 --out docs/trials/preferences.md``. For each kind (see ``KINDS``) a tiny model
is trained once without a kill, and once in a process that is killed after each of 20 random steps and started again
each time; each is a fork of one that has loaded PyTorch and computed nothing. Every file of the model's folder and its
report, and the loss or score of every step, must then be equal in bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle.stages import numeric_environment
from trials.training import in_a_process
from trials.training_child import forked

ANIMALS, PLACES = "猫狗马牛羊鸡鸭鹅兔虎狼熊", "山水林田"
BASE: dict[str, Any] = {
    "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
    "context_length": 64, "steps": 10, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "warmup_ratio": 0.1,
    "weight_decay": 0.01, "adam_beta2": 0.98, "threads": 1, "seed": 7,
}  # fmt: skip
PREFERENCE: dict[str, Any] = {
    "prompt_format": "belle", "max_length": 64, "max_prompt_length": 40, "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1, "num_train_epochs": 15.0, "learning_rate": 1e-3, "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1, "weight_decay": 0.01, "adam_beta2": 0.98, "bf16": False, "gradient_checkpointing": False,
    "deepspeed": "", "held_out": 0.2, "threads": 1, "seed": 7, "save_steps": 7,
}  # fmt: skip
LORA: dict[str, Any] = {
    "lora_r": 0, "lora_alpha": 16, "lora_dropout": 0.1, "lora_target_modules": ["q_proj", "v_proj", "down_proj"],
}  # fmt: skip
PPO: dict[str, Any] = {
    "algorithm": "ppo", "prompt_format": "belle", "max_prompt_length": 40, "max_new_tokens": 8, "temperature": 1.0,
    "steps": 60, "batch_size": 8, "mini_batch_size": 4, "samples_per_prompt": 1, "ppo_epochs": 2,
    "learning_rate": 1e-3, "max_grad_norm": 1.0, "gamma": 1.0, "lam": 0.95, "cliprange": 0.2, "cliprange_value": 0.2,
    "vf_coef": 0.1, "init_kl_coef": 0.05, "adap_kl_ctrl": True, "kl_target": 6.0, "kl_horizon": 1000,
    "target_kl": 0.0, "bf16": False, "gradient_checkpointing": False, **LORA, "save_steps": 8, "threads": 1, "seed": 7,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo": ("dpo", {**PREFERENCE, **LORA, "beta": 0.1}),
    "dpo-lora": ("dpo", {**PREFERENCE, **LORA, "beta": 0.1, "lora_r": 4}),
    "reward": ("reward", PREFERENCE),
    "ppo": ("ppo", PPO),
    "grpo": ("ppo", {**PPO, "algorithm": "grpo", "samples_per_prompt": 4}),
}
"""A name, the stage, and its settings."""


def train(asked: dict[str, Any]) -> None:
    """Run the stage that ``asked`` describes, and kill this process after the step that it names."""
    from belle.train import reinforcing, trainer
    from belle.train.dpo import dpo
    from belle.train.ppo import ppo
    from belle.train.reward import reward

    def seen(step: int, value: Any) -> None:
        with open(asked["seen"], "a") as file:
            file.write(json.dumps([step, value]) + "\n")
        if step == asked["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    training_step, advance = trainer.FiniteTrainer.training_step, reinforcing.Reinforcing.advance

    def one_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = training_step(self, *args, **kwargs)
        seen(self.state.global_step + 1, loss.item())
        return loss

    def one_batch(self: Any, *args: Any) -> None:
        advance(self, *args)
        seen(self.step, self.curve[-1])

    trainer.FiniteTrainer.training_step = one_step  # type: ignore[method-assign]
    reinforcing.Reinforcing.advance = one_batch  # type: ignore[method-assign]
    stages: dict[str, Any] = {"dpo": dpo, "ppo": ppo, "reward": reward}
    stages[asked["stage"]](**asked["paths"], **asked["settings"])


@dataclass(frozen=True)
class Ended:
    """How a trial of one kind ended."""

    kind: str
    steps: int
    killed: tuple[int, ...]
    repeated: int
    """Steps that were done again after kills."""
    different: tuple[str, ...]
    seconds: float


def world(folder: Path) -> None:
    """Write rows and pairs, and build the base and the reward model that trials start from."""
    numeric_environment(1)
    from belle import jsonl
    from belle.train.base import base
    from belle.train.reward import reward

    rows = [(f"{animal}在{place}里吗？", number) for place in PLACES for number, animal in enumerate(ANIMALS)]
    jsonl.write(
        folder / "pairs.jsonl",
        ({"prompt": asked, "chosen": f"{asked[0]}在{PLACES[number % 4]}里",
          "rejected": f"{asked[0]}在{PLACES[(number + 1) % 4]}里"} for asked, number in rows),
    )  # fmt: skip
    jsonl.write(folder / "rows.jsonl", ({"id": asked, "instruction": asked, "output": "是"} for asked, _ in rows))
    (folder / "corpus.txt").write_text("\n".join(asked * 2 for asked, _ in rows), encoding="utf-8")
    base(corpus=folder / "corpus.txt", out=folder / "base", checkpoints=folder / "checkpoints-base", **BASE)
    reward(
        base=folder / "base", pairs=folder / "pairs.jsonl", out=folder / "reward", report=folder / "reward.json",
        checkpoints=folder / "checkpoints-reward", **{**PREFERENCE, "num_train_epochs": 2.0},
    )  # fmt: skip


def run(folder: Path, kind: str, name: str, step: int = 0) -> int:
    """Train in a process of its own, which kills itself after ``step``; returns its exit status."""
    stage, settings = KINDS[kind]
    paths = {
        "base": folder / "base", "out": folder / f"{kind}-{name}", "report": folder / f"{kind}-{name}.json",
        "checkpoints": folder / f"checkpoints-{kind}-{name}",
    }  # fmt: skip
    given = {"reward": "reward", "data": "rows.jsonl"} if stage == "ppo" else {"pairs": "pairs.jsonl"}
    paths |= {key: folder / value for key, value in given.items()}
    asked: dict[str, Any] = {
        "stage": stage, "paths": paths, "settings": settings, "step": step, "seen": folder / f"seen-{kind}-{name}",
    }  # fmt: skip
    return forked(asked, folder / f"{kind}-{name}.log", train)


def contents(folder: Path, kind: str, name: str) -> dict[str, bytes]:
    """Every file of a trained folder and its report, and the curve: each step's value, as its last doing gave it."""
    out = folder / f"{kind}-{name}"
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    curve = dict(map(json.loads, (folder / f"seen-{kind}-{name}").read_text().splitlines()))
    return {
        **found,
        "its report": (folder / f"{kind}-{name}.json").read_bytes(),
        "its curve": json.dumps(sorted(curve.items())).encode(),
    }


def trial(folder: Path, kind: str, kills: int, seed: int) -> Ended:
    """Train straight and with kills, and compare."""
    began = time.monotonic()
    if run(folder, kind, "straight"):
        raise SystemExit(f"{kind} failed: see {folder / f'{kind}-straight.log'}")
    steps = len((folder / f"seen-{kind}-straight").read_text().splitlines())
    killed = sorted(random.Random(f"{seed} {kind}").sample(range(1, steps + 1), kills))
    for step in tqdm(killed, desc=kind, unit="kill"):
        status = run(folder, kind, "killed", step)
        if status != -signal.SIGKILL:
            raise SystemExit(f"{kind} ended with {status} before step {step}: see {folder / f'{kind}-killed.log'}")
    if run(folder, kind, "killed"):
        raise SystemExit(f"{kind} failed: see {folder / f'{kind}-killed.log'}")
    done = len((folder / f"seen-{kind}-killed").read_text().splitlines())
    straight, other = (contents(folder, kind, name) for name in ("straight", "killed"))
    names = sorted(straight.keys() | other.keys())
    different = tuple(name for name in names if straight.get(name) != other.get(name))
    return Ended(kind, steps, tuple(killed), done - steps, different, time.monotonic() - began)


def main() -> None:
    """Run the trials and write or print what came of them; ends with 1 where a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="belle-preferences-") as made:
        in_a_process(world, Path(made))
        numeric_environment(1)
        import belle.train.dpo
        import belle.train.ppo
        import belle.train.reward  # noqa: F401  loaded once, for every fork

        found = [trial(Path(made), kind, args.kills, args.seed) for kind in args.kinds]
    lines = [
        "# Trainings by preferences, killed and resumed",
        "",
        f"`python -m trials.preferences --kills {args.kills} --seed {args.seed}`: killed with SIGKILL",
        "after random steps, then started again; compared in bytes with a run that was not.",
        "",
        "| kind | steps | killed after | steps done again | files that differ | seconds |",
        "|---|--:|---|--:|---|--:|",
        *(
            f"| {item.kind} | {item.steps} | {', '.join(map(str, item.killed))} | {item.repeated} | "
            f"{', '.join(item.different) or 'none'} | {item.seconds:.0f} |"
            for item in found
        ),
    ]
    text = "\n".join(lines) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    print(text)
    if any(item.different for item in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
