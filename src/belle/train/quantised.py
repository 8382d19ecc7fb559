"""A base in 8 or 4 bits to train adapters on, by bitsandbytes: a quarter of the memory, or an eighth of float32's."""

import importlib.util
from typing import Any

import torch

from belle.errors import InputError


def check(bits: int, lora_r: int) -> None:
    """Refuse a quantised base where it cannot be.

    Raises:
        InputError: bits that are not 0, 4 or 8, no adapters to train on it, or no bitsandbytes.
    """
    if bits not in (0, 4, 8):
        raise InputError(f"{bits} bits", where="quantised_base", fix="write 4, 8, or 0 for a base as it is")
    if bits and not lora_r:
        raise InputError(
            f"a base in {bits} bits is to be trained in full",
            where="quantised_base",
            cause="a recipe whose lora_r is 0",
            fix="write quantised_base: 0, or train adapters (lora_r: 16)",
        )
    if bits and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"a base in {bits} bits is asked for, and bitsandbytes is not installed",
            where="quantised_base",
            cause="it is no part of the lock: only these recipes need it",
            fix="pip install bitsandbytes==0.50.2, or write quantised_base: 0",
        )


def arguments(bits: int, dtype: torch.dtype) -> dict[str, Any]:
    """What ``from_pretrained`` is told: NF4 with quantised scales (arXiv 2305.14314), LLM.int8(), or nothing for 0."""
    if not bits:
        return {}
    from transformers import BitsAndBytesConfig

    if bits == 4:
        how = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    else:
        how = BitsAndBytesConfig(load_in_8bit=True)
    place = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return {"quantization_config": how, "device_map": {"": place}}
