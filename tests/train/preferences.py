"""What tests of training by preferences share: pairs about the tiny world, and recipes of seconds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from belle import jsonl
from conftest import ANIMALS, PLACES, SFT

PREFERENCE: dict[str, Any] = {
    key: SFT[key]
    for key in (
        "prompt_format", "per_device_train_batch_size", "gradient_accumulation_steps", "lr_scheduler_type",
        "warmup_ratio", "weight_decay", "adam_beta2", "bf16", "gradient_checkpointing", "deepspeed", "save_steps",
        "threads", "seed",
    )
}  # fmt: skip
PREFERENCE |= {
    "max_length": 64,
    "max_prompt_length": 40,
    "num_train_epochs": 3.0,
    "learning_rate": 3e-4,
    "held_out": 0.2,
}

DPO: dict[str, Any] = {
    **PREFERENCE, "beta": 0.1, "lora_r": 0, "lora_alpha": 16, "lora_dropout": 0.1,
    "lora_target_modules": ["q_proj", "v_proj", "down_proj"],
}  # fmt: skip

PPO: dict[str, Any] = {
    "algorithm": "ppo", "prompt_format": "belle", "max_prompt_length": 40, "max_new_tokens": 8, "temperature": 1.0,
    "steps": 4, "batch_size": 8, "mini_batch_size": 4, "samples_per_prompt": 1, "ppo_epochs": 2, "learning_rate": 1e-4,
    "max_grad_norm": 1.0, "gamma": 1.0, "lam": 0.95, "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1,
    "init_kl_coef": 0.05, "adap_kl_ctrl": True, "kl_target": 6.0, "kl_horizon": 1000, "target_kl": 0.0, "bf16": False,
    "gradient_checkpointing": False, "lora_r": 0, "lora_alpha": 16, "lora_dropout": 0.1,
    "lora_target_modules": ["q_proj", "v_proj", "down_proj"], "save_steps": 10000, "threads": 1, "seed": 7,
}  # fmt: skip


def pairs() -> list[dict[str, str]]:
    """The answer that the tiny model learnt, and one about another place: which is better hangs on the animal."""
    return [
        {
            "id": f"p-{place}{animal}",
            "prompt": f"{animal}在{place}里吗？",
            "chosen": f"{animal}在{PLACES[number % 4]}里",
            "rejected": f"{animal}在{PLACES[(number + 1) % 4]}里",
        }
        for place in PLACES
        for number, animal in enumerate(ANIMALS)
    ]


def write_pairs(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    jsonl.write(path, rows if rows is not None else pairs())
    return path


CHILD = """
import json, sys
from pathlib import Path
from belle.train.{stage} import {stage}
settings = json.loads(sys.argv[1])
{stage}(**{{key: Path(value) for key, value in settings.pop("paths").items()}}, **settings)
"""


def start_and_kill(stage: str, paths: dict[str, Path], settings: dict[str, Any], until) -> bool:
    """Run a stage in a child process and kill it as soon as ``until()`` holds; False if it ended before that."""
    words = json.dumps({"paths": {key: str(value) for key, value in paths.items()}, **settings})
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(stage=stage), words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    try:
        while not until():
            if child.poll() is not None:
                assert child.returncode == 0, "the child failed before it could be killed"
                return False
            assert time.monotonic() < deadline, "nothing to kill after four minutes"
            time.sleep(0.005)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            child.wait()
    return child.returncode == -signal.SIGKILL
