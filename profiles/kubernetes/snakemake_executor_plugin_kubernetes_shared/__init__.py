"""Snakemake's Kubernetes executor for jobs that share one volume, mounted at one path, with whoever starts the build.

The executor as published takes it that nothing is shared: it ships sources through an object store and gives every path
a storage address. Here dvc.lock, DVC's cache and the ledger are the build, so the checkout itself is what is shared.
"""

import shlex

from snakemake_executor_plugin_kubernetes import Executor as KubernetesExecutor
from snakemake_executor_plugin_kubernetes import ExecutorSettings
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(KubernetesExecutor):
    """A job starts in the checkout, not in an empty folder of its pod."""

    def get_job_exec_prefix(self, job: JobExecutorInterface) -> str:
        return f"cd {shlex.quote(str(self.workflow.workdir_init))}"
