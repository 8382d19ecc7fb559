"""What a recipe takes of GPUs before it is started: memory on each, hours, and what to change where it does not fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle.errors import InputError
from belle.files import read_text
from belle.train.memory import Memory, Run, Shape, adapter_parameters, memory


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: memory in GB of 10⁹ bytes, dense half-precision FLOP/s by the data sheet, compute capability."""

    name: str
    memory_gb: float
    peak_flops: float
    capability: float


GPUS = (
    Gpu("T4", 15.8, 65e12, 7.5),
    Gpu("V100 32 GB", 34.1, 125e12, 7.0),
    Gpu("RTX 4090", 25.7, 165e12, 8.9),
    Gpu("A100 40 GB", 42.3, 312e12, 8.0),
    Gpu("L40S", 48.3, 362e12, 8.9),
    Gpu("A100 80 GB", 85.1, 312e12, 8.0),
    Gpu("H100 80 GB", 85.0, 989e12, 9.0),
    Gpu("H200", 150.7, 989e12, 9.0),
)
"""Kinds that a plan names, with what nvidia-smi says of their memory."""

AMPERE = 8.0
INT8_TENSOR_CORES = 7.2
ROOM = 0.97
"""Share of a GPU's memory that a plan fills: the driver and a screen have the rest."""

ZERO3, OFFLOAD = "profiles/deepspeed/zero3.json", "profiles/deepspeed/zero3-offload.json"


def settings_of(recipe: Any) -> dict[str, Any]:
    """A recipe's settings by name; what an older kind of recipe lacks is as if switched off."""
    return {
        "packing": False, "fp16": False, "quantised_base": 0, "lora_modules_to_save": [], "lora_r": 0,
        "lora_dropout": 0.0, "lora_target_modules": [], "deepspeed": "", "gradient_checkpointing": False,
        "attention": "sdpa", **recipe.model_dump(),
    }  # fmt: skip


def _zero(path: str) -> dict[str, Any]:
    """DeepSpeed's section about ZeRO.

    Raises:
        InputError: the file is missing or is no JSON object.
    """
    if not path:
        return {}
    try:
        found = json.loads(read_text(Path(path), "DeepSpeed settings"))
    except ValueError as error:
        raise InputError(f"no JSON: {error}", where=path, fix="mend it, or name another file as `deepspeed:`") from None
    section = found.get("zero_optimization", {}) if isinstance(found, dict) else None
    if not isinstance(section, dict):
        raise InputError("no object with `zero_optimization`", where=path, fix="see profiles/deepspeed/zero2.json")
    return section


def run_of(given: dict[str, Any], shape: Shape, processes: int, gpu: bool = True) -> Run:
    """How a recipe trains, as far as memory goes: its fullest batch, with every row as long as it may be.

    Args:
        given: As ``settings_of`` has it.
    """
    length = int(given.get("cutoff_len") or given.get("block_size") or given.get("max_length") or 1024)
    pairs = "max_length" in given  # of two sequences each; a reward model has no logits over the vocabulary
    zero = _zero(given["deepspeed"])
    half, lora = bool(given["bf16"] or given["fp16"]), int(given["lora_r"])
    low = half and bool(lora or given["deepspeed"])
    modules = tuple(given["lora_target_modules"]) if lora else ()
    trained = float(adapter_parameters(shape, lora, modules)) if lora else float(shape.parameters)
    trained += shape.embedding * len(given["lora_modules_to_save"]) if lora else 0
    trained = float(shape.embedding) if given.get("trains") == "embeddings" else trained
    stage = int(zero.get("stage", 0))
    return Run(
        tokens=int(given["per_device_train_batch_size"]) * length * (2 if pairs else 1),
        length=length,
        half=low,
        autocast=half and not low,
        trained=trained,
        counted=0.0 if pairs and "beta" not in given else 1.0,
        checkpointing=bool(given["gradient_checkpointing"]),
        accumulates=int(given["gradient_accumulation_steps"]) > 1,
        lora_modules=modules,
        lora_dropout=bool(given["lora_dropout"]),
        base_bits=int(given["quantised_base"]) or 16,
        processes=max(1, processes),
        stage=stage,
        bucket=float(zero.get("reduce_bucket_size", 5e8)),
        overlap=bool(zero.get("overlap_comm", stage == 3)),
        live=float(zero.get("stage3_max_live_parameters", 1e9)),
        offload_optimizer=zero.get("offload_optimizer", {}).get("device", "none") != "none",
        offload_weights=zero.get("offload_param", {}).get("device", "none") != "none",
        gpu=gpu,
    )


def peak_of(given: dict[str, Any], shape: Shape, processes: int) -> Memory:
    """The memory of a recipe on GPUs."""
    return memory(shape, run_of(given, shape, processes))


def changes(given: dict[str, Any], shape: Shape, processes: int, memory_gb: float) -> list[tuple[str, Memory]]:
    """What makes a recipe fit so much memory, the mildest first: each with what it takes then; none where nothing does.

    Every change keeps the global batch and, but for float error, the result.
    """
    batch = int(given["per_device_train_batch_size"])
    steps: list[tuple[str, dict[str, Any]]] = []
    if not given["gradient_checkpointing"]:
        steps.append(("gradient_checkpointing: true", {"gradient_checkpointing": True}))
    if batch > 1:
        wider = int(given["gradient_accumulation_steps"]) * batch
        words = f"per_device_train_batch_size: 1 with gradient_accumulation_steps: {wider}"
        steps.append((words, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": wider}))
    if processes > 1 and _zero(given["deepspeed"]).get("stage", 0) < 3:
        steps.append((f"deepspeed: {ZERO3}", {"deepspeed": ZERO3}))
    steps.append((f"deepspeed: {OFFLOAD}", {"deepspeed": OFFLOAD}))
    found = []
    for words, change in steps:
        one = peak_of({**given, **change}, shape, processes)
        if one.peak <= memory_gb * 1e9 * ROOM:
            found.append((words, one))
    if found:
        return found
    together = dict(given)
    said: list[str] = []
    for words, change in steps:
        together |= change
        said = [word for word in said if not word.startswith("deepspeed")] if "deepspeed" in change else said
        said.append(words)
        all_of_them = peak_of(together, shape, processes)
        if all_of_them.peak <= memory_gb * 1e9 * ROOM:
            return [(", ".join(said), all_of_them)]
    return []


def flops_a_parameter(given: dict[str, Any]) -> int:
    """FLOPs per parameter and token: 2 forward, 2 for gradients of activations, 2 for those of weights (not of frozen
    ones), 2 where activations are computed a second time (arXiv 2001.08361)."""
    return 4 + (0 if given["lora_r"] else 2) + (2 if given["gradient_checkpointing"] else 0)


def hours(tokens: float, parameters: float, flops: int, gpu: Gpu, gpus: int, utilisation: float) -> float:
    """Hours on the clock of training on so many tokens, at a share of the peak that counts recomputing as work."""
    return tokens * parameters * flops / (gpu.peak_flops * utilisation * gpus * 3600)


def misuses(given: dict[str, Any], name: str, capability: float) -> list[tuple[str, str, str]]:
    """What a recipe asks of a GPU that its kind cannot: the setting, why, and what to write."""
    has = f"{name} has compute capability {capability:g}"
    found = []
    if given["bf16"] and capability < AMPERE:
        fix = "bf16: false and fp16: true, and expect to stop at a loss that is no number sooner"
        found.append(("bf16: true", f"{has}; bfloat16 needs 8.0 (Ampere) or later", fix))
    if given["quantised_base"] == 8 and capability < INT8_TENSOR_CORES:
        found.append(("quantised_base: 8", f"{has}; int8 tensor cores need 7.2 or later", "quantised_base: 4, or 0"))
    if given["attention"] == "flash_attention_2" and capability < AMPERE:
        why = f"{has}; FlashAttention-2 needs 8.0 (Ampere) or later"
        found.append(("attention: flash_attention_2", why, "attention: sdpa"))
    return found
