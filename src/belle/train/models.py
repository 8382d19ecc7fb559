"""The model that a stage trains: loaded from a folder, and written as one when it is trained."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from belle.errors import InputError
from belle.files import atomic_folder
from belle.train import folder, lora, quantised
from belle.train.scale import one_again, whole_weights
from belle.train.trainer import FiniteTrainer


def load_base(base: Path, dtype: torch.dtype, bits: int = 0) -> PreTrainedModel:
    """Load a model folder for training.

    Args:
        bits: Quantise its linear layers to so many bits; 0 does not.

    Raises:
        InputError: it is no Hugging Face model folder.
    """
    if not (base / "config.json").is_file():
        raise InputError(
            "no config.json in it",
            where=str(base),
            cause="a wrong path, or a base that is not built or fetched yet",
            fix="build it with `snakemake`, or check its path",
        )
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **quantised.arguments(bits, dtype))


def finish(
    trainer: FiniteTrainer,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    base: Path,
    out: Path,
    dtype: torch.dtype,
    adapted: bool,
    expected: int,
) -> None:
    """Write what was trained to ``out`` as a plain Hugging Face folder, adapters merged and kept in ``out/adapter``.

    Every process must call this; the first one writes.

    Args:
        model: What was given to the trainer.
        base: The folder that adapters are merged into.
        adapted: Whether adapters were trained.
        expected: Tensors that the folder must have; looked up in the base where adapters were trained.

    Raises:
        BelleError: the adapter changes nothing, or the folder breaks its contract.
    """
    weights = whole_weights(trainer, model)
    one_again()
    if not trainer.is_world_process_zero():
        return
    with atomic_folder(out) as unfinished:
        if adapted:
            lora.write(model, weights, unfinished / "adapter")
            whole = load_base(base, dtype)
            expected = folder.count(whole)
            folder.save(lora.merge(whole, unfinished / "adapter"), tokenizer, unfinished)
        else:
            cast: dict[int, torch.Tensor] = {}  # what is tied stays one tensor
            for tensor in weights.values():
                cast.setdefault(tensor.data_ptr(), tensor.to(dtype))
            weights = {name: cast[tensor.data_ptr()] for name, tensor in weights.items()}
            folder.save(model.to(dtype), tokenizer, unfinished, weights)
        if (base / "tokenizer.model").is_file():
            shutil.copyfile(base / "tokenizer.model", unfinished / "tokenizer.model")
        folder.check(unfinished, expected)
