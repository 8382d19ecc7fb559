"""Stage ``pretrain``: continued pretraining on texts: of every weight, the embeddings alone, or adapters."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import AutoTokenizer, PreTrainedModel

from belle.errors import BelleError, InputError
from belle.files import sha256_of
from belle.train import folder, lora, quantised
from belle.train.attention import choose
from belle.train.checkpoints import folder_digest
from belle.train.hardware import half_of
from belle.train.mix import Blocks, order, pass_sizes
from belle.train.models import finish, load_base
from belle.train.tokens import TEXT, tokenised
from belle.train.trainer import Settings, discard, prepare, train


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
    per_device_train_batch_size: int,
    gradient_accumulation_steps: int,
    learning_rate: float,
    lr_scheduler_type: str,
    warmup_ratio: float,
    weight_decay: float,
    adam_beta2: float,
    bf16: bool,
    fp16: bool,
    gradient_checkpointing: bool,
    attention: str,
    quantised_base: int,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    lora_target_modules: list[str],
    lora_modules_to_save: Sequence[str],
    deepspeed: str,
    save_steps: int,
    threads: int,
    seed: int,
    tokens: Path,
    curve: Path | None = None,
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

    Raises:
        InputError: the base, a text or a setting cannot be used, or this machine cannot do what the settings ask for.
        BelleError: the loss is NaN or infinite, nothing was trained, or the folder breaks its contract.
    """
    _check(trains, lora_r, ratios, texts, steps, num_train_epochs)
    half = half_of(bf16, fp16)
    named = choose(attention, packing=False)
    quantised.check(quantised_base, lora_r)
    prepare(threads, seed)
    model = load_base(base, torch.float32 if trains == "all" and not deepspeed else half, quantised_base)
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
    a_step = per_device_train_batch_size * gradient_accumulation_steps * PartialState(_cpu()).num_processes
    a_pass = sum(pass_sizes(blocks.counts, ratios))
    settings = Settings(
        examples=steps * a_step if steps else max(1, math.ceil(num_train_epochs * a_pass)),
        per_device_train_batch_size=per_device_train_batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        learning_rate=learning_rate,
        lr_scheduler_type=lr_scheduler_type,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        adam_beta2=adam_beta2,
        bf16=bf16,
        gradient_checkpointing=gradient_checkpointing,
        deepspeed=deepspeed,
        save_steps=save_steps,
        threads=threads,
        seed=seed,
        fp16=fp16,
    )
    adapters = lora.Adapters(
        lora_r, lora_alpha, lora_dropout, tuple(sorted(lora_target_modules)), tuple(sorted(lora_modules_to_save))
    )
    identity = {
        "stage": "pretrain",
        "texts": [[sha256_of(text) for text in texts], ratios, block_size],
        "base": folder_digest(base),
        "trains": [trains, adapters.as_dict(), attention, quantised_base],
        "deepspeed": sha256_of(Path(deepspeed)) if deepspeed else "",
    }
    expected = folder.count(model)
    before = _sum(model)
    if trains == "embeddings":
        only_embeddings(model)
    trained = lora.attach(model, adapters) if trains == "adapters" else model
    turn = order(blocks.counts, ratios, settings.examples, seed)
    trainer = train(trained, blocks, settings, checkpoints=checkpoints, identity=identity, order=turn)
    if trains == "embeddings" and _sum(model) == before:
        raise BelleError(
            "the embeddings are what they were: the model would be its base",
            where="pretrain",
            cause="a learning rate or a number of steps of nearly 0",
            fix="raise learning_rate or steps",
        )
    finish(
        trainer, trained, tokenizer, base=base, out=out, dtype=half, adapted=trains == "adapters", expected=expected
    )  # fmt: skip
    if curve and trainer.is_world_process_zero():
        trainer.curve.write(curve)
    discard(trainer)


def _sum(model: PreTrainedModel) -> float:
    return float(model.get_input_embeddings().weight.detach().sum(dtype=torch.float64))


def _cpu() -> bool:
    return not torch.cuda.is_available()


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
