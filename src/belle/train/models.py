"""The model that a stage trains: loaded from a folder, and written as one when it is trained."""

import shutil
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from belle.errors import InputError
from belle.files import atomic_folder
from belle.train import folder, lora, quantised
from belle.train.scale import one_again, whole_weights
from belle.train.trainer import FiniteTrainer


def require_config(model: Path, what: str = "a base") -> None:
    """Hold a path to being a Hugging Face model folder.

    Raises:
        InputError: it is none; the message says that ``what`` may not be built yet.
    """
    if not (model / "config.json").is_file():
        raise InputError(
            "no config.json in it",
            where=str(model),
            cause=f"a wrong path, or {what} that is not built or fetched yet",
            fix="build it with `snakemake`, or check its path",
        )


def load_base(base: Path, dtype: torch.dtype, bits: int = 0) -> PreTrainedModel:
    """Load a model folder for training.

    Args:
        bits: Quantise its linear layers to so many bits; 0 does not.

    Raises:
        InputError: it is no Hugging Face model folder.
    """
    require_config(base)
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **quantised.arguments(bits, dtype))


def write(
    unfinished: Path,
    model: torch.nn.Module,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    *,
    base: Path,
    dtype: torch.dtype,
    expected: int,
) -> None:
    """Fill a folder with what was trained, adapters merged and kept in ``adapter``, and hold it to its contract.

    Args:
        model: What was trained: with its adapters, where it has any.
        weights: Its state, gathered from every process.
        base: The folder that adapters are merged into, and whose sentencepiece model goes along.
        dtype: Of the weights that are written.
        expected: Tensors that the folder must have; looked up in the base where adapters were trained.

    Raises:
        BelleError: the adapter changes nothing, or weights are missing or no numbers.
    """
    if isinstance(model, PeftModel):
        lora.write(model, weights, unfinished / "adapter")
        whole = load_base(base, dtype)
        expected = folder.count(whole)
        folder.save(lora.merge(whole, unfinished / "adapter"), tokenizer, unfinished)
    else:
        assert isinstance(model, PreTrainedModel)
        cast: dict[int, torch.Tensor] = {}  # what is tied stays one tensor
        for tensor in weights.values():
            cast.setdefault(tensor.data_ptr(), tensor.to(dtype))
        weights = {name: cast[tensor.data_ptr()] for name, tensor in weights.items()}
        folder.save(model.to(dtype), tokenizer, unfinished, weights)
    if (base / "tokenizer.model").is_file():
        shutil.copyfile(base / "tokenizer.model", unfinished / "tokenizer.model")
    folder.check(unfinished, expected)


def finish(
    trainer: FiniteTrainer,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    *,
    base: Path,
    out: Path,
    dtype: torch.dtype,
    expected: int,
    curve: Path | None = None,
) -> None:
    """Write what was trained to ``out`` as ``write`` does, and the loss of each step to ``curve``.

    Every process must call this; the first one writes.

    Raises:
        BelleError: the adapter changes nothing, or the folder breaks its contract.
    """
    weights = whole_weights(trainer, model)
    one_again()
    if not trainer.is_world_process_zero():
        return
    with atomic_folder(out) as unfinished:
        write(unfinished, model, weights, tokenizer, base=base, dtype=dtype, expected=expected)
    if curve:
        trainer.curve.write(curve)
