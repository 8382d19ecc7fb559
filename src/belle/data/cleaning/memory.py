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
from belle.data.cleaning.signed import Signed
from belle.data.contamination.overlap import Overlap
from belle.files import atomic_file

_MAGIC = b"belle cleaning 2\n"
_ROWS, _SIGNATURES = "rows", "signatures"
"""The files of a memory: a digest of all of it and what changes; what is only added to."""
_ALIGN = 64
_TOGETHER = 1 << 14
"""Signatures that are written together."""
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
    """Keep what was seen and decided in a folder; a disk without room for it is no fault."""
    try:
        if path.is_file():  # what an earlier version kept
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)
        _save_rows(path / _ROWS, made_by, seen, decided, _save_signatures(path / _SIGNATURES, seen.signatures))
    except OSError:
        forget(path)


def forget(path: Path) -> None:
    """Remove a memory."""
    for name in (_ROWS, _SIGNATURES):
        with suppress(OSError):
            (path / name).unlink()


def _save_signatures(path: Path, signed: Signed) -> dict[str, Any]:
    """Add the new ones to those that the file has; where most of it is of rows that are gone, write it anew.

    A process that reads the file finds what it has read of it unchanged: nothing in it is overwritten or cut off.

    Returns:
        What tells the file from a damaged one, and ``places``, whose signature stands where.
    """
    kept = signed.blocks[0].nbytes if signed.hashed else 0
    adds = bool(kept) and 2 * len(signed) >= signed.size and path.stat().st_size == kept
    if adds:
        places, hashed = signed.places, signed.hashed.copy()
        with open(path, "ab") as file:
            for block in signed.blocks[1:]:
                _write(file, hashed, block)
    else:
        places, hashed = np.arange(len(signed)), xxh3_128()
        with atomic_file(path, "wb", durable=False) as file:
            for start in range(0, len(signed), _TOGETHER):
                _write(file, hashed, signed.at(places[start : start + _TOGETHER]))
    shape = [signed.size if adds else len(signed), signed.width]
    return {"shape": shape, "digest": hashed.hexdigest(), "places": places}


def _write(file: Any, hashed: Any, array: npt.NDArray[Any]) -> None:
    part = np.ascontiguousarray(array).data.cast("B") if array.nbytes else b""
    hashed.update(part)
    file.write(part)


def _save_rows(path: Path, made_by: str, seen: Seen, decided: dict[str, Decisions], signatures: dict[str, Any]) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {"signatures": signatures.pop("places")}
    texts: dict[str, Any] = {
        "mended": {row: line.decode("latin-1") for row, line in seen.mended.items()},
        "overlaps": {row: list(asdict(overlap).values()) for row, overlap in seen.overlaps.items()},
        "signatures": signatures,
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
    with atomic_file(path, "wb", durable=False) as file:  # its digest tells what a crash left of it
        digest = xxh3_128()
        for part in (_MAGIC, head, *_padded(arrays)):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())


def load(path: Path, made_by: str) -> tuple[Seen, dict[str, Decisions]] | None:
    """What was kept, or None where there is nothing that counts. The arrays lie in the files and cannot be written."""
    try:
        whole = np.memmap(path / _ROWS, np.uint8, "r")
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
        texts = head["texts"]
        signatures = _signatures(path / _SIGNATURES, texts.pop("signatures"), found.pop("signatures"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if signatures is None:
        return None
    mended = {int(row): line.encode("latin-1") for row, line in texts.pop("mended").items()}
    overlaps = {int(row): Overlap(*values) for row, values in texts.pop("overlaps").items()}
    seen = {name.partition(".")[2]: array for name, array in found.items() if name.startswith("seen.")}
    steps = {name.partition(".")[0] for name in found} - {"seen"}
    decided = {
        step: Decisions(**{field.name: found[f"{step}.{field.name}"] for field in fields(Decisions)}) for step in steps
    }
    return Seen(**seen, **texts, signatures=signatures, mended=mended, overlaps=overlaps), decided


def _signatures(path: Path, told: dict[str, Any], places: npt.NDArray[Any]) -> Signed | None:
    rows, width = told["shape"]
    if not rows * width:
        return Signed((), places)
    block = np.memmap(path, np.uint32, "r", shape=(rows, width)).view(np.ndarray)
    hashed = xxh3_128(block.data.cast("B"))
    return Signed((block,), places, hashed) if hashed.hexdigest() == told["digest"] else None


def _padded(arrays: dict[str, npt.NDArray[Any]]) -> Any:
    for array in arrays.values():
        yield np.ascontiguousarray(array).data.cast("B") if array.nbytes else b""
        yield bytes(-array.nbytes % _ALIGN)
