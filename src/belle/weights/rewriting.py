"""A model's weight files made anew, tensor by tensor out of two models', in memory that no tensor's size changes."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from belle.files import atomic_file
from belle.weights import difference
from belle.weights.raw_tensors import DTYPES, Model, Tensor, WeightFile, header
from belle.weights.streams import Bar, pour, writing

INDEX = "model.safetensors.index.json"
FILES_AT_ONCE = 2
"""Weight files that are made at the same time: computing takes more memory than copying."""

Make = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""The new bytes of a piece of a tensor, from the base's and the other side's."""


@dataclass(frozen=True)
class Change:
    """How one tensor is made: out of ``base`` and ``other``, to the type ``to``."""

    base: Tensor
    other: Tensor
    to: str
    make: Make


@dataclass
class Made:
    """SHA-256 of a tensor's bytes on each side."""

    base: str
    other: str
    new: str


def name_of(file: WeightFile) -> str:
    """The name of a weight file once it is a safetensors file."""
    if file.path.suffix == ".safetensors":
        return file.path.name
    return file.path.name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"


def names_of(model: Model) -> list[str]:
    """The files that a model made anew from ``model`` has."""
    index = [INDEX] if len(model.files) > 1 else []
    return [*_others(model), *map(name_of, model.files), *index]


def _others(model: Model) -> list[str]:
    return [name for name in model.others() if name != difference.NAME]


def rewrite(file: WeightFile, folder: Path, changes: Mapping[str, Change], bar: Bar) -> dict[str, Made]:
    """Write one file's tensors, changed, into ``folder``; returns their digests by name."""
    found = {}
    layout = [(tensor.name, changes[tensor.name].to, tensor.shape) for tensor in file.tensors]
    with atomic_file(folder / name_of(file), "wb") as target:
        target.write(header(layout, file.metadata))
        write = writing(target)
        for tensor in file.tensors:
            found[tensor.name] = _change(changes[tensor.name], write, bar)
    return found


def _change(change: Change, write: Callable[[memoryview], object], bar: Bar) -> Made:
    digests = [hashlib.sha256() for _ in range(3)]
    wide = DTYPES[change.to]

    def fill(piece: memoryview, position: int) -> None:
        first, count = position // wide, len(piece) // wide
        sides = []
        for side, digest in ((change.base, digests[0]), (change.other, digests[1])):
            own = DTYPES[side.dtype]
            raw = np.empty(count * own, np.uint8)
            side.fill(raw.data, first * own)
            digest.update(raw.data)
            sides.append(raw)
        piece[:] = change.make(sides[0], sides[1]).data
        bar.update(len(piece))

    pour(change.other.elements * wide, fill, [digests[2].update, write])
    return Made(*(digest.hexdigest() for digest in digests))


def complete(model: Model, folder: Path, changes: Mapping[str, Change]) -> dict[str, str]:
    """Copy what lies beside a model's weights, and write the index where there are several files.

    Returns:
        SHA-256 of each copied file by its name.
    """
    digests = {}
    for name in _others(model):
        shutil.copyfile(model.folder / name, folder / name)
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if len(model.files) > 1:
        size = sum(change.other.elements * DTYPES[change.to] for change in changes.values())
        places = {tensor.name: name_of(file) for file in model.files for tensor in file.tensors}
        with atomic_file(folder / INDEX) as file:
            file.write(json.dumps({"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))},
                                  indent=2, ensure_ascii=False) + "\n")  # fmt: skip
    return digests
