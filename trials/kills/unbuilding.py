"""A world made to forget what it has built, and all of its bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dump_yaml

from belle import strict_yaml
from trials.kills.kill import ASKING


def outputs(entry: dict[str, Any]) -> list[str]:
    """The paths that a stage of dvc.yaml writes."""
    listed = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
    return [next(iter(item)) if isinstance(item, dict) else item for item in listed]


def unbuild(folder: Path, stage: str | None) -> None:
    """Make a world forget a stage: outputs, lock entry, cache, run-cache, checkpoints, paid replies; None is all."""
    entries = strict_yaml.load(folder / "dvc.yaml")["stages"]
    names = [name for name in entries if name != "fingerprint"] if stage is None else [stage]
    lock, cache, gone = strict_yaml.load(folder / "dvc.lock"), folder / ".dvc/cache/files/md5", set[str]()
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)
    for name in names:
        for out in outputs(entries[name]):
            path = folder / out
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(True)
        gone |= _objects(cache, lock["stages"].pop(name, None))
    for md5 in gone.difference(*(_objects(cache, entry) for entry in lock["stages"].values())):
        (cache / md5[:2] / md5[2:]).unlink(missing_ok=True)
    dump_yaml(str(folder / "dvc.lock"), lock)  # as DVC writes it: YAML 1.2, where 8097e25 must be quoted
    shutil.rmtree(folder / ".belle/checkpoints", ignore_errors=True)
    kind = stage.partition("-")[0] if stage else None
    if kind in (None, *ASKING):
        _forget_replies(folder / "data/ledger", kind)


def _objects(cache: Path, entry: dict[str, Any] | None) -> set[str]:
    """The objects of the cache that hold a stage's outputs; other stages' may be the same."""
    found = set()
    for md5 in [out["md5"] for out in (entry or {}).get("outs", [])]:
        found.add(md5)
        path = cache / md5[:2] / md5[2:]
        if md5.endswith(".dir") and path.exists():
            found |= {item["md5"] for item in json.loads(path.read_bytes())}
    return found


def _forget_replies(ledger: Path, stage: str | None) -> None:
    for shard in ledger.glob("*.jsonl*"):
        lines = shard.read_bytes().splitlines(keepends=True)
        shard.unlink()  # it may be a link into the cache
        kept = [line for line in lines if stage and json.loads(line).get("stage") != stage]
        if kept:
            shard.write_bytes(b"".join(kept))


def everything(folder: Path) -> dict[str, bytes]:
    """Every artifact by its path, and what dvc.lock says of each stage."""
    found = {}
    for top in ("models", "data", "results"):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith("data/ledger") and path.name != ".gitignore":
                found[name] = path.read_bytes()
    for stage, entry in strict_yaml.load(folder / "dvc.lock")["stages"].items():
        found[f"dvc.lock: {stage}"] = json.dumps(entry, sort_keys=True).encode()
    return found
