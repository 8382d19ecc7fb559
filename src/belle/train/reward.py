"""Stage ``reward``: a reward model, which gives an answer a number, trained on pairs of answers."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from belle.errors import InputError
from belle.files import atomic_file, atomic_folder, sha256_of
from belle.prompts import chat_template
from belle.train import folder
from belle.train.checkpoints import folder_digest
from belle.train.pairs import (
    Pair,
    by_length,
    encode_pairs,
    is_held_out,
    load_pairs,
    padding_of,
    stack_pairs,
    told,
)  # fmt: skip
from belle.train.scale import one_again, whole_weights
from belle.train.shares import share_of
from belle.train.trainer import Batch, Settings, discard, prepare, train
from belle.train.writing import copy_tokenizer_model


def pairwise_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """The mean of −log σ(chosen − rejected) over rewards [B] each (Bradley–Terry; arXiv 2203.02155, equation 1)."""
    return -F.logsigmoid(chosen - rejected).mean()


def rewards_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The reward of every sequence of a batch [N], read at its last token that is not padding."""
    return (
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        .logits.squeeze(-1)
        .float()
    )


def _loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return pairwise_loss(*rewards_of(model, batch).chunk(2))


def load_reward(base: Path, dtype: torch.dtype, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Load a model folder with a scalar head: a fresh one, drawn by the seed, where the folder has none.

    Raises:
        InputError: it is no Hugging Face model folder, or its head gives several numbers.
    """
    if not (base / "config.json").is_file():
        raise InputError(
            "no config.json in it",
            where=str(base),
            cause="a wrong path, or a model that is not built or fetched yet",
            fix="build it with `snakemake`, or check its path",
        )
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    labels = config.get("id2label") if is_reward(config) else None
    if labels is not None and len(labels) != 1:
        raise InputError(
            f"a classifier into {len(labels)} labels",
            where=str(base),
            cause="another classifier under the name of a reward model",
            fix="name a causal language model, or a reward model with one output",
        )
    return AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=dtype, pad_token_id=padding_of(tokenizer)
    )


def is_reward(config: dict[str, Any]) -> bool:
    """Whether a folder's config is that of a sequence classifier, as reward models are."""
    return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or [])


@torch.no_grad()
def accuracy(model: torch.nn.Module, pairs: Sequence[Pair], *, batch_size: int, pad: int) -> dict[str, Any]:
    """On how many pairs the chosen answer has the higher reward, with its 95% interval, and by how much in the mean."""
    model.eval()
    device = next(model.parameters()).device
    margins: list[float] = []
    for indices in by_length(pairs, batch_size):
        batch = {key: value.to(device) for key, value in stack_pairs([pairs[index] for index in indices], pad).items()}
        chosen, rejected = rewards_of(model, batch).chunk(2)
        margins += (chosen - rejected).tolist()
    return summary_of(margins)


def summary_of(margins: Sequence[float]) -> dict[str, Any]:
    """Held-out pairs by how much higher their chosen answers are rated: a tie is half right."""
    right = sum(margin > 0 for margin in margins) + sum(margin == 0 for margin in margins) / 2
    share, interval = share_of(right, len(margins))
    mean = round(math.fsum(margins) / len(margins), 4) if margins else None
    return {"held_out": len(margins), "accuracy": share, "accuracy_95": interval, "margin": mean}


def reward(
    *,
    base: Path,
    pairs: Path,
    out: Path,
    report: Path,
    checkpoints: Path,
    prompt_format: str,
    max_length: int,
    max_prompt_length: int,
    per_device_train_batch_size: int,
    gradient_accumulation_steps: int,
    num_train_epochs: float,
    learning_rate: float,
    lr_scheduler_type: str,
    warmup_ratio: float,
    weight_decay: float,
    adam_beta2: float,
    bf16: bool,
    gradient_checkpointing: bool,
    deepspeed: str,
    held_out: float,
    save_steps: int,
    threads: int,
    seed: int,
) -> None:
    """Put a scalar head on ``base``, train it on ``pairs``, and write a folder for AutoModelForSequenceClassification.

    Follows BELLE's reward script: every weight is trained, the loss is the pairwise logistic one. A run that was killed
    goes on from its last whole checkpoint, and ends with the same bytes on a CPU as a run that was not.

    Args:
        pairs: JSON Lines of ``prompt, chosen, rejected``; with ``prompt_format`` none also of whole texts
            without a prompt, as BELLE's script takes them.
        report: JSON: pairs trained on, passed over and held out, and the accuracy on those held out.
        checkpoints: Where a killed run finds its way back; removed at the end.
        held_out: Share of the prompts whose pairs are not trained on.

    Raises:
        InputError: the base or the pairs cannot be used.
        BelleError: the loss is NaN or infinite.
    """
    prepare(threads, seed)
    tokenizer = AutoTokenizer.from_pretrained(base) if (base / "config.json").is_file() else None
    model = load_reward(base, torch.bfloat16 if bf16 and deepspeed else torch.float32, tokenizer)
    assert tokenizer is not None
    tokenizer.chat_template = chat_template(prompt_format)
    pad = padding_of(tokenizer)
    preferences, encoded, passed = encode_pairs(
        load_pairs(pairs, prompts=prompt_format != "none"), tokenizer,
        prompt_format=prompt_format, max_length=max_length, max_prompt_length=max_prompt_length,
    )  # fmt: skip
    taught, kept = split(encoded, is_held_out(preferences, held_out, seed), pairs, held_out)
    settings = Settings(
        examples=max(1, math.ceil(num_train_epochs * len(taught))),
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
    )
    identity = {
        "stage": "reward",
        "pairs": [sha256_of(pairs), prompt_format, max_length, max_prompt_length, held_out],
        "base": folder_digest(base),
        "deepspeed": sha256_of(Path(deepspeed)) if deepspeed else "",
    }
    trainer = train(
        model, taught, settings, checkpoints=checkpoints, identity=identity,
        collate=partial(stack_pairs, pad=pad), loss=_loss,
    )  # fmt: skip
    found = accuracy(trainer.model_wrapped, kept, batch_size=per_device_train_batch_size, pad=pad)
    weights = whole_weights(trainer, model)
    one_again()
    if trainer.is_world_process_zero():
        dtype = torch.bfloat16 if bf16 else torch.float32
        with atomic_folder(out) as unfinished:
            weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
            folder.save(model.to(dtype), tokenizer, unfinished, weights)
            copy_tokenizer_model(base, unfinished)
            folder.check(unfinished, folder.count(model))
        with atomic_file(report) as file:
            summary = {"trained_on": len(taught), "passed_over": told(passed), **found}
            file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
    discard(trainer)


def split(encoded: Sequence[Pair], out: Sequence[bool], path: Path, share: float) -> tuple[list[Pair], list[Pair]]:
    """Part pairs into those to train on and those held out.

    Raises:
        InputError: there is none to train on, or none held out where a share was asked for.
    """
    taught = [pair for pair, apart in zip(encoded, out, strict=True) if not apart]
    kept = [pair for pair, apart in zip(encoded, out, strict=True) if apart]
    if not taught or (share and not kept):
        raise InputError(
            f"{len(taught)} pairs to train on and {len(kept)} held out",
            where=str(path),
            cause=f"too few prompts for held_out {share:g}",
            fix="ask for more pairs, or change held_out",
        )
    return taught, kept
