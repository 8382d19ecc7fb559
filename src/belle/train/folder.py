"""A model as a Hugging Face folder: the same model gives the same bytes, and nothing in it names this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from belle.errors import BelleError
from belle.files import atomic_file

RUN_KEYS = frozenset({"_name_or_path", "name_or_path", "is_local"})
"""Keys that transformers fills with where a folder was loaded from."""


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    state_dict: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write config, generation config, safetensors and tokenizer (with its chat template) into ``folder``."""
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=state_dict)
    tokenizer.save_pretrained(folder)
    for path in sorted(folder.glob("*.json")):
        strip(path)


def strip(path: Path) -> None:
    """Rewrite a JSON file without the keys that name a place on this machine."""
    value: Any = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(value, dict) and RUN_KEYS & value.keys():
        kept = {key: item for key, item in value.items() if key not in RUN_KEYS}
        with atomic_file(path) as file:
            file.write(json.dumps(kept, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name and value of every tensor in the folder's safetensors files, files and names in order."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                yield name, file.get_tensor(name)


def count(model: PreTrainedModel) -> int:
    """How many tensors a model has, those that are tied to each other counted once."""
    return len({tensor.data_ptr() for tensor in model.state_dict().values()})


def check(folder: Path, expected: int) -> None:
    """Hold a written folder to its contract: ``expected`` tensors, every value finite.

    Raises:
        BelleError: tensors are missing or too many, or one holds NaN or infinity.
    """
    names = []
    for name, value in tensors(folder):
        names.append(name)
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BelleError(
                f"the tensor {name} holds NaN or infinity",
                where=str(folder.name),
                cause="training diverged in its last step",
                fix="lower learning_rate",
            )
    if len(names) != expected:
        raise BelleError(
            f"{len(names)} tensors were written where the base has {expected}",
            where=str(folder.name),
            cause="an adapter that was not merged, or weights that were not gathered from every process",
            fix="look at the deepspeed settings (stage3_gather_16bit_weights_on_model_save)",
        )
