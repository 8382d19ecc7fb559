"""Low-rank adapters by peft: put on before training, written apart and merged after it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from belle.errors import BelleError, InputError
from belle.files import atomic_file


@dataclass(frozen=True)
class Adapters:
    """Rank, scale (alpha / r), dropout and the modules that get adapters. Rank 0: none."""

    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained as they are, without adapters: CLA's embed_tokens and lm_head."""

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {
            **asdict(self),
            "target_modules": list(self.target_modules),
            "modules_to_save": list(self.modules_to_save),
        }


def adapters_of(given: Mapping[str, Any]) -> Adapters:
    """The adapters of a stage's settings, see ``settings.AdapterSettings``; modules are put in order."""
    return Adapters(
        given["lora_r"],
        given["lora_alpha"],
        given["lora_dropout"],
        tuple(sorted(given["lora_target_modules"])),
        tuple(sorted(given.get("lora_modules_to_save", ()))),
    )


def attach(model: PreTrainedModel, adapters: Adapters) -> PeftModel:
    """Freeze ``model`` and put fresh adapters on its target modules.

    Raises:
        InputError: the model has no module of a given name.
    """
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    unknown = [name for name in (*adapters.target_modules, *adapters.modules_to_save) if name not in names]
    if unknown or not adapters.target_modules:
        raise InputError(
            f"the base has no module named {', '.join(unknown)}" if unknown else "no target module is named",
            where="lora_target_modules, lora_modules_to_save",
            cause="settings meant for another architecture (LLaMA: q_proj …; BLOOM: query_key_value)",
            fix="choose among " + ", ".join(sorted(_linear_names(model))),
        )
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    if tied and "lm_head" in adapters.modules_to_save:
        raise InputError(
            "lm_head is to be trained, and in this model it is embed_tokens itself",
            where="lora_modules_to_save",
            cause="a recipe for LLaMA, whose two ends are apart",
            fix="write [embed_tokens]: it trains both ends",
        )
    trained = get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=adapters.r,
            lora_alpha=adapters.alpha,
            lora_dropout=adapters.dropout,
            target_modules=list(adapters.target_modules),
            modules_to_save=list(adapters.modules_to_save) or None,
            ensure_weight_tying=tied and bool(adapters.modules_to_save),
        ),
    )
    for parameter in trained.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()  # an optimizer's step is smaller than a half number's last digit
    return trained


def _linear_names(model: PreTrainedModel) -> set[str]:
    return {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def write(trained: PeftModel, weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``, the same bytes for the same adapter.

    Raises:
        BelleError: the adapter changes nothing, since every B matrix is zero.
    """
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in sorted(get_peft_model_state_dict(trained, state_dict=weights).items())
    }
    if trained.peft_config["default"].ensure_weight_tying:  # one tensor under two names, and peft asks for both
        state = {name: tensor.clone() for name, tensor in state.items()}
    norm = sum(float(tensor.float().norm()) for name, tensor in state.items() if "lora_B" in name)
    if norm == 0:
        raise BelleError(
            "the norm of the trained adapter is 0: the model would be its base",
            where="training",
            cause="a learning rate or a number of steps of nearly 0",
            fix="raise learning_rate or num_train_epochs",
        )
    config = trained.peft_config["default"].to_dict()
    config["target_modules"] = sorted(config["target_modules"])  # peft keeps a set, whose order is random
    config["base_model_name_or_path"] = ""
    config["inference_mode"] = True
    folder.mkdir()
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with atomic_file(folder / "adapter_config.json") as file:
        file.write(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True, default=str) + "\n")


def merge(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Add the adapter in ``folder`` to the weights of ``model`` and return it without any."""
    return PeftModel.from_pretrained(model, folder).merge_and_unload()
