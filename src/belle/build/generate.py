"""dvc.yaml from the rules, outside of any build: the graph of the default targets, whatever is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from belle.build import pipeline, stages
from belle.build.code import CODE_FILE


def graph(targets: frozenset[str]) -> list[Any]:
    """The Snakemake jobs that lead to ``targets``, all of them."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
        workflow.dag(dag_settings=DAGSettings(targets=targets, forceall=True))
        inner = workflow._workflow
        inner._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        inner._build_dag()
        return list(inner.dag.jobs)


def write_pipeline(check: bool = False) -> bool:
    """Write dvc.yaml (with ``check``: only compare); returns whether it was current."""
    found = stages.with_frozen(stages.entries_of(graph(frozenset({"all", str(CODE_FILE)}))), pipeline.frozen())
    current = stages.DVC_FILE.exists() and stages.DVC_FILE.read_text(encoding="utf-8") == stages.render(found)
    if not current and not check:
        stages.write(stages.DVC_FILE, found)
    return current


def set_frozen(names: list[str], frozen: bool) -> None:
    """Mark stages of dvc.yaml or ondemand/dvc.yaml as frozen, or take the mark away.

    Raises:
        BelleError: no such stage.
    """
    marked = (pipeline.frozen() | set(names)) if frozen else pipeline.frozen() - set(names)
    for path in {pipeline.find(name)[0] for name in names}:
        stages.write(path, stages.with_frozen(pipeline.entries(path), marked))
