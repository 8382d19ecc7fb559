"""Snakemake keeps the graph and the scheduling; its rerun decision becomes dvc.lock's.

``install`` puts a persistence class into Snakemake and takes away the places where Snakemake acts on modification
times. Every internal that is leaned on is listed in ``LEANED_ON`` and held by a contract test.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from belle.build import code, pipeline, stages
from belle.build.lock import BuildLock
from belle.build.preflight import Shortage, check
from belle.build.run import BUILD_PID, PLAN, in_project, run_dvc
from belle.build.state import State
from belle.files import atomic_file

LEANED_ON = (
    "snakemake.workflow.FilePersistence",
    "snakemake.persistence.file.FilePersistence.lock",
    "snakemake.persistence.file.FilePersistence.lock_warn_only",
    "snakemake.persistence.file.FilePersistence.params_changed",
    "snakemake.persistence.file.FilePersistence.input_changed",
    "snakemake.persistence.file.FilePersistence.code_changed",
    "snakemake.persistence.file.FilePersistence.software_stack_changed",
    "snakemake.persistence.file.FilePersistence.has_metadata",
    "snakemake.persistence.file.FilePersistence.has_outdated_metadata",
    "snakemake.persistence.file.FilePersistence.incomplete",
    "snakemake.persistence.file.FilePersistence.locked",
    "snakemake.persistence.ParamsChange",
    "snakemake.io._IOFile.is_newer",
    "snakemake.io._IOFile.touch",
    "snakemake.dag.DAG.check_output_mtime",
    "snakemake.dag.DAG.needrun_jobs",
    "snakemake.dag.DAG.reason",
    "snakemake.dag.DAG.update_priority",
    "snakemake.jobs.Job.remove_existing_output",
    "snakemake.jobs.Job.cleanup",
    "snakemake.io.flag",
    "snakemake.utils.format",
)


def install(
    workflow: Any, commands: list[str], kept: tuple[str, ...], afterwards: Callable[[list[str]], list[Shortage]]
) -> None:
    """Make dvc.lock the build state of ``workflow``; called once, from the Snakefile.

    Args:
        commands: The subcommands of ``belle`` that are stages: what code.json has a fingerprint of.
        kept: Folders outside every stage's outputs that DVC tracks all the same (the ledger).
        afterwards: What a later step of the asked targets would lack, for the message that stops a build.
    """
    from snakemake_interface_executor_plugins.settings import ExecMode

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sent = workflow.exec_mode != ExecMode.DEFAULT  # one job, on the machine that an executor sent it to
    if not sent:
        os.environ[BUILD_PID] = f"{os.uname().nodename}:{os.getpid()}"

    import snakemake.dag
    import snakemake.io
    import snakemake.jobs
    import snakemake.workflow
    from snakemake.exceptions import WorkflowError
    from snakemake.persistence import ParamsChange
    from snakemake.persistence.file import FilePersistence

    class Causes(ParamsChange):
        """The causes of a rebuild, printed as they are instead of as sets of parameters."""

        def __init__(self, causes: list[str], files: set[str]) -> None:
            super().__init__(only_new=set(causes), files=files)
            self.causes = causes

        def __str__(self) -> str:
            return "; ".join(self.causes)

    class DvcLockPersistence(FilePersistence):
        """Answers Snakemake's questions from dvc.lock and the content of files."""

        _state: State | None = None

        @property
        def state(self) -> State:
            if self._state is None:
                self._state = State({str(code.CODE_FILE): code.fingerprints(commands)})
            return self._state

        def has_metadata(self, job: Any) -> bool:
            return True

        def has_outdated_metadata(self, job: Any) -> bool:
            return False

        async def incomplete(self, job: Any) -> list[Any]:
            # an output that a killed job left has no entry in dvc.lock with its bytes: it is found by content
            return []

        def input_changed(self, job: Any, file: Any = None) -> Any:
            return False if file is not None else iter(())

        code_changed = software_stack_changed = input_changed

        def params_changed(self, job: Any, file: Any = None) -> Any:
            if not stages.is_stage(job) or stages.name_of(job) == stages.FINGERPRINT:
                return ParamsChange()
            causes = self.state.reasons(stages.stage_of(job))
            return Causes(causes, {str(path) for path in job.output}) if causes else ParamsChange()

        @property
        def locked(self) -> bool:
            return False  # BuildLock holds the folder; it falls with its process

        @contextmanager
        def lock_warn_only(self) -> Iterator[None]:
            self.state.hashes.save()
            yield

        @contextmanager
        def lock(self) -> Iterator[None]:
            self.state.hashes.save()
            with BuildLock.hold():
                self._refuse_impossible()
                self._write_pipeline()
                self._refresh_fingerprints()
                self._write_plan()
                try:
                    yield
                finally:
                    track(kept, self.state)

        def _needed(self) -> list[Any]:
            return [job for job in self.dag.needrun_jobs() if stages.is_stage(job)]

        def _targets(self) -> list[str]:
            return sorted(map(str, self.dag.workflow.dag_settings.targets))

        def _refuse_impossible(self) -> None:
            shortages = check(self._needed(), local=self.dag.workflow.local_exec)
            if shortages:
                lines = [f"  {item}" for item in shortages]
                later = afterwards(self._targets())
                if later:
                    lines += ["and for what comes after:", *(f"  {item}" for item in later)]
                raise WorkflowError(
                    "This machine cannot build "
                    + (", ".join(self._targets()) or "the default targets")
                    + "; nothing was started. Missing:\n"
                    + "\n".join(lines)
                )

        def _write_pipeline(self) -> None:
            found = stages.entries_of(self.dag.jobs)
            settings = self.dag.workflow.dag_settings
            whole = set(self._targets()) <= {"all"} and not settings.until and not settings.omit_from
            default, asked = pipeline.entries(stages.DVC_FILE), pipeline.entries(stages.ONDEMAND_FILE)
            kept_entry = {name: default[name] for name in (stages.FINGERPRINT,) if name in default}
            if whole:
                default = {**kept_entry, **found}
            else:
                default.update({name: entry for name, entry in found.items() if name in default})
            asked.update({name: entry for name, entry in found.items() if name not in default})
            asked = {name: {**entry, "wdir": ".."} for name, entry in asked.items() if name not in default}
            if stages.write(stages.DVC_FILE, default):
                print(f"{stages.DVC_FILE} written anew from the rules", file=sys.stderr)
            if asked:
                stages.write(stages.ONDEMAND_FILE, asked)

        def _refresh_fingerprints(self) -> None:
            code.write(commands)
            entry = pipeline.entries(stages.DVC_FILE).get(stages.FINGERPRINT)
            if entry and self.state.reasons(pipeline.resolve(stages.FINGERPRINT, entry, self.state)):
                # the result stands already; this only tells dvc.lock which sources it came from
                run_dvc(["--quiet", "repro", "-s", stages.FINGERPRINT])

        def _write_plan(self) -> None:
            plan = {}
            for job in self._needed():
                reason = self.dag.reason(job)
                causes = getattr(reason.params_changed, "causes", None)
                plan[stages.name_of(job)] = {"forced": bool(reason.forced), "causes": causes or []}
            with atomic_file(PLAN) as file:
                json.dump(plan, file, ensure_ascii=False)

    def untouched(self: Any, times: Any = None) -> None:
        """Content decides, so a touch would only cost a second hashing."""

    async def is_newer(self: Any, time: Any) -> bool:
        return False

    async def check_output_mtime(self: Any, job: Any, expanded_output: Any) -> None:
        """An output restored from the cache may well be older than its inputs."""

    remove_existing_output = snakemake.jobs.Job.remove_existing_output
    cleanup = snakemake.jobs.Job.cleanup

    async def keep_existing_output(self: Any) -> None:
        if not stages.is_stage(self):  # DVC removes what it will write, and keeps what is right
            await remove_existing_output(self)

    async def keep_good_output(self: Any, skip_outputs: Any) -> None:
        if not stages.is_stage(self):  # a stage writes under a temporary name: what has its name is whole
            await cleanup(self, skip_outputs)

    update_priority = snakemake.dag.DAG.update_priority

    def longest_chain_first(self: Any) -> None:
        """Among equals start the job that most jobs wait for in a row: the build ends sooner."""
        update_priority(self)
        chain: dict[Any, int] = {}
        for job in reversed([job for level in self.toposorted() for job in level]):
            waiting = [chain[other] for other in self.depending[job] if other in chain]
            chain[job] = 1 + max(waiting, default=0)
        for job in self.needrun_jobs():
            if self._priority[job] < snakemake.jobs.Job.HIGHEST_PRIORITY:
                self._priority[job] += chain[job]

    snakemake.io._IOFile.touch = untouched
    snakemake.io._IOFile.is_newer = is_newer
    snakemake.dag.DAG.check_output_mtime = check_output_mtime
    snakemake.jobs.Job.remove_existing_output = keep_existing_output
    snakemake.jobs.Job.cleanup = keep_good_output
    if sent:
        return  # what must run was decided where the build was started
    snakemake.workflow.FilePersistence = DvcLockPersistence
    snakemake.dag.DAG.update_priority = longest_chain_first


def track(kept: tuple[str, ...], state: State | None = None) -> None:
    """Tell DVC of folders that grew outside every stage's outputs, so that ``dvc push`` takes them along."""
    from belle import strict_yaml

    state = state or State()
    state.hashes.forget()
    for folder in kept:
        recorded = Path(folder + ".dvc")
        now = state.hashes.get(folder)
        if now is None:
            continue
        known = strict_yaml.load(recorded) if recorded.exists() else {"outs": [{}]}
        if known["outs"][0].get("md5") != now:
            run_dvc(["--quiet", "add", folder])
    state.hashes.save()


__all__ = ["LEANED_ON", "in_project", "install", "track"]
