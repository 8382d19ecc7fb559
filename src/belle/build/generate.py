"""dvc.yaml from the rules, outside of any build: the graph of the default targets, whatever is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from belle.build import stages
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
    text = stages.render(stages.entries_of(graph(frozenset({"all", str(CODE_FILE)}))))
    current = stages.DVC_FILE.exists() and stages.DVC_FILE.read_text(encoding="utf-8") == text
    if not current and not check:
        stages.write(stages.DVC_FILE, stages.entries_of(graph(frozenset({"all", str(CODE_FILE)}))))
    return current
