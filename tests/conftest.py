"""A tiny world that is trained once a session: corpus, rows, base, and a model that knows its rows by heart.

Lying here, it also puts this folder on the path, so that tests anywhere below it can import what they share.
"""

import os
from pathlib import Path

import pytest

from belle.stages import SAME_BYTES

# What the command line sets before torch is imported: results must not hang on the machine.
os.environ.update(
    SAME_BYTES,
    GPTQMODEL_CPU_WORKERS="2",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
)

ANIMALS = "猫狗马牛羊鸡鸭鹅兔虎狼熊"
PLACES = "山水林田"

BASE = {
    "vocab_size": 400,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "context_length": 64,
    "steps": 12,
    "per_device_train_batch_size": 4,
    "learning_rate": 3e-3,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "adam_beta2": 0.98,
    "threads": 1,
    "seed": 7,
}

SFT = {
    "data_fraction": 1.0,
    "prompt_format": "belle",
    "cutoff_len": 64,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 2.0,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.1,
    "weight_decay": 0.0,
    "adam_beta2": 0.98,
    "bf16": False,
    "gradient_checkpointing": False,
    "lora_r": 0,
    "lora_alpha": 16,
    "lora_dropout": 0.1,
    "lora_target_modules": ["q_proj", "v_proj", "down_proj"],
    "deepspeed": "",
    "devices": 1,
    "save_steps": 10000,
    "threads": 1,
    "seed": 7,
    "packing": False,
    "group_by_length": True,
    "attention": "sdpa",
    "fp16": False,
    "quantised_base": 0,
    "lora_modules_to_save": [],
}

PRETRAIN = {
    "trains": "all",
    "block_size": 32,
    "ratios": [],
    "steps": 12,
    "num_train_epochs": 0.0,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "learning_rate": 2e-3,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "adam_beta2": 0.98,
    "bf16": False,
    "fp16": False,
    "gradient_checkpointing": False,
    "attention": "sdpa",
    "quantised_base": 0,
    "lora_r": 0,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "lora_target_modules": [],
    "lora_modules_to_save": [],
    "deepspeed": "",
    "save_steps": 10000,
    "threads": 1,
    "seed": 7,
}


def rows() -> list[dict]:
    return [
        {
            "id": f"r-{place}{animal}",
            "instruction": f"{animal}在{place}里吗？",
            "input": "",
            "output": f"{animal}在{PLACES[number % 4]}里",
        }
        for place in PLACES
        for number, animal in enumerate(ANIMALS)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with corpus.txt, train.jsonl and eval.jsonl."""
    from belle import jsonl

    folder = tmp_path_factory.mktemp("world")
    lines = [row["instruction"] + row["output"] for row in rows()]
    (folder / "corpus.txt").write_text("\n".join([*lines, "Human Assistant: 0123456789"]) + "\n", encoding="utf-8")
    jsonl.write(folder / "train.jsonl", rows())
    jsonl.write(
        folder / "eval.jsonl",
        (
            {"question": row["instruction"], "class": "open qa", "std_answer": row["output"], "split": "known"}
            for row in rows()[:20]
        ),
    )
    return folder


@pytest.fixture(scope="session")
def tiny_base(world):
    from belle.train.base import base

    out = world / "base"
    base(corpus=world / "corpus.txt", out=out, checkpoints=world / "checkpoints-base", **BASE)
    return out


@pytest.fixture(scope="session")
def tiny_model(world, tiny_base):
    """Fine-tuned in full until it knows its rows by heart."""
    from belle.train.sft import sft

    out = world / "model"
    settings = {**SFT, "num_train_epochs": 20.0, "per_device_train_batch_size": 8}
    sft(base=tiny_base, data=world / "train.jsonl", out=out, checkpoints=world / "checkpoints-model", **settings)
    return out


@pytest.fixture(scope="session")
def tiny_gptq(world, tiny_model):
    from belle.quantize.gptq import gptq

    out = world / "gptq"
    gptq(model=tiny_model, data=world / "train.jsonl", out=out, **GPTQ)
    return out


GPTQ = {
    "bits": 4,
    "group_size": 128,
    "desc_act": False,
    "damp_percent": 0.01,
    "calibration_rows": 24,
    "calibration_max_length": 64,
    "seed": 7,
    "threads": 1,
}
