"""Stage ``dpo``: direct preference optimisation of a language model on pairs of answers, in full or by LoRA."""

import math
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer

from belle.prompts import chat_template
from belle.train import folder, lora
from belle.train.blocks import Blocks, everyone
from belle.train.checkpoints import folder_digest
from belle.train.logprobs import answer_logprobs, pair_logprobs, with_reference
from belle.train.models import finish, load_base
from belle.train.pairs import Pair, by_length, identity_of, mean_counted, padding_of, parted, stack_pairs
from belle.train.reward import summary_of
from belle.train.settings import AdaptedPairSettings, own_settings
from belle.train.trainer import Batch, discard, prepare, train


def dpo_loss(
    policy: torch.Tensor, reference: torch.Tensor, beta: float, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """The mean DPO loss (arXiv 2305.18290, equation 7) of log-probabilities [2, B] each, chosen answers first.

    Args:
        counted: The pairs that the mean is over, bool [B]; None for all.
    """
    moved = policy - reference
    return mean_counted(-F.logsigmoid(beta * (moved[0] - moved[1])), counted)


def _loss(model: torch.nn.Module, batch: Batch, beta: float) -> torch.Tensor:
    return dpo_loss(answer_logprobs(model, batch).view(2, -1), batch["reference"], beta, batch["counted"])


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
    beta: float,
    **how: Unpack[AdaptedPairSettings],
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
        beta: How dear it is to move away from the base.
        how: See ``settings.AdaptedPairSettings``. Adapters are merged, and kept in ``out/adapter``.

    Raises:
        InputError: the base or the pairs cannot be used.
        BelleError: the loss is NaN or infinite, or what came out breaks the contract of a model folder.
    """
    settings, adapters = own_settings(how, AdaptedPairSettings), lora.adapters_of(how)
    half = torch.bfloat16 if settings["bf16"] else torch.float32
    batch_size = settings["per_device_train_batch_size"]
    prepare(settings["threads"], settings["seed"])
    model = load_base(base, half if adapters.r or settings["deepspeed"] else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = chat_template(how["prompt_format"])
    pad, expected = padding_of(tokenizer), folder.count(model)
    identity = {"stage": "dpo", "pairs": identity_of(pairs, how), "base": folder_digest(base)}
    numbers = [batch_size, settings["bf16"], settings["threads"]]
    model.to(everyone().device)
    blocks = Blocks(checkpoints.with_name(f"{checkpoints.name}-reference"), [identity, numbers])
    refer = partial(with_reference, model=model, blocks=blocks, batch_size=batch_size, pad=pad)
    given = parted(pairs, tokenizer, how, refer=refer)
    trained = lora.attach(model, adapters) if adapters.r else model
    trainer = train(
        trained, given.taught, settings, count=max(1, math.ceil(how["num_train_epochs"] * len(given.taught))),
        checkpoints=checkpoints, identity={**identity, "beta": beta, "lora": adapters.as_dict()},
        collate=partial(stack_pairs, pad=pad), loss=partial(_loss, beta=beta),
    )  # fmt: skip
    found = implicit(trainer.model_wrapped, given.kept, beta=beta, batch_size=batch_size, pad=pad)
    finish(trainer, trained, tokenizer, base=base, out=out, dtype=half, expected=expected)
    if trainer.is_world_process_zero():
        given.report(report, found)
    blocks.discard()
    discard(trainer)
