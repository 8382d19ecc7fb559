"""Rules to stages: what a Snakemake job is to DVC, and dvc.yaml as text.

The rules are the only place where a stage is declared. Values stand in dvc.yaml as ``${key}``, so it changes only
when the graph does; the keys that shape the graph are listed as parameters too, with the values they had
(``meta.wired``), so that a dvc.yaml older than params.yaml is noticed before it does anything.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from belle.build.code import CODE_FILE
from belle.build.registry import WIRED, Setting
from belle.build.state import Stage
from belle.files import atomic_file

PARAMS_FILE = "params.yaml"
DVC_FILE = Path("dvc.yaml")
ONDEMAND_FILE = Path("ondemand/dvc.yaml")
FINGERPRINT = "fingerprint"
"""The stage that writes code.json; it is bookkeeping, so it never counts as a rebuild."""

_RUNNER = "python -m belle.build.run {log} -- "
GIT, METRIC, PLOT = "belle_git", "belle_metric", "belle_plot"
"""Snakemake flags on outputs: kept in git instead of DVC's cache; shown by ``dvc metrics``; drawn by ``dvc plots``."""

HEADER = "# Written from Snakefile and rules/ by `belle dvc-yaml`; do not edit. Values stand in params.yaml.\n"


def stage(command: str) -> str:
    """The ``shell:`` of a rule whose job is the DVC stage that runs ``command``. The stage is named as the log is."""
    return _RUNNER + command


def in_git(path: Any) -> Any:
    """Mark an output as kept in git: small, and worth a diff."""
    from snakemake.io import flag

    return flag(path, GIT, True)


def metric(path: Any) -> Any:
    """Mark an output as numbers for ``dvc metrics``."""
    from snakemake.io import flag

    return flag(path, METRIC, True)


def plot(path: Any, **properties: str) -> Any:
    """Mark an output as rows for ``dvc plots``.

    Args:
        properties: As DVC names them: ``x``, ``y``, ``x_label``, ``y_label``, ``title``; ``{name}`` in the title is the
            file's.
    """
    from snakemake.io import flag

    return flag(path, PLOT, properties)


def is_stage(job: Any) -> bool:
    """Whether a Snakemake job is one of our stages."""
    return bool(job.rule.shellcmd and job.rule.shellcmd.startswith(_RUNNER))


def name_of(job: Any) -> str:
    """The stage's name in dvc.yaml, in history and in logs/."""
    return _stem(str(job.log[0]))


@lru_cache(4096)
def _stem(path: str) -> str:
    return Path(path).stem


@lru_cache(256)
def _template(shellcmd: str) -> str:
    return " ".join(shellcmd.removeprefix(_RUNNER).split())


def command_name(job: Any) -> str:
    """The subcommand of ``belle`` that the stage runs."""
    return job.rule.shellcmd.removeprefix(_RUNNER).split()[1]


def _command(job: Any, symbolic: bool) -> str:
    from snakemake.utils import format as snakemake_format

    params = job.params
    if symbolic:
        named = {name: getattr(job.params, name) for name, _ in job.rule.params._get_names()}
        params = SimpleNamespace(
            **{name: "${" + item.key + "}" if isinstance(item, Setting) else item for name, item in named.items()}
        )
    text = snakemake_format(
        _template(job.rule.shellcmd), input=job.input, output=job.output, params=params, wildcards=job.wildcards
    )
    return " ".join(text.split())


def _wired(job: Any) -> dict[str, Any]:
    """Registry keys that shaped the job's inputs or chose its recipes, with their values."""
    wired: dict[str, Any] = {}
    for path in job.input:
        wired.update(path.flags.get(WIRED, {}))
    for item in job.params:
        if isinstance(item, Setting):
            wired.update(item.wired)
    return dict(sorted(wired.items()))


def _keys(job: Any) -> list[str]:
    values = {key for item in job.params if isinstance(item, Setting) for key in item.keys}
    return sorted(values | set(_wired(job)))


def stage_of(job: Any) -> Stage:
    """The job as a stage with all values filled in."""
    params: dict[str, tuple[str, ...]] = {}
    if name_of(job) != FINGERPRINT:
        params[str(CODE_FILE)] = (command_name(job),)
    if keys := _keys(job):
        params[PARAMS_FILE] = tuple(keys)
    return Stage(
        name=name_of(job),
        cmd=_command(job, symbolic=False),
        deps=tuple(sorted({str(path) for path in job.input})),
        params=params,
        outs=tuple(str(path) for path in job.output),
    )


def entry_of(job: Any) -> dict[str, Any]:
    """The job as dvc.yaml writes it."""
    found = stage_of(job)
    entry: dict[str, Any] = {"cmd": _command(job, symbolic=True)}
    if found.deps:
        entry["deps"] = list(found.deps)
    if found.params:
        code = [{str(CODE_FILE): list(found.params[str(CODE_FILE)])}] if str(CODE_FILE) in found.params else []
        entry["params"] = [*code, *found.params.get(PARAMS_FILE, ())]
    outs: list[Any] = []
    metrics: list[Any] = []
    plots: list[Any] = []
    for path in job.output:
        if properties := path.flags.get(PLOT):
            titled = {key: value.format(name=Path(path).stem) for key, value in properties.items()}
            plots.append({str(path): titled})
            continue
        text: Any = {str(path): {"cache": False}} if path.flags.get(GIT) else str(path)
        (metrics if path.flags.get(METRIC) else outs).append(text)
    if outs:
        entry["outs"] = outs
    if metrics:
        entry["metrics"] = metrics
    if plots:
        entry["plots"] = plots
    if wired := _wired(job):
        entry["meta"] = {"wired": wired}
    return entry


def entries_of(jobs: Any) -> dict[str, dict[str, Any]]:
    """All stages among ``jobs``, by name.

    Raises:
        ValueError: two jobs would be the same stage.
    """
    entries: dict[str, dict[str, Any]] = {}
    for job in jobs:
        if is_stage(job):
            name = name_of(job)
            if name in entries:
                raise ValueError(f"two jobs are the stage {name}: name the entries of params.yaml further apart")
            entries[name] = entry_of(job)
    return dict(sorted(entries.items()))


def with_frozen(entries: dict[str, dict[str, Any]], names: Collection[str]) -> dict[str, dict[str, Any]]:
    """The entries, with the mark that ``belle freeze`` or a user's hand put on some of them."""
    return {
        name: {**entry, "frozen": True} if name in names else {key: entry[key] for key in entry if key != "frozen"}
        for name, entry in entries.items()
    }


def render(entries: dict[str, dict[str, Any]], values: str = "") -> str:
    """The text of a dvc.yaml; ``values`` is the file that its references are looked up in, if not the one beside it."""
    content: dict[str, Any] = {"vars": [values]} if values else {}
    content["stages"] = entries
    return HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)


def write(path: Path, entries: dict[str, dict[str, Any]]) -> bool:
    """Write a dvc.yaml if it differs; returns whether it did."""
    beside = path.parent == Path()
    text = render(dict(sorted(entries.items())), "" if beside else f"../{PARAMS_FILE}")
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    with atomic_file(path) as file:
        file.write(text)
    return True
