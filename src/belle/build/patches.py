"""The places where Snakemake acts on modification times or its own metadata, made to ask the content of files."""

from __future__ import annotations

from typing import Any

from belle.build import stages
from belle.build.records import kinds


def outputs() -> None:
    """Keep Snakemake's hands off the outputs of stages: DVC writes, restores and removes them."""
    import snakemake.dag
    import snakemake.io
    import snakemake.jobs

    def untouched(self: Any, times: Any = None) -> None:
        """Content decides, so a touch would only cost a second hashing."""

    async def is_newer(self: Any, time: Any) -> bool:
        return False

    async def check_output_mtime(self: Any, job: Any, expanded_output: Any) -> None:
        """An output restored from the cache may well be older than its inputs."""

    async def older_than_script(self: Any) -> Any:
        """A script's content decides, as an input's does."""
        return
        yield

    remove_existing_output = snakemake.jobs.Job.remove_existing_output
    cleanup = snakemake.jobs.Job.cleanup

    async def keep_existing_output(self: Any) -> None:
        if not stages.is_stage(self):  # DVC removes what it will write, and keeps what is right
            await remove_existing_output(self)

    async def keep_good_output(self: Any, skip_outputs: Any) -> None:
        if not stages.is_stage(self):  # a stage writes under a temporary name: what has its name is whole
            await cleanup(self, skip_outputs)

    snakemake.io._IOFile.touch = untouched
    snakemake.io._IOFile.is_newer = is_newer
    snakemake.dag.DAG.check_output_mtime = check_output_mtime
    snakemake.jobs.Job.remove_existing_output = keep_existing_output
    snakemake.jobs.Job.cleanup = keep_good_output
    snakemake.jobs.Job.outputs_older_than_script_or_notebook = older_than_script


def decision() -> None:
    """Let the causes that the persistence class gives decide, and be told."""
    import snakemake.dag
    import snakemake.jobs
    import snakemake.workflow
    from snakemake.exceptions import WorkflowError
    from snakemake.settings.types import RerunTrigger

    update_priority = snakemake.dag.DAG.update_priority

    def longest_chain_first(self: Any) -> None:
        """Among equals start the job that most jobs wait for in a row: the build ends sooner."""
        update_priority(self)
        chain: dict[Any, int] = {}
        for job in reversed([job for level in self.toposorted() for job in level]):
            waiting = [chain[other] for other in self.depending[job] if other in chain]
            chain[job] = 1 + max(waiting, default=0)
        for job in self.needrun_jobs():
            if stages.is_stage(job) and not self.reason(job).params_changed:
                # Snakemake looks for no cause of a job's own where another job has one: both are told
                self.reason(job).params_changed = self.workflow.persistence.params_changed(job)
            if self._priority[job] < snakemake.jobs.Job.HIGHEST_PRIORITY:
                self._priority[job] += chain[job]

    update_needrun = snakemake.dag.DAG.update_needrun

    async def update_needrun_by_content(self: Any, *args: Any, **options: Any) -> None:
        if RerunTrigger.PARAMS not in self.workflow.rerun_triggers:
            raise WorkflowError(
                "--rerun-triggers without `params` would miss changes: all causes of a rebuild come by that trigger, "
                "decided by content. Leave the option away."
            )
        names = self.workflow.persistence.frozen
        frozen = [job for job in self.jobs if stages.is_stage(job) and stages.name_of(job) in names] if names else []
        cut = {job: dict(self._dependencies[job]) for job in frozen}
        for job in frozen:
            self._dependencies[job].clear()
        files = {(before, job): self.depending[before].pop(job) for job in cut for before in cut[job]}
        self.omitforce.update(frozen)
        try:  # as DVC does: for this decision nothing comes before a frozen stage
            await update_needrun(self, *args, **options)
        finally:
            for job in frozen:
                self._dependencies[job].update(cut[job])
            for (before, job), paths in files.items():
                self.depending[before][job] = paths

    get_outputs_with_changes = snakemake.dag.DAG.get_outputs_with_changes

    async def outputs_with_changes(self: Any, change_type: Any, include_needrun: bool = True) -> list[Any]:
        """For --list-changes: a stage's outputs by what its causes are."""
        plain = await get_outputs_with_changes(self, change_type, include_needrun)
        ours = [job for job in self.jobs if stages.is_stage(job) and stages.name_of(job) != stages.FINGERPRINT]
        own = {str(path) for job in ours for path in job.output}
        found = [job for job in ours if str(change_type) in kinds(self.workflow.persistence.causes(job))]
        return [path for path in plain if str(path) not in own] + [path for job in found for path in job.output]

    def log_provenance_info(self: Any) -> None:
        """Snakemake's hint at this place names times and its metadata, which decide nothing here."""
        needed = [job for job in self.dag.needrun_jobs(exclude_finished=False) if stages.is_stage(job)]
        causes = [job for job in needed if getattr(self.dag.reason(job).params_changed, "causes", None)]
        if causes:
            snakemake.workflow.logger.info(
                "Decided by content against dvc.lock. If you are sure that a change leaves an output as it is: "
                f"`dvc commit -f STAGE`, here {', '.join(sorted(map(stages.name_of, causes)))}."
            )

    snakemake.dag.DAG.update_needrun = update_needrun_by_content
    snakemake.dag.DAG.get_outputs_with_changes = outputs_with_changes
    snakemake.workflow.Workflow.log_provenance_info = log_provenance_info
    snakemake.dag.DAG.update_priority = longest_chain_first
