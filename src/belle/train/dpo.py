"""Stage ``dpo``: direct preference optimisation of a language model on pairs of answers, in full or by LoRA."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer

from belle.files import atomic_file, atomic_folder, sha256_of
from belle.prompts import chat_template
from belle.train import folder, lora
from belle.train.blocks import everyone
from belle.train.checkpoints import folder_digest
from belle.train.logprobs import answer_logprobs, pair_logprobs, with_reference
from belle.train.models import load_base
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
from belle.train.reward import split, summary_of
from belle.train.scale import one_again, whole_weights
from belle.train.trainer import Batch, Settings, discard, prepare, train
from belle.train.writing import write_policy


def dpo_loss(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """The mean DPO loss (arXiv 2305.18290, equation 7) of log-probabilities [2, B] each, chosen answers first."""
    moved = policy - reference
    return -F.logsigmoid(beta * (moved[0] - moved[1])).mean()


def _loss(model: torch.nn.Module, batch: Batch, beta: float) -> torch.Tensor:
    return dpo_loss(answer_logprobs(model, batch).view(2, -1), batch["reference"], beta)


def implicit(model: torch.nn.Module, pairs: list[Pair], *, beta: float, batch_size: int, pad: int) -> dict[str, Any]:
    """On how many pairs the trained model's implicit reward, β log π/π_base, is higher for the chosen answer."""
    model.eval()
    margins = []
    for indices in by_length(pairs, batch_size):
        for index, (chosen, rejected) in zip(indices, pair_logprobs(model, pairs, indices, pad), strict=True):
            before = pairs[index].reference
            margins.append(beta * ((chosen - before[0]) - (rejected - before[1])))
    return summary_of(margins)


def dpo(
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
    beta: float,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    lora_target_modules: list[str],
    save_steps: int,
    threads: int,
    seed: int,
) -> None:
    """Train ``base`` to prefer the chosen answers of ``pairs``, and write a plain Hugging Face folder to ``out``.

    The base's log-probabilities are computed once and kept beside the checkpoints, so one model is in memory while it
    trains. A run that was killed goes on from its last whole batch of them or its last whole checkpoint, and ends with
    the same bytes on a CPU as a run that was not.

    Args:
        pairs: JSON Lines of ``prompt, chosen, rejected``, see ``pairs.load_pairs``.
        report: JSON: pairs trained on, passed over and held out, and how often the chosen one of those held out gained
            more on the base than the rejected one.
        checkpoints: Where a killed run finds its way back; removed at the end, as is the folder of its name with
            ``-reference``.
        max_prompt_length: The longest prompt in tokens, its format included; pairs with longer ones are passed over.
        held_out: Share of the prompts whose pairs are not trained on.
        beta: How dear it is to move away from the base.
        lora_r: Rank of the adapters; 0 trains every weight. Adapters are merged, and kept in ``out/adapter``.

    Raises:
        InputError: the base or the pairs cannot be used.
        BelleError: the loss is NaN or infinite, or what came out breaks the contract of a model folder.
    """
    prepare(threads, seed)
    model = load_base(base, torch.bfloat16 if bf16 and (lora_r or deepspeed) else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = chat_template(prompt_format)
    pad = padding_of(tokenizer)
    preferences, encoded, passed = encode_pairs(
        load_pairs(pairs), tokenizer,
        prompt_format=prompt_format, max_length=max_length, max_prompt_length=max_prompt_length,
    )  # fmt: skip
    adapters = lora.Adapters(lora_r, lora_alpha, lora_dropout, tuple(sorted(lora_target_modules)))
    identity = {
        "stage": "dpo",
        "pairs": [sha256_of(pairs), prompt_format, max_length, max_prompt_length, held_out],
        "base": folder_digest(base),
    }
    expected = folder.count(model)
    settings = {"per_device_train_batch_size": per_device_train_batch_size, "bf16": bf16, "threads": threads}
    model.to(everyone().device)
    referred, blocks = with_reference(
        encoded, model, kept=checkpoints.with_name(f"{checkpoints.name}-reference"), identity=[identity, settings],
        batch_size=per_device_train_batch_size, pad=pad,
    )  # fmt: skip
    taught, kept = split(referred, is_held_out(preferences, held_out, seed), pairs, held_out)
    trained = lora.attach(model, adapters) if lora_r else model
    trainer = train(
        trained,
        taught,
        Settings(
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
        ),
        checkpoints=checkpoints,
        identity={
            **identity,
            "beta": beta,
            "lora": adapters.as_dict(),
            "deepspeed": sha256_of(Path(deepspeed)) if deepspeed else "",
        },
        collate=partial(stack_pairs, pad=pad),
        loss=partial(_loss, beta=beta),
    )
    found = implicit(trainer.model_wrapped, kept, beta=beta, batch_size=per_device_train_batch_size, pad=pad)
    weights = whole_weights(trainer, trained)
    one_again()
    if trainer.is_world_process_zero():
        with atomic_folder(out) as unfinished:
            write_policy(
                unfinished, base=base, model=model, adapted=trained if lora_r else None, weights=weights,
                tokenizer=tokenizer, dtype=torch.bfloat16 if bf16 else torch.float32, expected=expected, load=load_base,
            )  # fmt: skip
        with atomic_file(report) as file:
            summary = {"trained_on": len(taught), "passed_over": told(passed), **found}
            file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
    blocks.discard()
    discard(trainer)
