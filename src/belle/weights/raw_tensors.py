"""A model's tensors as they lie in the files of a Hugging Face folder, read and written in pieces.

A safetensors file is 8 bytes with the length of a JSON header, the header (name → dtype, shape, data_offsets), then
the tensors' bytes; see the format's description in the safetensors repository. That library reads tensors lazily but
writes a file from memory only, so the format is read and written here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from belle.errors import InputError
from belle.weights.streams import Source

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "U16": 2, "U32": 4, "U64": 8}  # fmt: skip
"""Bytes of an element, by safetensors' names."""
FLOATS = ("F64", "F32", "F16", "BF16")
_TORCH = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
          "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"}  # fmt: skip
_LONGEST_HEADER = 100_000_000

Fill = Callable[[memoryview, int], None]


@dataclass(frozen=True)
class Tensor:
    """One tensor: ``fill`` gives its little-endian bytes from any place."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    fill: Fill = field(compare=False, repr=False)

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.elements * DTYPES[self.dtype]


@dataclass(frozen=True)
class WeightFile:
    """One file of a model: its tensors in the order of their bytes, and what else its header says."""

    path: Path
    tensors: tuple[Tensor, ...]
    metadata: dict[str, str] | None


class Model:
    """The weight files of a folder. Safetensors where there are any, else PyTorch's, which are mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        paths = sorted(self.folder.glob("*.safetensors")) if self.folder.is_dir() else []
        read = _safetensors
        if not paths and self.folder.is_dir():
            paths, read = sorted(self.folder.glob("pytorch_model*.bin")), _pytorch
        if not paths:
            original = self.folder.is_dir() and any(self.folder.glob("consolidated.*.pth"))
            raise InputError(
                "no weights of a Hugging Face model (*.safetensors, pytorch_model*.bin) in it",
                where=str(self.folder),
                cause="Meta's original files, where the converted model is meant"
                if original
                else "another folder, or a download that failed",
                fix="name the folder of the model in Hugging Face's form",
            )
        self.files = tuple(read(path) for path in paths)
        self._check_index()
        for file in self.files:
            for tensor in file.tensors:
                if self.tensors[tensor.name] is not tensor:
                    raise InputError(
                        f"the tensor {tensor.name} comes twice, the second time in {file.path.name}",
                        where=str(self.folder),
                        cause="files of two models in one folder",
                        fix="keep the files of one",
                    )

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {tensor.name: tensor for file in reversed(self.files) for tensor in reversed(file.tensors)}

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json; empty where there is none."""
        path = self.folder / "config.json"
        return _json(path) if path.is_file() else {}

    def others(self) -> list[str]:
        """The files beside the weights and their index, hidden ones left out."""
        weights = {file.path.name for file in self.files}
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.is_file() and path.name not in weights and not path.name.startswith(".")
            and not path.name.endswith((".index.json", ".safetensors", ".bin"))
        )  # fmt: skip

    def _check_index(self) -> None:
        for path in sorted(self.folder.glob("*.index.json")):
            wanted = set(_json(path).get("weight_map", {}).values())
            missing = sorted(name for name in wanted if not (self.folder / str(name)).is_file())
            if missing and path.name.startswith(self.files[0].path.name.split("-")[0].split(".")[0]):
                raise InputError(
                    f"{len(missing)} weight file(s) missing: {', '.join(map(str, missing))}",
                    where=str(self.folder),
                    cause="an incomplete download",
                    fix="download them again",
                )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"not JSON: {error}", where=str(path), cause="a damaged download", fix="get it again"
        ) from None
    if not isinstance(found, dict):
        raise InputError("not a JSON object", where=str(path), cause="another file", fix="get it again")
    return found


def _broken(path: Path, what: str) -> InputError:
    return InputError(what, where=str(path), cause="a damaged or truncated download", fix="download it again")


def _safetensors(path: Path) -> WeightFile:
    """Read a safetensors file's header, and hold the file's size against it."""
    source = Source(path)
    length = int.from_bytes(source.read(0, 8), "little")
    if source.size < 8 or length > min(_LONGEST_HEADER, source.size - 8):
        raise _broken(path, "not a safetensors file, or its header is not whole")
    try:
        header = json.loads(source.read(8, length))
        metadata = header.pop("__metadata__", None)
        found = sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
        tensors, end = [], 0
        for name, item in found:
            begin, stop = item["data_offsets"]
            tensor = Tensor(name, item["dtype"], tuple(map(int, item["shape"])), _at(source, 8 + length + begin))
            if begin != end or stop - begin != tensor.size:
                raise _broken(path, f"the tensor {name} does not take the bytes that its header gives it")
            tensors.append(tensor)
            end = stop
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(path, f"its header cannot be read: {type(error).__name__} {error}") from None
    if source.size != 8 + length + end:
        raise _broken(path, f"{source.size:,} bytes, and its header says {8 + length + end:,}")
    return WeightFile(path, tuple(tensors), metadata)


def _at(source: Source, start: int) -> Fill:
    return lambda piece, position: source.fill(piece, start + position)


def _pytorch(path: Path) -> WeightFile:
    """Map a PyTorch file into memory: nothing of it is run, and a piece is read when it is asked for."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated classes
        raise _broken(path, f"cannot be read by torch: {str(error).splitlines()[0][:200]}") from None
    tensors = []
    for name, value in state.items():
        dtype = _TORCH.get(str(value.dtype).removeprefix("torch.")) if isinstance(value, torch.Tensor) else None
        if dtype is None:
            raise _broken(path, f"{name} is no tensor of a known type")
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy() if value.numel() else np.empty(0, "u1")
        tensors.append(Tensor(name, dtype, tuple(value.shape), _of(raw)))
    return WeightFile(path, tuple(tensors), {"format": "pt"})


def _of(raw: np.ndarray) -> Fill:
    def fill(piece: memoryview, position: int) -> None:
        piece[:] = raw[position : position + len(piece)].data

    return fill


def header(tensors: list[tuple[str, str, tuple[int, ...]]], metadata: dict[str, str] | None) -> bytes:
    """The beginning of a safetensors file with these tensors (name, dtype, shape), as that library writes it."""
    content: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + prod(shape) * DTYPES[dtype]
        content[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
