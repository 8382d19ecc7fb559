"""Write a model's tensors as safetensors shards, one tensor in memory at a time.

The library writes a file from a mapping that holds all of its tensors, so its memory is a shard's. A model's shapes are
known before its values, so here the header goes first and each value after it as it comes. The format: 8 bytes for
the header's length, a JSON header of types, shapes and offsets, then the values (safetensors' format description).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from tqdm import tqdm

from belle.errors import BelleError
from belle.files import atomic_file
from belle.weights.tensors import NAMES_OF_DTYPES, Spec

BLOCK = 1 << 18
"""Values that are looked at together when a tensor is checked for NaN."""


@dataclass(frozen=True)
class Planned:
    """A tensor to write: its name, type and shape, and how to make it when its turn comes."""

    name: str
    spec: Spec
    make: Callable[[], torch.Tensor]


def write_shards(folder: Path, planned: Sequence[Planned], max_shard_gb: float, what: str) -> None:
    """Write ``model.safetensors``, or as many shards as ``max_shard_gb`` (10⁹ bytes) asks for and their index.

    A tensor larger than that gets a shard of its own. Every value is checked to be finite and as planned.

    Args:
        folder: where to write; nobody reads it yet.
        planned: the tensors, in the order in which they are made and written.
        what: the stage, for the bar and messages.

    Raises:
        BelleError: a tensor holds NaN or infinity, or is not what was planned.
    """
    shards = divided(planned, max_shard_gb)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    total = sum(item.spec.bytes for item in planned)
    with tqdm(desc=what, total=total, unit="B", unit_scale=True, mininterval=1, delay=1) as bar:
        for name, shard in zip(names, shards, strict=True):
            with open(folder / name, "wb") as file:
                file.write(_header(shard))
                for item in shard:
                    _write(item, file, what)
                    bar.update(item.spec.bytes)
    if len(shards) > 1:
        weight_map = {item.name: name for name, shard in zip(names, shards, strict=True) for item in shard}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        with atomic_file(folder / "model.safetensors.index.json") as file:
            file.write(json.dumps(index, indent=2) + "\n")


def divided(planned: Sequence[Planned], max_shard_gb: float) -> list[list[Planned]]:
    """The tensors of each shard, in order."""
    shards: list[list[Planned]] = [[]]
    size = 0
    for item in planned:
        if shards[-1] and size + item.spec.bytes > max_shard_gb * 1e9:
            shards.append([])
            size = 0
        shards[-1].append(item)
        size += item.spec.bytes
    # Wider types first, so that every tensor starts where its type may: readers map the file.
    return [sorted(shard, key=lambda item: -item.spec.dtype.itemsize) for shard in shards]


def _header(shard: Sequence[Planned]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for item in shard:
        entries[item.name] = {
            "dtype": NAMES_OF_DTYPES[item.spec.dtype],
            "shape": list(item.spec.shape),
            "data_offsets": [offset, offset + item.spec.bytes],
        }
        offset += item.spec.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(item: Planned, file: IO[bytes], what: str) -> None:
    value = item.make().contiguous()
    made = Spec(value.dtype, tuple(value.shape))
    if made != item.spec:
        raise BelleError(f"{item.name} is {made} where {item.spec} was planned", where=what)
    check_finite(item.name, value, what)
    if value.numel():
        file.write(value.view(torch.uint8).numpy().reshape(-1).data if value.dim() else value.numpy().tobytes())


def check_finite(name: str, value: torch.Tensor, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        BelleError: naming the tensor and how many of its values are none.
    """
    if not value.is_floating_point() or not value.numel():
        return
    wrong = sum(int((~torch.isfinite(block.float())).sum()) for block in value.reshape(-1).split(BLOCK))
    if wrong:
        raise BelleError(
            f"{name} holds {wrong} values of {value.numel()} that are NaN or infinite",
            where=where,
            cause="a source that is damaged or diverged, or values that float16 cannot hold",
            fix="check the source's digest; write bfloat16 or float32 where the source is wider than float16",
        )
