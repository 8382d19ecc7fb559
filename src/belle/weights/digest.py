"""A digest over a model's tensors: names, shapes, types and bytes, whichever files and formats hold them.

Files of one model differ in their bytes (pickles carry what they were saved with, shards are cut anywhere), so a sum
over files says nothing about the weights. The digest of a tensor is the SHA-256 of its values, row by row, little
end first; that of a model is the SHA-256 of one line a tensor, ``name type [shape] digest``, in the order of the names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from belle.weights.tensors import Spec, Tensors, WeightFile, weight_files

BLOCK = 1 << 24
"""Bytes that are hashed together."""


@dataclass(frozen=True)
class TensorDigest:
    """A tensor's name, type, shape, and the SHA-256 of its values."""

    name: str
    spec: Spec
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.spec} {self.sha256}"


@dataclass(frozen=True)
class Digest:
    """The tensors of a model, in the order of their names."""

    tensors: tuple[TensorDigest, ...]

    @property
    def sha256(self) -> str:
        """The one digest of all of them, in hexadecimal."""
        return hashlib.sha256("".join(f"{item}\n" for item in self.tensors).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """What their values take."""
        return sum(item.spec.bytes for item in self.tensors)


def digest_of(path: Path) -> Digest:
    """The digest of a file of weights, or of a folder of them.

    Of names that a pickle gives to one and the same tensor (tied embeddings) one counts, as safetensors keep one; a
    tensor that is in several files, as in Meta's folders, is ``name@file`` in each.

    Raises:
        InputError: no weights there, or damaged ones.
    """
    found = []
    every = list(_tensors(Path(path)))
    with tqdm(
        desc="digest", total=sum(spec.bytes for _, spec, _, _ in every), unit="B", unit_scale=True, delay=1
    ) as bar:
        for label, spec, name, source in every:
            sha256 = hashlib.sha256()
            for block in blocks(source.get(name)):
                sha256.update(block)
                bar.update(len(block))
            found.append(TensorDigest(label, spec, sha256.hexdigest()))
    return Digest(tuple(sorted(found, key=lambda item: item.name)))


def _tensors(path: Path) -> Iterator[tuple[str, Spec, str, Tensors | WeightFile]]:
    files = weight_files(path)
    if len(files) > 1 and files[0].name.startswith("consolidated."):
        for file_path in files:
            file = WeightFile(file_path)
            for name, spec in file.specs.items():
                yield f"{name}@{file_path.name}", spec, name, file
        return
    source = Tensors(path)
    for name, spec in source.specs.items():
        yield name, spec, name, source


def blocks(value: torch.Tensor) -> Iterator[memoryview]:
    """A tensor's values as bytes, row by row, in pieces of a bounded size."""
    flat = value.detach().reshape(-1)
    step = max(1, BLOCK // max(1, flat.element_size()))
    for start in range(0, flat.numel(), step):
        yield flat[start : start + step].contiguous().view(torch.uint8).numpy().data


def first_difference(one: Digest, other: Digest) -> tuple[str, str, str] | None:
    """The first tensor, by name, that two models do not have in common, and what each has; None if there is none."""
    left, right = ({item.name: item for item in digest.tensors} for digest in (one, other))
    for name in sorted(left.keys() | right.keys()):
        a, b = left.get(name), right.get(name)
        if a is None or b is None:
            return name, str(a.spec) if a else "no such tensor", str(b.spec) if b else "no such tensor"
        if a.spec != b.spec:
            return name, str(a.spec), str(b.spec)
        if a.sha256 != b.sha256:
            return name, f"{a.spec} {a.sha256}", f"{b.spec} {b.sha256}"
    return None


def largest_distance(one: Path, other: Path, name: str) -> float:
    """How far the values of a tensor of equal shape are apart at most.

    Raises:
        InputError: as ``digest_of``.
    """
    values = []
    for path in (one, other):
        name_in_file, source = next((item[2], item[3]) for item in _tensors(Path(path)) if item[0] == name)
        values.append(source.get(name_in_file).float())
    return float((values[0] - values[1]).abs().max()) if values[0].numel() else 0.0
