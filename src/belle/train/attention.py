"""Attention for packed rows: each row attends to itself alone, at the cost of its own length.

A block-diagonal mask over a packed sequence would be as exact and cost the square of the sequence; here every row is
one call of PyTorch's causal attention, so packing costs no more attention than rows one by one. FlashAttention-2 does
the same in one kernel, from the same ``cu_seq_lens_q``.
"""

import importlib.util
import itertools
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from belle.errors import InputError

BY_ROW = "belle_by_row"
"""The name under which transformers knows attention by row."""


def by_row(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row of a packed sequence.

    Args:
        query [1, H, N, D], key, value [1, G, N, D]: H a multiple of G.
        cu_seq_lens_q: int32 [R + 1], where rows begin and end.

    Returns:
        [1, N, H, D], and no weights.
    """
    assert cu_seq_lens_q is not None, "only packed batches may run through attention by row"
    bounds = cu_seq_lens_q.tolist()
    lengths = [end - begin for begin, end in itertools.pairwise(bounds)]
    shared = query.shape[1] != key.shape[1]
    found = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=shared)
        for q, k, v in zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    ]
    return torch.cat(found, dim=2).transpose(1, 2), None


AttentionInterface.register(BY_ROW, by_row)


def choose(attention: str, packing: bool) -> str:
    """The name by which transformers is to load the attention that a recipe asks for.

    Raises:
        InputError: it is not installed, this machine cannot run it, or it cannot take packed rows.
    """
    if attention == "flash_attention_2":
        missing = _lacking_for_flash()
        if missing:
            raise InputError(
                f"flash_attention_2 is asked for, and {missing}",
                where="attention",
                cause="a recipe for another machine",
                fix="write sdpa, or run where it is installed",
            )
    if packing and attention == "eager":
        raise InputError(
            "packing with eager attention, which would look from one row into the next",
            where="attention",
            fix="write sdpa or flash_attention_2, or packing: false",
        )
    return BY_ROW if packing and attention == "sdpa" else attention


def _lacking_for_flash() -> str:
    if importlib.util.find_spec("flash_attn") is None:
        return "the package flash_attn is not installed"
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    major, minor = torch.cuda.get_device_capability()
    if major < 8:
        return f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}, where 8.0 is needed"
    return ""


def check_packable(model: PreTrainedModel) -> None:
    """Refuse a model that knows places by its padding mask, so that packed rows would shift each other.

    Raises:
        InputError: it is one, such as BLOOM.
    """
    if not getattr(model, "_supports_attention_backend", False):
        raise InputError(
            f"packing, and {type(model).__name__} has no attention that can be told where rows begin",
            where="packing",
            cause="an architecture with ALiBi, such as BLOOM",
            fix="write packing: false; rows of similar length are still batched together",
        )
