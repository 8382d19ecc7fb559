"""Stage ``pretrain``: continued pretraining on texts: of every weight, the embeddings alone, or adapters."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch
from transformers import AutoTokenizer, PreTrainedModel

from belle.errors import BelleError, InputError
from belle.files import sha256_of
from belle.train import folder, lora, quantised
from belle.train.attention import choose
from belle.train.checkpoints import folder_digest
from belle.train.hardware import half_of
from belle.train.mix import Blocks, order, pass_sizes
from belle.train.models import finish, load_base
from belle.train.settings import AdaptedSettings, own_settings
from belle.train.tokens import TEXT, tokenised
from belle.train.trainer import discard, prepare, train


def only_embeddings(model: PreTrainedModel) -> None:
    """Freeze all but the input embeddings, which are kept in float32; tied output embeddings are the same weights."""
    model.requires_grad_(False)
    embeddings = model.get_input_embeddings()
    embeddings.weight.requires_grad_(True)
    if embeddings.weight.dtype != torch.float32:
        embeddings.weight.data = embeddings.weight.data.float()


def pretrain(
    *,
    base: Path,
    texts: list[Path],
    out: Path,
    checkpoints: Path,
    trains: str,
    block_size: int,
    ratios: list[int],
    steps: int,
    num_train_epochs: float,
    attention: str,
    quantised_base: int,
    tokens: Path,
    curve: Path | None = None,
    **how: Unpack[AdaptedSettings],
) -> None:
    """Train ``base`` on ``texts`` as BELLE's continued pretraining does, and write a Hugging Face folder to ``out``.

    Each document is followed by EOS, the documents of a text are put end to end and cut into blocks, and every token is
    trained. Resumes after a kill as ``sft`` does.

    Args:
        texts: JSON Lines with ``text``, or files with one document a line. They are read block by block.
        checkpoints: Where a killed run finds its way back; removed at the end.
        trains: all; embeddings (CLA's stage 1: the input embeddings alone); adapters (its stage 2: LoRA, and
            ``lora_modules_to_save`` as they are).
        block_size: Tokens of a block.
        ratios: How many blocks of each text for how many of the others; empty: as many as there are.
        steps: Optimizer steps; 0 trains ``num_train_epochs`` passes (see ``mix.pass_sizes``).
        tokens: Where tokenised texts are kept between runs.
        curve: Where to write the loss of each step; None does not.
        how: See ``settings.AdaptedSettings``.

    Raises:
        InputError: the base, a text or a setting cannot be used, or this machine cannot do what the settings ask for.
        BelleError: the loss is NaN or infinite, nothing was trained, or the folder breaks its contract.
    """
    settings, adapters = own_settings(how, AdaptedSettings), lora.adapters_of(how)
    _check(trains, adapters.r, ratios, texts, steps, num_train_epochs)
    half = half_of(settings["bf16"], settings["fp16"])
    named = choose(attention, packing=False)
    quantised.check(quantised_base, adapters.r)
    prepare(settings["threads"], settings["seed"])
    model = load_base(base, torch.float32 if trains == "all" and not settings["deepspeed"] else half, quantised_base)
    if named != "sdpa":
        model.set_attn_implementation(named)
    tokenizer = AutoTokenizer.from_pretrained(base)
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest and block_size > longest:
        raise InputError(
            f"blocks of {block_size} tokens for a base that reads {longest}",
            where="pretrain.block_size",
            fix=f"write {longest} or less",
        )
    blocks = Blocks([tokenised(text, tokenizer, TEXT, tokens) for text in texts], list(map(str, texts)), block_size)
    a_step = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * settings["devices"]
    a_pass = sum(pass_sizes(blocks.counts, ratios))
    count = steps * a_step if steps else max(1, math.ceil(num_train_epochs * a_pass))
    identity = {
        "stage": "pretrain",
        "texts": [[sha256_of(text) for text in texts], ratios, block_size],
        "base": folder_digest(base),
        "trains": [trains, adapters.as_dict(), attention, quantised_base],
    }
    expected = folder.count(model)
    before = _sum(model)
    if trains == "embeddings":
        only_embeddings(model)
    trained = lora.attach(model, adapters) if trains == "adapters" else model
    turn = order(blocks.counts, ratios, count, settings["seed"])
    trainer = train(
        trained, blocks, settings, count=count, checkpoints=checkpoints, identity=identity, order=turn
    )  # fmt: skip
    if trains == "embeddings" and _sum(model) == before:
        raise BelleError(
            "the embeddings are what they were: the model would be its base",
            where="pretrain",
            cause="a learning rate or a number of steps of nearly 0",
            fix="raise learning_rate or steps",
        )
    finish(trainer, trained, tokenizer, base=base, out=out, dtype=half, expected=expected, curve=curve)
    discard(trainer)


def _sum(model: PreTrainedModel) -> float:
    return float(model.get_input_embeddings().weight.detach().sum(dtype=torch.float64))


def _check(
    trains: str, lora_r: int, ratios: Sequence[int], texts: Sequence[Path], steps: int, num_train_epochs: float
) -> None:
    if trains not in ("all", "embeddings", "adapters"):
        raise InputError(f"must be all, embeddings or adapters, found {trains!r}", where="pretrain.trains")
    if (trains == "adapters") != bool(lora_r):
        raise InputError(
            f"trains is {trains}, and lora_r {lora_r}",
            where="pretrain.lora_r",
            cause="half a change from one mode to another",
            fix="give adapters a rank, and 0 where there are none",
        )
    if ratios and len(ratios) != len(texts):
        raise InputError(
            f"{len(ratios)} ratios for {len(texts)} texts",
            where="pretrain.ratios",
            fix="write one number for each text, in their order, or none at all",
        )
    if any(ratio < 1 for ratio in ratios):
        raise InputError(f"ratios must be 1 or more, found {list(ratios)}", where="pretrain.ratios")
    if not steps and not num_train_epochs > 0:
        raise InputError("neither steps nor num_train_epochs", where="pretrain.steps", fix="give one of them")
