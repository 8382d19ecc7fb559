"""Snakemake keeps the graph and the scheduling; its rerun decision becomes dvc.lock's.

``install`` puts a persistence class into Snakemake; ``belle.build.patches`` takes away the places where Snakemake acts
on modification times. Every internal that is leaned on is listed in ``belle.build.leaned_on``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from belle.build import code, library, patches, pipeline, stages
from belle.build import plan as plan_file
from belle.build.dvc import run_dvc
from belle.build.environment import BUILD_PID
from belle.build.lock import BuildLock
from belle.build.preflight import Shortage, check
from belle.build.records import Built, OwnRules, kinds
from belle.build.state import State
from belle.errors import InputError


def install(
    workflow: Any,
    commands: list[str],
    kept: tuple[str, ...],
    afterwards: Callable[[list[str]], list[Shortage]],
    values: dict[str, Any] | None = None,
    costs: Callable[[Any], list[Shortage]] = lambda dag: [],
) -> None:
    """Make dvc.lock the build state of ``workflow``; called from the Snakefile, once for each use of a module.

    Args:
        commands: The subcommands of ``belle`` that are stages: what code.json has a fingerprint of.
        kept: Folders outside every stage's outputs that DVC tracks all the same (the ledger).
        afterwards: What a later step of the asked targets would lack, for the message that stops a build.
        values: What params.yaml is to hold where we are the module of another workflow.
        costs: What a budget lacks for the jobs that a DAG would run.
    """
    from snakemake_interface_executor_plugins.settings import ExecMode

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sent = workflow.exec_mode != ExecMode.DEFAULT  # one job, on the machine that an executor sent it to
    if not sent:
        os.environ[BUILD_PID] = f"{os.uname().nodename}:{os.getpid()}"

    import snakemake.workflow
    from snakemake.exceptions import WorkflowError
    from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord, ParamsChange
    from snakemake.persistence.file import FilePersistence

    if getattr(snakemake.workflow.FilePersistence, "is_belles", False):
        return  # each `use rule` statement reads the module anew

    class Causes(ParamsChange):
        """The causes of a rebuild, printed as they are instead of as sets of parameters."""

        def __init__(self, causes: list[str], files: set[str]) -> None:
            super().__init__(only_new=set(causes), files=files)
            self.causes = causes

        def __str__(self) -> str:
            return "; ".join(self.causes)

    class DvcLockPersistence(FilePersistence):
        """Answers Snakemake's questions from dvc.lock and the content of files."""

        is_belles = True

        @cached_property
        def state(self) -> State:
            fresh = {str(code.CODE_FILE): code.fingerprints(commands)}
            return State(fresh if values is None else {**fresh, stages.PARAMS_FILE: values})

        @cached_property
        def built(self) -> Built:
            return Built(self.state)

        @cached_property
        def own_rules(self) -> OwnRules:
            return OwnRules(self.state.hashes)

        @cached_property
        def frozen(self) -> frozenset[str]:
            return pipeline.frozen()

        def has_metadata(self, job: Any) -> bool:
            return True

        def has_outdated_metadata(self, job: Any) -> bool:
            return False

        async def incomplete(self, job: Any) -> list[Any]:
            # an output that a killed stage left has no entry in dvc.lock with its bytes: it is found by content
            return [] if stages.is_stage(job) else await super().incomplete(job)

        def started(self, job: Any, external_jobid: str | None = None) -> None:
            if not stages.is_stage(job):
                self.own_rules.started(job)
            super().started(job, external_jobid)

        async def finished(self, job: Any) -> None:
            if not stages.is_stage(job):
                await super().finished(job)
                self.own_rules.finished(job)
                return
            for path in job.output:  # dvc.lock is the record
                self._unmark_incomplete(self._get_key(path))

        def _read_record(self, key: str) -> Any:
            found = self.built.record(key)
            if found is None:
                return super()._read_record(key)
            return MetadataRecord(**found, record_format_version=RECORD_FORMAT_VERSION)

        def cleanup_metadata(self, target: Any) -> bool:
            if str(target) in self.built:
                raise WorkflowError(
                    f"{target}: its record is dvc.lock, which nothing of Snakemake's can wipe. "
                    f"To accept the file as it stands: `dvc commit -f {self.built.stage(str(target))}`."
                )
            return super().cleanup_metadata(target)

        def causes(self, job: Any) -> list[str]:
            """Why a stage must run; of a frozen one only what became of its outputs."""
            found = self.state.reasons(stages.stage_of(job))
            frozen = stages.name_of(job) in self.frozen
            return [cause for cause in found if cause.startswith("output ")] if frozen else found

        def code_changed(self, job: Any, file: Any = None) -> Any:
            return self._changed("code", job, file, super().code_changed)

        def input_changed(self, job: Any, file: Any = None) -> Any:
            return self._changed("input", job, file, super().input_changed)

        def software_stack_changed(self, job: Any, file: Any = None) -> Any:
            return self._changed("software", job, file, super().software_stack_changed)

        def _changed(self, kind: str, job: Any, file: Any, plain: Callable[..., Any]) -> Any:
            if not stages.is_stage(job):
                return plain(job, file=file)
            # params_changed brings all causes of a stage; with a file it is a view that asks
            return kind in kinds(self.causes(job)) if file is not None else iter(())

        def params_changed(self, job: Any, file: Any = None) -> Any:
            if not stages.is_stage(job):
                causes = self.own_rules.causes(job)
                causes += ["the rule's code changed"] if any(super().code_changed(job)) else []
                plain = super().params_changed(job, file=file)
            elif stages.name_of(job) == stages.FINGERPRINT:
                return ParamsChange()
            else:
                causes, plain = self.causes(job), ParamsChange()
            return Causes(causes, {str(path) for path in job.output}) if causes else plain

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
                self._refuse_meaningless()
                self._refuse_impossible()
                if values is not None:
                    try:
                        library.require_repository()
                        library.write_params(values)
                    except InputError as error:
                        raise WorkflowError(str(error)) from None
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

        def _refuse_meaningless(self) -> None:
            names = sorted(map(stages.name_of, self._needed()))
            if names and self.dag.workflow.touch:
                raise WorkflowError(
                    "--touch changes nothing here: content decides, not times. To accept outputs as they stand, "
                    "without running their stages: `dvc commit -f " + " ".join(names) + "`."
                )
            if frozen := sorted(set(names) & self.frozen):
                raise WorkflowError(
                    "Frozen, so it will not run, but an output is missing, changed or forced: "
                    + ", ".join(frozen)
                    + ". `dvc checkout` brings the output back from the cache; `belle unfreeze STAGE` lets it run."
                )

        def _refuse_impossible(self) -> None:
            shortages = check(self._needed(), local=self.dag.workflow.local_exec) + costs(self.dag)
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
            found = stages.with_frozen(found, self.frozen)
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

        def _forced(self, job: Any) -> bool:
            # a forced job behind one that runs carries only the other reason: its input may come out unchanged
            named = job.rule in self.dag.forcerules or not self.dag.forcefiles.isdisjoint(job.output)
            return bool(self.dag.reason(job).forced or named)

        def _write_plan(self) -> None:
            plan = {}
            for job in self._needed():
                reason = self.dag.reason(job)
                causes = getattr(reason.params_changed, "causes", None)
                plan[stages.name_of(job)] = {"forced": self._forced(job), "causes": causes or []}
            plan_file.write(plan)

    patches.outputs()
    if sent:
        return  # what must run was decided where the build was started
    snakemake.workflow.FilePersistence = DvcLockPersistence
    patches.decision()


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
