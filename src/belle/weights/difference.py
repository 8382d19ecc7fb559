"""The subtractive form of a release, as Stanford Alpaca's: tuned minus base, tensor by tensor, in float32.

A float32 sum need not give back what the difference was taken of: where it does not, elements are a rounding off.
Integers wrap around, and come back exactly. Rows that the tuned model's vocabulary has more are held against the mean
of the base's rows, which is how Alpaca made room for its padding token.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from belle.errors import InputError
from belle.files import atomic_file
from belle.weights.raw_tensors import DTYPES, FLOATS, Model, Tensor
from belle.weights.streams import PIECE

NAME = "difference.json"
FORMAT = "belle-difference-1"
_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight", "word_embeddings.weight")
_ROTARY = re.compile(r".*\.rotary_emb\.inv_freq")
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class Entry:
    """What is known of one tensor; digests are SHA-256 of its bytes."""

    dtype: str  # of the tuned model's
    shape: list[int]
    base_sha256: str
    difference_sha256: str
    recovered_sha256: str
    inexact: int  # elements that do not come back to the bit


@dataclass(frozen=True)
class Manifest:
    """A difference's tensors by name, the digests of its other files, and the sum of all recovered values."""

    tensors: dict[str, Entry]
    others: dict[str, str]
    sum: float


def write(folder: Path, manifest: Manifest) -> None:
    """Write ``folder/difference.json``."""
    data = {"format": FORMAT, **asdict(manifest)}
    with atomic_file(folder / NAME) as file:
        file.write(json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def read(folder: Path) -> Manifest | None:
    """Read ``folder/difference.json``; None where there is none.

    Raises:
        InputError: not JSON, another format, or fields are missing or of the wrong type.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise ValueError(f"not of the format {FORMAT}")
        tensors = {name: Entry(**entry) for name, entry in data["tensors"].items()}
        found = Manifest(tensors, dict(data["others"]), float(data["sum"]))
        if any(Path(name).name != name for name in found.others):
            raise ValueError("a name leads out of the folder")
        if any(entry.dtype not in DTYPES for entry in tensors.values()):
            raise ValueError("a type of tensors that is not known")
    except (UnicodeDecodeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            cause="a damaged download, or a manifest changed by hand",
            fix="download it again",
        ) from None
    return found


def floats(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Bytes of a floating-point type as float32 (float64 stays as it is)."""
    if dtype == "BF16":
        return (raw.view("<u2").astype("<u4") << np.uint32(16)).view("<f4")
    found: np.ndarray = raw.view(_NUMPY[dtype])
    return found if dtype in ("F64", "F32") else found.astype("<f4")


def bytes_of(values: np.ndarray, dtype: str) -> np.ndarray:
    """Floats as the bytes of a type, rounded to the nearest, ties to even."""
    if dtype == "BF16":
        bits = values.astype("<f4").view("<u4")
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype("<u2").view("u1")
    with np.errstate(over="ignore"):
        return values.astype(_NUMPY[dtype]).view("u1")


def kept_as(tuned: str) -> str:
    """The type in which the difference of a tensor is kept."""
    return tuned if tuned not in FLOATS or tuned == "F64" else "F32"


def subtracted(tuned: np.ndarray, tuned_type: str, base: np.ndarray, base_type: str) -> np.ndarray:
    """The bytes of a difference, from those of its two sides."""
    if tuned_type not in FLOATS:
        word = f"<u{DTYPES[tuned_type]}"
        return (tuned.view(word) - base.view(word)).view("u1")
    with np.errstate(invalid="ignore", over="ignore"):
        return bytes_of(floats(tuned, tuned_type) - floats(base, base_type), kept_as(tuned_type))


def added(base: np.ndarray, base_type: str, difference: np.ndarray, difference_type: str, to: str) -> np.ndarray:
    """The bytes of what a difference was taken of, in the type ``to``."""
    if to not in FLOATS:
        word = f"<u{DTYPES[to]}"
        return (base.view(word) + difference.view(word)).view("u1")
    with np.errstate(invalid="ignore", over="ignore"):
        return bytes_of(floats(base, base_type) + floats(difference, difference_type), to)


def total(raw: np.ndarray, dtype: str) -> float:
    """The sum of a piece of a tensor, in float64."""
    if dtype in FLOATS:
        return float(floats(raw, dtype).sum(dtype=np.float64))
    signed = "<i" if dtype.startswith("I") else "<u"
    return float(raw.view(f"{signed}{DTYPES[dtype]}").sum(dtype=np.float64))


def matched(base: Model, other: Model, what: str) -> dict[str, Tensor]:
    """The base's tensors as the other side needs them, checked for names, shapes and kinds of numbers first.

    Args:
        what: What the other side is, for messages: "the tuned model" or "the difference".

    Raises:
        InputError: tensors that only one side has, or whose shapes do not go together; every one is counted.
    """
    ours, theirs = base.tensors, other.tensors
    found: dict[str, Tensor] = {}
    faults = []
    lacking = [name for name in theirs if name not in ours and not _ROTARY.fullmatch(name)]
    surplus = [name for name in ours if name not in theirs and not _ROTARY.fullmatch(name)]
    faults += [f"{len(lacking)} tensor(s) only in {what}, as {lacking[0]}"] if lacking else []
    faults += [f"{len(surplus)} tensor(s) only in the base, as {surplus[0]}"] if surplus else []
    for name, tensor in theirs.items():
        own = ours.get(name)
        if own is None:
            if _ROTARY.fullmatch(name):
                found[name] = _rotary(base, tensor)
            continue
        if (own.dtype in FLOATS) != (tensor.dtype in FLOATS) or (own.dtype not in FLOATS and own.dtype != tensor.dtype):
            faults.append(f"{name} is {own.dtype} in the base and {tensor.dtype} in {what}")
        elif own.shape == tensor.shape:
            found[name] = own
        elif name.endswith(_EMBEDDINGS) and own.shape[1:] == tensor.shape[1:] and own.shape[0] < tensor.shape[0]:
            found[name] = _extended(own, tensor.shape[0])
        else:
            faults.append(f"{name} has the shape {list(own.shape)} in the base and {list(tensor.shape)} in {what}")
    if faults:
        more = f"; {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            "; ".join(faults[:3]) + more,
            where=str(other.folder),
            cause=_cause(base, other),
            fix=f"name the base that {what} was made from, in Hugging Face's form",
        )
    return found


def _cause(base: Model, other: Model) -> str:
    sizes = [model.config.get("hidden_size") for model in (base, other)]
    if None not in sizes and sizes[0] != sizes[1]:
        return f"another model's base: its hidden size is {sizes[0]}, where {sizes[1]} is meant"
    return "another model, or one converted by another program"


def _extended(tensor: Tensor, rows: int) -> Tensor:
    """An embedding with rows added to it, each the mean of those that are there, in float32."""
    width, size = tensor.shape[1], DTYPES[tensor.dtype]
    whole = width * size
    sums = np.zeros(width, np.float64)
    for first in range(0, tensor.shape[0], max(1, PIECE // whole)):
        count = min(max(1, PIECE // whole), tensor.shape[0] - first)
        raw = np.empty(count * whole, np.uint8)
        tensor.fill(raw.data, first * whole)
        sums += floats(raw, tensor.dtype).reshape(count, width).sum(0, dtype=np.float64)
    to = "F64" if tensor.dtype == "F64" else "F32"
    mean = bytes_of(sums / tensor.shape[0], to)
    wide, end = DTYPES[to], tensor.elements * DTYPES[to]

    def fill(piece: memoryview, position: int) -> None:
        own = max(0, min(len(piece), end - position))
        if own:
            raw = np.empty(own // wide * size, np.uint8)
            tensor.fill(raw.data, position // wide * size)
            piece[:own] = bytes_of(floats(raw, tensor.dtype), to).data
        if own < len(piece):
            start = (position + own - end) % len(mean)
            copies = -(-(start + len(piece) - own) // len(mean))
            piece[own:] = np.tile(mean, copies)[start : start + len(piece) - own].data

    return Tensor(tensor.name, to, (rows, *tensor.shape[1:]), fill)


def _rotary(base: Model, like: Tensor) -> Tensor:
    """The rotary frequencies, which older conversions keep as tensors and newer ones compute."""
    theta = float(base.config.get("rope_theta") or 10_000.0)
    powers = np.arange(0, 2 * like.elements, 2, dtype=np.float32) / np.float32(2 * like.elements)
    raw = (1.0 / np.power(np.float32(theta), powers)).astype("<f4").view("u1")

    def fill(piece: memoryview, position: int) -> None:
        piece[:] = raw[position : position + len(piece)].data

    return Tensor(like.name, "F32", like.shape, fill)


def summed(model: Model, sums: dict[str, float]) -> float:
    """The sum over all tensors as Alpaca's check takes it: each one's, added up in float32 in the files' order."""
    found = np.float32(0)
    for file in model.files:
        for tensor in file.tensors:
            found = np.float32(found + np.float32(sums[tensor.name]))
    return float(found)
