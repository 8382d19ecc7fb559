"""Log-probabilities of answers under a model, and the base's, which are computed once before training."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from belle.prompts import IGNORE
from belle.train.blocks import Blocks
from belle.train.pairs import Pair, by_length, stack_pairs
from belle.train.trainer import Batch


def token_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of ``tokens`` [..., K] under ``logits`` [..., K, V], in 32 bits whatever the logits have."""
    logits = logits.float()
    return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def answer_logprobs(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Log-probability of each sequence's answer [2B], the sum over its tokens; the prompt counts nothing."""
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        logits_to_keep=batch["logits_to_keep"],
        use_cache=False,
    ).logits
    labels = batch["shift_labels"]
    counted = labels != IGNORE
    return (token_logprobs(logits, labels.clamp(min=0)) * counted).sum(-1)


@torch.no_grad()
def pair_logprobs(model: torch.nn.Module, pairs: Sequence[Pair], indices: Sequence[int], pad: int) -> list[list[float]]:
    """Log-probabilities ``[chosen, rejected]`` of the answers of one batch of pairs."""
    device = next(model.parameters()).device
    batch = {key: value.to(device) for key, value in stack_pairs([pairs[index] for index in indices], pad).items()}
    return answer_logprobs(model, batch).view(2, len(indices)).T.tolist()


def with_reference(
    pairs: Sequence[Pair], model: PreTrainedModel, blocks: Blocks, *, batch_size: int, pad: int
) -> list[Pair]:
    """Give every pair its answers' log-probabilities under ``model``, each batch of them kept in ``blocks``."""
    batches = by_length(pairs, batch_size)
    model.eval()
    found = blocks.all(batches, lambda indices: pair_logprobs(model, pairs, indices, pad), "reference")
    model.train()
    reference: dict[int, tuple[float, float]] = {}
    for indices, values in zip(batches, found, strict=True):
        reference.update({index: (chosen, rejected) for index, (chosen, rejected) in zip(indices, values, strict=True)})
    return [replace(pair, reference=reference[index]) for index, pair in enumerate(pairs)]
