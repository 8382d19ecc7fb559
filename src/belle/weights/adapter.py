"""A LoRA adapter as peft writes it: what it changes, checked before anything is merged.

Low-rank pairs are kept apart as ``lora_A`` [r, in] and ``lora_B`` [out, r] of a weight [out, in], which becomes
W + scale · B A with scale = alpha / r (arXiv 2106.09685; alpha / √r for rank-stabilised ones, arXiv 2312.03732). Of
embeddings they are ``lora_embedding_A`` [r, V] and ``lora_embedding_B`` [D, r], W + scale · (B A)ᵀ. Modules that were
trained whole (``modules_to_save``: embeddings and head of Chinese-LLaMA-Alpaca's) replace the base's.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from belle.errors import InputError, shown
from belle.files import read_text
from belle.weights.tensors import Tensors
from belle.weights.tokenizer import tokens_of

CONFIG = "adapter_config.json"
SMALLEST = 4096
"""Bytes below which a file of weights holds no adapter of any model in use; an empty state dict takes 443."""
_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.default)?(\.weight)?")
_NOT_LORA = {
    "use_dora": "DoRA, whose magnitudes are no sum", "alora_invocation_tokens": "aLoRA, which is switched on by tokens",
}  # fmt: skip


@dataclass
class Pair:
    """The two halves of a change to one weight."""

    scale: float
    embedding: bool
    names: dict[str, str] = field(default_factory=dict)  # "A" and "B" → tensor


class Adapter:
    """One adapter's pairs and whole tensors, by the name of the base's weight that they change.

    Args:
        folder: holds adapter_config.json and its weights; or a model folder that keeps its adapter in ``adapter/``.

    Raises:
        InputError: no adapter, an empty one, one whose norm is zero, or a kind that cannot be merged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder if (folder / CONFIG).is_file() else folder / "adapter"
        self.tokenizer_folder = next((at for at in (self.folder, folder) if tokens_of(at) is not None), None)
        self.config = _config(folder, self.folder)
        path = self._weights()
        self.tensors = Tensors(path, keep_shared=True)
        self.pairs: dict[str, Pair] = {}
        self.whole: dict[str, str] = {}
        if not len(self.tensors):
            raise _empty(path, f"an adapter of {path.stat().st_size} bytes that holds no tensor")
        for name, spec in self.tensors.specs.items():
            if not spec.numel:
                raise _empty(path, f"{name} has the shape {list(spec.shape)}, no value")
            self._sort(name)
        self._check(path)

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.folder)

    @property
    def tokens(self) -> int | None:
        """How many tokens the tokenizer beside it has; None where it has none."""
        return tokens_of(self.tokenizer_folder) if self.tokenizer_folder else None

    def add_to(self, weight: torch.Tensor, name: str) -> None:
        """Add the change of one weight to it in place; float32 [out, in].

        Raises:
            InputError: the shapes do not go together.
        """
        pair = self.pairs[name]
        a, b = (self.tensors.get(pair.names[side]).float() for side in "AB")
        if pair.embedding or self.config.get("fan_in_fan_out"):
            a, b = b.T, a.T
        if (b.shape[0], a.shape[1]) != tuple(weight.shape) or a.shape[0] != b.shape[1]:
            raise InputError(
                f"{name} is {list(weight.shape)} in the base, {[b.shape[0], a.shape[1]]} in the adapter",
                where=self.name,
                cause="an adapter of another base: another size, or another vocabulary",
                fix=f"merge it into {self.config.get('base_model_name_or_path') or 'the base it was trained on'}",
            )
        weight.addmm_(b, a, alpha=pair.scale)

    def _weights(self) -> Path:
        for name in ("adapter_model.safetensors", "adapter_model.bin"):
            path = self.folder / name
            if path.is_file():
                if path.stat().st_size < SMALLEST and not _holds_values(path):
                    raise _empty(path, f"an adapter of {path.stat().st_size} bytes that holds no values")
                return path
        raise InputError(
            "no adapter_model.safetensors or adapter_model.bin in it",
            where=self.name,
            cause="a download that was stopped, or a training that never saved",
            fix="download or train the adapter again",
        )

    def _sort(self, name: str) -> None:
        target = name.removeprefix(_PREFIX)
        found = _PART.fullmatch(target)
        if found is None:
            target = re.sub(r"\.(modules_to_save(\.default)?|original_module|base_layer)\.", ".", target)
            if "lora_" in target:
                raise InputError(
                    f"{name} is part of no plain LoRA",
                    where=self.name,
                    cause="DoRA or another kind of adapter",
                    fix="merge it with peft, on a machine that holds the whole model",
                )
            self.whole[target] = name
            return
        embedding = bool(found["embedding"])
        target = f"{found['module']}.weight"
        pair = self.pairs.setdefault(target, Pair(0.0, embedding))
        pair.names[found["side"]] = name
        if found["side"] == "A":
            pair.scale = self._scale(found["module"], self.tensors.specs[name].shape[0])

    def _scale(self, module: str, rank: int) -> float:
        alpha = float(_by_pattern(self.config.get("alpha_pattern"), module, self.config["lora_alpha"]))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _check(self, path: Path) -> None:
        lonely = sorted(name for name, pair in self.pairs.items() if set(pair.names) != {"A", "B"})
        if lonely:
            raise InputError(
                f"{lonely[0]} has one half of its pair only",
                where=str(path),
                cause="a file that was put together by hand or cut",
                fix="download or train the adapter again",
            )
        norms = [float(self.tensors.get(pair.names["B"]).float().norm()) for pair in self.pairs.values()]
        if self.pairs and not any(norms) and not self.whole:
            raise InputError(
                f"the norm of the adapter is 0: all {len(norms)} of its B matrices are, so the merge would be the base",
                where=str(path),
                cause="an adapter that was saved before it was trained, or by a script that lost its weights",
                fix="train or download the adapter again",
            )
        if not all(math.isfinite(norm) for norm in norms):
            raise InputError(
                "it holds NaN or infinity", where=str(path), cause="a training that diverged", fix="train it again"
            )
        wanted = self.config.get("modules_to_save") or []
        for module in wanted:
            if not any(f".{module}." in f".{name}" for name in self.whole):
                raise InputError(
                    f"modules_to_save names {module}, the file holds no such module",
                    where=str(path),
                    cause="a script that saved the low-rank pairs alone",
                    fix="download or train the adapter again",
                )


def _holds_values(path: Path) -> bool:
    return any(spec.numel for spec in Tensors(path, keep_shared=True).specs.values())


def _by_pattern(patterns: Any, module: str, default: Any) -> Any:
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return default


def _empty(path: Path, what: str) -> InputError:
    return InputError(
        what,
        where=str(path),
        cause="known from training scripts that replace `state_dict` before they save, and from ZeRO-3 saving without "
        "gathering: the adapter in memory was right, the file is empty",
        fix="save it again with a current peft (with ZeRO-3: stage3_gather_16bit_weights_on_model_save), or ask who "
        "published it",
    )


def _config(given: Path, folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        cause, fix = "a wrong path, or an adapter that is not downloaded or trained yet", "name the adapter's folder"
        if (given / "config.json").is_file():
            cause, fix = "a whole model, where an adapter is meant", "use it as a base, or train with lora_r above 0"
        raise InputError(f"no {CONFIG} in it", where=str(given), cause=cause, fix=fix)
    try:
        config = json.loads(read_text(path, CONFIG))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError("no JSON object", where=str(path), cause="a damaged download", fix="download it again")
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"`peft_type` is {shown(config.get('peft_type'))}, and only LORA can be merged",
            where=str(path), cause="another kind of adapter", fix="load it with peft beside its base",
        )  # fmt: skip
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or alpha <= 0:
        raise InputError(
            f"`lora_alpha` must be a number above 0, found {shown(alpha)}",
            where=str(path), cause="a file that was changed by hand", fix="give the value that it was trained with",
        )  # fmt: skip
    for key, why in _NOT_LORA.items():
        if config.get(key):
            raise InputError(
                f"`{key}` is set: {why}", where=str(path), cause="an adapter that is more than a low-rank sum",
                fix="merge it with peft, on a machine that holds the whole model",
            )  # fmt: skip
    return config
