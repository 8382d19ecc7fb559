"""Which numbers to compute in: what a recipe asks for, held against what this machine has."""

import torch

from belle.errors import InputError


def half_of(bf16: bool, fp16: bool) -> torch.dtype:
    """The type that a recipe computes and writes in: bfloat16, float16, or float32 where it asks for neither.

    Raises:
        InputError: it asks for both, or for one that this machine does not compute in.
    """
    if bf16 and fp16:
        raise InputError("bf16 and fp16 are both true", where="sft", fix="choose one: bf16 from Ampere on, fp16 before")
    if bf16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"bf16 is asked for, and {torch.cuda.get_device_name()} does not compute in it",
            where="sft.bf16",
            cause="a GPU before Ampere (compute capability 8.0), such as a V100",
            fix="write bf16: false and fp16: true, and expect to stop at a NaN sooner; or use another GPU",
        )
    if fp16 and not torch.cuda.is_available():
        raise InputError(
            "fp16 is asked for, and there is no GPU",
            where="sft.fp16",
            cause="a recipe for another machine",
            fix="write fp16: false; bf16: true works on a CPU, too",
        )
    return torch.bfloat16 if bf16 else torch.float16 if fp16 else torch.float32
