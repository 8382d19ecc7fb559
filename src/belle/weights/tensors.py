"""The tensors of a model wherever they lie: safetensors or pickles, one file or several, read one at a time."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from belle.errors import InputError
from belle.files import not_there, read_text

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
PATTERNS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin", "consolidated.*.pth", "*.pth", "*.pt", "*.bin")
"""What a folder's weights are called; the first pattern that finds some is taken."""
NO_WEIGHTS = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin"})

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""Safetensors' names of types."""
NAMES_OF_DTYPES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Spec:
    """What is known of a tensor without reading it."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return self.numel * self.dtype.itemsize

    @property
    def numel(self) -> int:
        """How many values it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} [{', '.join(map(str, self.shape))}]"


class WeightFile:
    """One file of weights. Tensors are mapped from the file, so the memory of one is its own.

    Raises:
        InputError: it is no file of weights, is cut off, or would run code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shared: dict[str, str] = {}  # name → the name that is kept, for tensors that are one in memory
        if not path.is_file():
            raise not_there(path, "weights: there is no such file", "a folder where a file of weights is meant")
        if path.suffix == ".safetensors":
            self._open_safetensors()
        else:
            self._open_pickle()

    def _open_safetensors(self) -> None:
        try:
            self._file = safe_open(self.path, framework="pt")
            slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
            self.specs = {
                name: Spec(DTYPES[item.get_dtype()], tuple(item.get_shape())) for name, item in sorted(slices.items())
            }
        except (SafetensorError, OSError, KeyError) as error:
            raise _damaged(self.path, error) from None
        self._get = self._file.get_tensor

    def _open_pickle(self) -> None:
        try:
            found: Any = torch.load(
                self.path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(self.path) or None
            )
        except Exception as error:  # whatever a damaged file makes of the unpickler
            raise _damaged(self.path, error) from None
        if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
            found = found["state_dict"]
        if not isinstance(found, dict) or not all(isinstance(item, torch.Tensor) for item in found.values()):
            other = next((k for k, v in found.items() if not isinstance(v, torch.Tensor)), "") if isinstance(
                found, dict) else type(found).__name__  # fmt: skip
            raise InputError(
                f"not a mapping of names to tensors, found {other!r}",
                where=str(self.path),
                cause="a training checkpoint or settings, no weights",
                fix="name the file of the weights alone",
            )
        first: dict[tuple[int, int, tuple[int, ...]], str] = {}
        for name in sorted(found, key=lambda name: (name.endswith("lm_head.weight"), name)):
            value = found[name]
            place = (value.untyped_storage().data_ptr(), value.storage_offset(), tuple(value.shape))
            kept = first.setdefault(place, name)
            if value.numel() and kept != name:
                self.shared[name] = kept
        self.specs = {name: Spec(value.dtype, tuple(value.shape)) for name, value in sorted(found.items())}
        self._get = found.__getitem__

    def get(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU.

        Raises:
            InputError: the file ends before it.
        """
        try:
            return self._get(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise _damaged(self.path, error) from None


def _damaged(path: Path, error: BaseException) -> InputError:
    with open(path, "rb") as file:
        head = file.read(64)
    size, text = path.stat().st_size, " ".join(str(error).split())
    asked = re.search(r"Unsupported (?:global|class).*?GLOBAL (\S+)|Unsupported class (\S+)", text)
    text = text.rpartition("WeightsUnpickler error: ")[2][:100] or type(error).__name__
    if head.startswith(b"version https://git-lfs"):
        what, cause, fix = "a Git LFS pointer, not the weights", "a clone without Git LFS", "run `git lfs pull`"
    elif head.lstrip().startswith(b"<"):
        what, cause, fix = "a web page, not the weights", "a link that leads to a page", "download the file itself"
    elif asked:
        what, cause = (
            f"a pickle that asks for {asked[1] or asked[2]}, no tensor",
            "a file that would run code when read",
        )
        fix = "don't open it otherwise unless you trust who made it; look for safetensors of the same model"
    else:
        what, cause = f"cannot be read as weights ({size:,} bytes): {text}", "a download that was cut off"
        fix = "download it again, and compare its size and digest with the published ones"
    return InputError(what, where=str(path), cause=cause, fix=fix)


class Tensors:
    """Every tensor of a model by its name, whichever files hold them.

    Args:
        path: A file of weights, or a folder: then what its index names, or else its weight files.
        keep_shared: Keep every name of a tensor that a pickle holds under several; else one (never ``lm_head``).

    Raises:
        InputError: no weights, files that the index names and that are not there, a damaged file, or a name in two
            files.
    """

    def __init__(self, path: Path, *, keep_shared: bool = False) -> None:
        self.path = Path(path)
        self._files: dict[str, WeightFile] = {}
        specs: dict[str, Spec] = {}
        for file_path in weight_files(self.path):
            file = WeightFile(file_path)
            for name, spec in file.specs.items():
                if name in file.shared and not keep_shared:
                    continue
                if name in self._files:
                    raise InputError(
                        f"{name} is in two files: {self._files[name].path.name} and {file_path.name}",
                        where=str(self.path),
                        cause="files of two models in one folder, or a model-parallel checkpoint as Meta's",
                        fix="leave one model's files, or `belle convert` a folder of Meta's",
                    )
                self._files[name], specs[name] = file, spec
        self.specs = dict(sorted(specs.items()))

    def get(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU."""
        return self._files[name].get(name)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def largest(self) -> Spec:
        """The one that takes the most memory."""
        return max(self.specs.values(), key=lambda spec: spec.bytes)

    @property
    def bytes(self) -> int:
        """What all take together."""
        return sum(spec.bytes for spec in self.specs.values())


def weight_files(path: Path) -> list[Path]:
    """The files that hold a model's weights, in the order of their names.

    Raises:
        InputError: there is none, or one that the index names is missing.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise not_there(path, "weights: there is no such file or folder", "")
    for name in INDEXES:
        if (path / name).is_file():
            return _indexed(path, path / name)
    for pattern in PATTERNS:
        found = sorted(file for file in path.glob(pattern) if file.is_file() and file.name not in NO_WEIGHTS)
        if found:
            _check_numbered(path, found)
            return found
    raise InputError(
        "no weights in this folder (.safetensors, .bin, .pth)",
        where=str(path),
        cause="a model that is not built or downloaded yet, or the folder above it",
        fix="name the folder that holds the weights",
    )


def _indexed(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(read_text(index, "index of weights", 1 << 26))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "no index of weights: `weight_map` is missing or no object",
            where=str(index), cause="a damaged download", fix="download it again",
        ) from None  # fmt: skip
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(names)} files that {index.name} names are not here: {', '.join(missing[:5])}",
            where=str(folder),
            cause="a download that was stopped",
            fix="download the missing files",
        )
    return [folder / name for name in names]


def _check_numbered(folder: Path, found: list[Path]) -> None:
    """Files named ``…-00001-of-00003`` must be all there, even where no index says so."""
    numbered = [path.stem.rpartition("-of-") for path in found if "-of-" in path.stem]
    for stem, _, count in numbered:
        beside = [other for other in numbered if other[0].rpartition("-")[0] == stem.rpartition("-")[0]]
        if count.isdigit() and len(beside) != int(count):
            raise InputError(
                f"{len(beside)} of {int(count)} files named {stem.rpartition('-')[0]}-…-of-{count}",
                where=str(folder),
                cause="a download that was stopped",
                fix="download the missing files",
            )
