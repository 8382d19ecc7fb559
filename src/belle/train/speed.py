"""How fast a training goes and what it takes of its device: FLOPs a token, the device's peak, memory."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import torch

from belle.train.estimate import GPUS

OTHER_GPUS = {
    "H100 PCIe": 756e12, "H100 NVL": 835e12, "H800": 989e12, "H20": 148e12, "A800": 312e12, "A30": 165e12,
    "A10": 125e12, "A10G": 70e12, "L4": 121e12, "L40": 181e12, "RTX A6000": 155e12, "RTX 3090": 71e12,
    "V100-PCIE": 112e12,
}  # fmt: skip
"""Dense half-precision FLOP/s by the data sheets (32-bit sums), beside those of ``estimate.GPUS``."""


def peak_flops(device: str) -> float | None:
    """A device's half-precision peak by the name that its driver gives it; None where it is not in the tables."""
    known = {re.sub(r" \d+ GB$", "", gpu.name): gpu.peak_flops for gpu in GPUS} | OTHER_GPUS
    for name in sorted(known, key=len, reverse=True):
        if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", device):
            return known[name]
    return None


def device_name() -> str:
    """The GPU that this process computes on, or the processor."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return f"CPU ({found[1].strip()})" if found else "CPU"


def _count(parameter: torch.Tensor) -> int:
    if hasattr(parameter, "ds_numel"):  # ZeRO-3 keeps a part of it here
        return int(parameter.ds_numel)
    if (packed := getattr(parameter, "quant_state", None)) is not None:  # two to a byte
        return int(torch.Size(packed.shape).numel())
    return parameter.numel()


def flops_a_token(model: torch.nn.Module) -> int:
    """FLOPs that training on a token takes: 4 a weight, for the way there and the gradients of activations, and 2 more
    where the weight itself is trained (arXiv 2001.08361); 6N in full, and 4N and a little with adapters.

    Attention's own products and activations that are computed twice are left out, as MFU is defined (arXiv 2204.02311,
    appendix B). Input embeddings are looked up and not multiplied: they count only where they are the output's as well.
    """
    looked_up = model.get_input_embeddings().weight  # type: ignore[operator]
    output = getattr(model, "get_output_embeddings", lambda: None)()
    tied = output is not None and getattr(output, "weight", None) is looked_up
    flops = 0
    for parameter in model.parameters():
        if parameter is looked_up and not tied:
            continue
        flops += _count(parameter) * (6 if parameter.requires_grad else 4)
    return flops


def peak_memory_gb() -> float:
    """The most memory that this process had at a time, in 10⁹ bytes: its GPU's, or main memory where it has none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 1e9
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.M)
    except (OSError, UnicodeDecodeError):
        found = None
    kibibytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * 1024 / 1e9


def total_over_processes(tokens: int, device: torch.device) -> int:
    """The sum of a count over the processes that train together; each of them must call it."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tokens
    total = torch.tensor([tokens], dtype=torch.int64, device=device)
    dist.all_reduce(total)
    return int(total.item())
