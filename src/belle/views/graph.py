"""The stages that lead to a target, and Snakemake's own decision on each: nothing is started, nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belle.build import code, stages
from belle.build.pipeline import in_project
from belle.build.state import Stage, State
from belle.errors import InputError

BRIEF = 12
"""How many characters of a hash are shown."""


@dataclass
class Step:
    """One stage on the way to a target.

    ``causes`` are its own, in the user's words; ``because`` maps a stage that runs before it to the files that it will
    write anew for this one. ``missing`` are outputs that are needed and not here.
    """

    name: str
    command: str
    stage: Stage
    wildcards: dict[str, str]
    resources: dict[str, Any]
    runs: bool
    causes: list[str] = field(default_factory=list)
    because: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


def steps_to(targets: Iterable[str]) -> dict[str, Step]:
    """Every stage that ``targets`` (files, folders or rules; none: the default targets) rest on, causes before effects.

    Raises:
        InputError: this is no folder that ``belle`` builds in, or nothing makes a target.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.exceptions import RuleException, WorkflowError
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    wanted = frozenset(target.rstrip("/") for target in targets)
    if not in_project():
        raise InputError(
            "no Snakefile with a dvc.yaml beside it", where=str(Path.cwd()), fix="change to the project's folder"
        )
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
            workflow.dag(dag_settings=DAGSettings(targets=wanted))
            inner = workflow._workflow
            inner._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
            inner._build_dag()
            return steps_of(inner.dag)
    except (RuleException, WorkflowError) as error:
        raise InputError(
            str(error).strip().partition(" (if you use")[0],
            where=", ".join(sorted(wanted)),
            cause="no rule makes it, or a file that it starts from is not here",
            fix="name a file or folder as `snakemake` takes it, for example models/belle-tiny-gptq",
        ) from None


def steps_of(dag: Any) -> dict[str, Step]:
    """The stages of a DAG that Snakemake has built, causes before effects."""
    state: State = dag.workflow.persistence.state  # the one that decided
    steps: dict[str, Step] = {}
    for job in (job for level in dag.toposorted() for job in level):
        if not stages.is_stage(job):
            continue
        name, reason = stages.name_of(job), dag.reason(job)
        step = Step(
            name=name,
            command=stages.command_name(job),
            stage=stages.stage_of(job),
            wildcards=dict(job.wildcards.items()),
            resources=dict(job.resources.items()),
            runs=bool(dag.needrun(job)),
            before=sorted(stages.name_of(other) for other in dag.dependencies[job] if stages.is_stage(other)),
        )
        if step.runs:
            anew = set(map(str, reason.updated_input_run))
            step.because = {
                stages.name_of(other): sorted(anew.intersection(map(str, files)))
                for other, files in dag.dependencies[job].items()
                if stages.is_stage(other) and anew.intersection(map(str, files))
            }
            step.missing = sorted(map(str, reason.missing_output))
            step.causes = [_with_values(cause, step.stage, state) for cause in _own(step, state, anew)]
        steps[name] = step
    state.hashes.save()
    return steps


def _own(step: Step, state: State, anew: set[str]) -> list[str]:
    """A stage's own causes: what is no consequence of a stage before it that runs too."""
    causes = [cause for cause in state.reasons(step.stage) if not any(f"input {path} " in f"{cause} " for path in anew)]
    if not causes and not anew and step.missing:
        causes = [f"output {', '.join(step.missing)} is missing"]
    return causes


def _with_values(cause: str, stage: Stage, state: State) -> str:
    """The cause with both hashes where it only says that something changed."""
    kind, _, rest = cause.partition(" ")
    subject = rest.removesuffix(" changed").removesuffix(" was changed by hand")
    if subject == rest or kind not in {"input", "output", "code"}:
        return cause
    entry = state.locked.get(stage.name, {})
    if kind == "code":
        (command,) = stage.params[str(code.CODE_FILE)]
        old = entry.get("params", {}).get(str(code.CODE_FILE), {}).get(command, {}).get("modules", {}).get(subject)
        new = state.values(str(code.CODE_FILE))[command]["modules"].get(subject)
    else:
        recorded = {item["path"]: item.get("md5") for item in entry.get("deps" if kind == "input" else "outs", [])}
        old, new = recorded.get(subject), state.hashes.get(subject)
    return f"{cause}: {_brief(old)} → {_brief(new)}"


def _brief(value: str | None) -> str:
    return value[:BRIEF] if value else "(none)"
