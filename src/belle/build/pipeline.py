"""dvc.yaml as DVC will run it: stages by name, values filled in from params.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from belle import strict_yaml
from belle.build.registry import as_dvc_writes
from belle.build.stages import DVC_FILE, ONDEMAND_FILE, PARAMS_FILE
from belle.build.state import Stage, State, look_up
from belle.errors import BelleError, InputError

_REFERENCE = re.compile(r"\$\{([^}]+)\}")


def in_project() -> bool:
    """Whether the current folder is one that ``belle`` builds in."""
    return Path("Snakefile").exists() and DVC_FILE.exists()


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """The stages that a dvc.yaml declares, as it writes them."""
    return (strict_yaml.load(path) or {}).get("stages") or {} if path.exists() else {}


def frozen() -> frozenset[str]:
    """The stages that carry ``frozen: true``."""
    found: dict[str, dict[str, Any]] = {}
    for path in (ONDEMAND_FILE, DVC_FILE):
        if path.exists() and b"frozen" in path.read_bytes():  # parsing takes longer than all else in a large file
            found |= entries(path)
    return frozenset(name for name, entry in found.items() if entry.get("frozen") is True)


def find(name: str) -> tuple[Path, dict[str, Any]]:
    """The pipeline file that declares a stage, and its entry."""
    for path in (DVC_FILE, ONDEMAND_FILE):
        if name in (found := entries(path)):
            return path, found[name]
    raise BelleError(f"no stage {name}", where=str(DVC_FILE), fix="run `belle dvc-yaml` to write it from the rules")


def resolve(name: str, entry: dict[str, Any], state: State) -> Stage:
    """A stage of dvc.yaml with its values filled in."""
    params: dict[str, tuple[str, ...]] = {}
    for item in entry.get("params", []):
        if isinstance(item, dict):
            for file, keys in item.items():
                params[file] = tuple(keys)
        else:
            params[PARAMS_FILE] = (*params.get(PARAMS_FILE, ()), item)
    values = state.values(PARAMS_FILE)
    cmd = _REFERENCE.sub(lambda match: as_dvc_writes(look_up(match[1], values)), entry["cmd"])
    outs = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
    return Stage(
        name=name,
        cmd=cmd.rstrip(),
        deps=tuple(entry.get("deps", ())),
        params=params,
        outs=tuple(next(iter(out)) if isinstance(out, dict) else out for out in outs),
    )


def refuse_stale(name: str, entry: dict[str, Any], state: State) -> None:
    """Stop when params.yaml now wires the stage to other inputs than dvc.yaml does.

    Raises:
        InputError: naming each key with both values.
    """
    values = state.values(PARAMS_FILE)
    faults = []
    for key, was in entry.get("meta", {}).get("wired", {}).items():
        try:
            now = look_up(key, values)
        except KeyError:
            now = None
        if now != was:
            faults.append(f"  {key}: {was} → {now}")
    if faults:
        raise InputError(
            "\n".join([f"older than params.yaml, which now wires the stage {name} otherwise", *faults]),
            where=str(DVC_FILE),
            fix="run `belle dvc-yaml` (or `snakemake`), then `dvc repro` again",
        )
