"""Stop a build before its first job where a file is missing that only a person can bring: a release, a key, a base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from belle.build.preflight import Shortage
from belle.build.stages import command_name, is_stage
from belle.entries import RecoveredModel, ReleasedModel
from belle.params import Params
from belle.views import spending
from belle.weights.key import pinned


def lacking(dag: Any, params: Params, ledger: Path) -> list[Shortage]:
    """What the jobs that a DAG would run lack besides what the machine has: files, and a budget."""
    found = []
    for job in dag.needrun_jobs():
        if is_stage(job) and command_name(job) in ("decrypt", "recover"):
            model = job.wildcards.model
            entry = params.models[model]
            assert isinstance(entry, ReleasedModel | RecoveredModel)
            found += missing(model, entry)
    return found + spending.shortages(dag, params, ledger)


def missing(model: str, entry: ReleasedModel | RecoveredModel) -> list[Shortage]:
    """The files of a released model that are not here, and how each is got."""
    found = []
    if not entry.release.startswith("models/") and not Path(entry.release).exists():
        fix = f"name its folder as models.{model}.release in params.yaml"
        if entry.hub:
            fix = f"`hf download {entry.hub} --local-dir {entry.release}` where there is a network, or {fix}"
        found.append(Shortage("released weights", f"{entry.release} for models/{model}", "it is not here", fix))
    other = entry.key if isinstance(entry, ReleasedModel) else entry.base
    if "/" in other and not other.startswith("models/") and not Path(other).exists():
        field = "key" if isinstance(entry, ReleasedModel) else "base"
        meant = pinned(entry.key_sha256) if isinstance(entry, ReleasedModel) else None
        needed = f"{other} for models/{model}" + (f", which is {meant.described}" if meant else "")
        fix = (
            "only who has the licence of the base may have it: put it there, or name its path as "
            f"models.{model}.{field} in params.yaml"
        )
        found.append(Shortage(field, needed, "it is not here", fix))
    return found
