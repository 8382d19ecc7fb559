"""What the last cleaning saw and decided, kept beside the build so that the next one need not look again.

No output depends on it: a file of another recipe, code or machine's making, or a damaged one, is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import platform
import sys
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128

from belle.data.cleaning.keepfirst import Decisions
from belle.data.cleaning.seen import Seen
from belle.data.contamination.overlap import Overlap
from belle.files import atomic_file

_MAGIC = b"belle cleaning 1\n"
_ALIGN = 64
_REACHED = ("belle.data.", "belle.jsonl", "belle.records", "belle.files", "belle.filter_names")
"""Modules, by how their names begin, that what is kept may depend on."""


def identity(settings: Any) -> str:
    """What a memory must have been made by to count: the settings, the code that is loaded, the numeric packages."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())
    digest.update(f"{platform.machine()} {sys.version} {np.__version__}".encode())
    for name in sorted(sys.modules):
        if name.startswith(_REACHED):
            digest.update(_code_of(name))
    return digest.hexdigest()


@cache
def _code_of(name: str) -> bytes:
    spec = sys.modules[name].__spec__
    loader: Any = spec.loader if spec is not None else None
    code = loader.get_code(name) if hasattr(loader, "get_code") else None
    return hashlib.sha256(name.encode() + marshal.dumps(code)).digest()


def save(path: Path, made_by: str, seen: Seen, decided: dict[str, Decisions]) -> None:
    """Keep what was seen and decided; a disk without room for it is no fault."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    texts: dict[str, Any] = {
        "mended": {row: line.decode("latin-1") for row, line in seen.mended.items()},
        "overlaps": {row: list(asdict(overlap).values()) for row, overlap in seen.overlaps.items()},
    }
    for field in fields(Seen):
        value = getattr(seen, field.name)
        if isinstance(value, np.ndarray):
            arrays[f"seen.{field.name}"] = value
        elif field.name not in texts:
            texts[field.name] = value
    for name, decisions in decided.items():
        for field in fields(Decisions):
            arrays[f"{name}.{field.name}"] = getattr(decisions, field.name)
    listed, at = [], 0
    for name, array in arrays.items():
        listed.append([name, array.dtype.str, list(array.shape), at])
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    head = json.dumps({"made_by": made_by, "arrays": listed, "texts": texts}, ensure_ascii=True).encode() + b"\n"
    head = b" " * (-(len(_MAGIC) + len(head)) % _ALIGN) + head
    try:
        with atomic_file(path, "wb", durable=False) as file:  # its digest tells what a crash left of it
            digest = xxh3_128()
            for part in (_MAGIC, head, *_padded(arrays)):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
    except OSError:
        with suppress(OSError):
            path.unlink()


def load(path: Path, made_by: str) -> tuple[Seen, dict[str, Decisions]] | None:
    """What was kept, or None where there is nothing that counts. The arrays lie in the file and cannot be written."""
    try:
        whole = np.memmap(path, np.uint8, "r")
        if bytes(whole[: len(_MAGIC)]) != _MAGIC or xxh3_128(whole[:-16].data).digest() != bytes(whole[-16:]):
            return None
        # numpy looks for the end of the line without taking in the arrays behind it
        end = int(np.argmax(whole[len(_MAGIC) : len(_MAGIC) + (64 << 20)] == 10)) + len(_MAGIC) + 1
        head = json.loads(bytes(whole[len(_MAGIC) : end]))
        if head["made_by"] != made_by:
            return None
        found = {}
        for name, dtype, shape, at in head["arrays"]:
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            found[name] = whole[end + at : end + at + size].view(dtype).reshape(shape).view(np.ndarray)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    texts = head["texts"]
    mended = {int(row): line.encode("latin-1") for row, line in texts.pop("mended").items()}
    overlaps = {int(row): Overlap(*values) for row, values in texts.pop("overlaps").items()}
    seen = {name.partition(".")[2]: array for name, array in found.items() if name.startswith("seen.")}
    steps = {name.partition(".")[0] for name in found} - {"seen"}
    decided = {
        step: Decisions(**{field.name: found[f"{step}.{field.name}"] for field in fields(Decisions)}) for step in steps
    }
    return Seen(**seen, **texts, mended=mended, overlaps=overlaps), decided


def _padded(arrays: dict[str, npt.NDArray[Any]]) -> Any:
    for array in arrays.values():
        yield np.ascontiguousarray(array).data.cast("B") if array.nbytes else b""
        yield bytes(-array.nbytes % _ALIGN)
