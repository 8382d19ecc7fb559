"""Train a random model for three steps, and write the most memory that the process ever had.

    python measured.py OUT.json SETTINGS.json

The allocator is told (MALLOC_MMAP_THRESHOLD_, by the test) to give every large block back when it is freed: what is
measured is what the training holds, and not what glibc keeps. A run with a very small shape is what to compare with: it
has loaded the same libraries.
"""

import json
import os
import sys
from pathlib import Path

import torch
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

from belle.train import lora, trainer
from belle.train.batches import Example
from belle.train.settings import Settings


def highest() -> int:
    """The most main memory that this process ever had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def main(out: str, settings: dict) -> None:
    """Measure one setting."""
    rank, home = int(os.environ.get("RANK", "0")), Path(out).parent
    trainer.prepare(1, 1)
    run = {key: settings[key] for key in ("gradient_checkpointing", "deepspeed", "per_device_train_batch_size",
                                          "gradient_accumulation_steps", "bf16", "devices")}  # fmt: skip
    batches = run["per_device_train_batch_size"] * run["gradient_accumulation_steps"] * run["devices"]
    chosen = Settings(
        learning_rate=1e-4, lr_scheduler_type="constant", warmup_ratio=0.0, weight_decay=0.0,
        adam_beta2=0.999, save_steps=10_000, threads=1, seed=1, processes=int(os.environ.get("WORLD_SIZE", "1")),
        cpu=True, **run,
    )  # fmt: skip
    shape = settings["shape"]
    if shape.get("kind") == "bloom":
        model = BloomForCausalLM(
            BloomConfig(
                vocab_size=shape["vocabulary"], hidden_size=shape["hidden"], n_layer=shape["layers"],
                n_head=shape["heads"], dtype=torch.float32,
            )
        )  # fmt: skip
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=shape["vocabulary"], hidden_size=shape["hidden"], intermediate_size=shape["intermediate"],
                num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
                num_key_value_heads=shape["kv_heads"], max_position_embeddings=settings["length"],
                tie_word_embeddings=shape["tied"], dtype=torch.float32,
            )
        )  # fmt: skip
    if settings["lora_r"]:
        modules = tuple(settings["lora_target_modules"])
        model = lora.attach(model, lora.Adapters(settings["lora_r"], 16, settings["lora_dropout"], modules))
    ids = list(range(5, 5 + settings["length"]))
    examples = [Example.of(ids, ids)] * (3 * batches)
    done = trainer.train(
        model, examples, chosen, count=3 * batches, checkpoints=home / "checkpoints", identity=settings
    )
    trainer.discard(done)
    Path(f"{out}.{rank}").write_text(json.dumps({"bytes": highest()}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
