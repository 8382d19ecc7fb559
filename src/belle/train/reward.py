"""Stage ``reward``: a reward model, which gives an answer a number, trained on pairs of answers."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from belle.errors import InputError
from belle.prompts import chat_template
from belle.train import folder
from belle.train.checkpoints import folder_digest
from belle.train.models import finish, require_config
from belle.train.pairs import Pair, by_length, identity_of, mean_counted, padding_of, parted, stack_pairs
from belle.train.settings import PairSettings, own_settings
from belle.train.shares import share_of
from belle.train.trainer import Batch, discard, prepare, train


def pairwise_loss(chosen: torch.Tensor, rejected: torch.Tensor, counted: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of −log σ(chosen − rejected) over rewards [B] each (Bradley–Terry; arXiv 2203.02155, equation 1).

    Args:
        counted: The pairs that the mean is over, bool [B]; None for all.
    """
    return mean_counted(-F.logsigmoid(chosen - rejected), counted)


def rewards_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The reward of every sequence of a batch [N], read at its last token that is not padding."""
    return (
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        .logits.squeeze(-1)
        .float()
    )


def _loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    chosen, rejected = rewards_of(model, batch).chunk(2)
    return pairwise_loss(chosen, rejected, batch["counted"])


def load_reward(base: Path, dtype: torch.dtype, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Load a model folder with a scalar head: a fresh one, drawn by the seed, where the folder has none.

    Raises:
        InputError: it is no Hugging Face model folder, or its head gives several numbers.
    """
    require_config(base)
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
    **how: Unpack[PairSettings],
) -> None:
    """Put a scalar head on ``base``, train it on ``pairs``, and write a folder for AutoModelForSequenceClassification.

    Follows BELLE's reward script: every weight is trained, the loss is the pairwise logistic one. A run that was killed
    goes on from its last whole checkpoint, and ends with the same bytes on a CPU as a run that was not.

    Args:
        pairs: JSON Lines of ``prompt, chosen, rejected``; with ``prompt_format`` none also of whole texts
            without a prompt, as BELLE's script takes them.
        report: JSON: pairs trained on, passed over and held out, and the accuracy on those held out.
        checkpoints: Where a killed run finds its way back; removed at the end.
        how: See ``settings.PairSettings``.

    Raises:
        InputError: the base or the pairs cannot be used.
        BelleError: the loss is NaN or infinite.
    """
    settings = own_settings(how, PairSettings)
    prepare(settings["threads"], settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(base) if (base / "config.json").is_file() else None
    half = torch.bfloat16 if settings["bf16"] else torch.float32
    model = load_reward(base, half if settings["deepspeed"] else torch.float32, tokenizer)
    assert tokenizer is not None
    tokenizer.chat_template = chat_template(how["prompt_format"])
    pad, expected = padding_of(tokenizer), folder.count(model)
    given = parted(pairs, tokenizer, how, prompts=how["prompt_format"] != "none")
    identity = {"stage": "reward", "pairs": identity_of(pairs, how), "base": folder_digest(base)}
    trainer = train(
        model, given.taught, settings, count=max(1, math.ceil(how["num_train_epochs"] * len(given.taught))),
        checkpoints=checkpoints, identity=identity, collate=partial(stack_pairs, pad=pad), loss=_loss,
    )  # fmt: skip
    found = accuracy(trainer.model_wrapped, given.kept, batch_size=settings["per_device_train_batch_size"], pad=pad)
    finish(trainer, model, tokenizer, base=base, out=out, dtype=half, expected=expected)
    if trainer.is_world_process_zero():
        given.report(report, found)
    discard(trainer)
