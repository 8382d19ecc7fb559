"""Write a trained policy as a plain model folder, in full or as an adapter merged into its base."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from belle.train import folder, lora


def write_policy(
    unfinished: Path,
    *,
    base: Path,
    model: PreTrainedModel,
    adapted: torch.nn.Module | None,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    expected: int,
    load: Callable[[Path, torch.dtype], PreTrainedModel],
) -> None:
    """Fill the folder ``unfinished`` with a policy trained from ``base``, and hold it to the contract of model folders.

    Args:
        model: The policy; under adapters, what they were put on.
        adapted: The model with its adapters, or None where every weight was trained.
        weights: The state of what was trained, gathered from every process.
        dtype: Of the weights that are written.
        expected: Tensors that a folder of this kind has.
        load: Loads the base anew, to merge adapters into.

    Raises:
        BelleError: an adapter that learnt nothing, or weights that are missing or no numbers.
    """
    if adapted is not None:
        lora.write(adapted, weights, unfinished / "adapter")
        folder.save(lora.merge(load(base, dtype), unfinished / "adapter"), tokenizer, unfinished)
    else:
        weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
        folder.save(model.to(dtype), tokenizer, unfinished, weights)
    copy_tokenizer_model(base, unfinished)
    folder.check(unfinished, expected)


def copy_tokenizer_model(base: Path, unfinished: Path) -> None:
    """Copy the sentencepiece model that a base carries beside its tokenizer."""
    if (base / "tokenizer.model").is_file():
        shutil.copyfile(base / "tokenizer.model", unfinished / "tokenizer.model")
