"""What a machine must have before the first job starts; everything missing in one message."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shortage:
    """Something a build needs and this machine lacks."""

    what: str
    needed: str
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}: needs {self.needed}; {self.found}\n      what to do: {self.fix}"


def gpu_memory_gb() -> list[float]:
    """Memory of each GPU in GB, by nvidia-smi; empty where there is none."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [float(line) * 2**20 / 1e9 for line in listed.split("\n") if line.strip()]


def api_key_missing(needed_by: str) -> list[Shortage]:
    """The key of a paid API, where the environment has none."""
    if os.environ.get("OPENAI_API_KEY"):
        return []
    return [
        Shortage(
            "API key", f"OPENAI_API_KEY for {needed_by}", "the environment has none",
            "export OPENAI_API_KEY=…, or set base_url: offline in params.yaml",
        )
    ]  # fmt: skip


def _hub_reachable() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    from urllib.parse import urlparse

    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname or ""
    try:
        with socket.create_connection((host, 443), timeout=3):
            return True
    except OSError:
        return False


def _on_hub_cache(repository: str, kind: str) -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    folder = home / "hub" / f"{kind}s--{repository.replace('/', '--')}" / "snapshots"
    return folder.is_dir() and any(folder.iterdir())


def _hub_shortages(jobs: list[Any]) -> list[Shortage]:
    shortages, reachable = [], None
    for job in jobs:
        repository, kind = job.resources.get("hub", ""), job.resources.get("hub_kind", "model")
        if not repository or Path(repository).exists() or _on_hub_cache(repository, kind):
            continue
        reachable = _hub_reachable() if reachable is None else reachable
        if not reachable:
            what = "base weights" if kind == "model" else "published data"
            shortages.append(
                Shortage(
                    what, f"{repository} for {', '.join(map(str, job.output))}",
                    "neither in the Hugging Face cache nor can the hub be reached from here",
                    f"`hf download {repository}{'' if kind == 'model' else ' --repo-type dataset'}` where there is a "
                    "network, or name a local folder as `hub:` in params.yaml",
                )
            )  # fmt: skip
    return shortages


def _file_shortages(jobs: list[Any]) -> list[Shortage]:
    return [
        Shortage(
            "files of yours", f"{job.resources['files']} for {', '.join(map(str, job.output))}", "not here",
            "download or link them there, or name where they are in params.yaml",
        )
        for job in jobs
        if job.resources.get("files", "")
    ]  # fmt: skip


def check(jobs: list[Any], local: bool = True) -> list[Shortage]:
    """Everything that the jobs' resources ask for and this machine lacks.

    Resources read: ``gpus`` (a number), ``gpu_memory_gb`` (of each), ``disk_gb`` (that the outputs and checkpoints
    take), ``api_key`` (1 where a paid API is asked), ``hub`` and ``hub_kind`` (a repository to fetch),
    ``files`` (paths that a person brings and that are not here).
    Jobs that are not ``local`` are given their GPUs by the cluster, which this machine need not have.
    """

    def most(name: str) -> tuple[float, str]:
        sizes = [(float(job.resources.get(name, 0)), job.rule.name) for job in jobs]
        return max(sizes, default=(0.0, ""))

    shortages: list[Shortage] = []
    gpus, gpu_memory = most("gpus"), most("gpu_memory_gb")
    if local and (gpus[0] or gpu_memory[0]):
        found = gpu_memory_gb()
        if len(found) < gpus[0] or (gpu_memory[0] and max(found, default=0.0) < gpu_memory[0]):
            here = f"{len(found)} with {max(found):.0f} GB" if found else "no GPU was found here"
            shortages.append(
                Shortage(
                    "GPU memory", f"{int(gpus[0]) or 1} GPU(s) with {gpu_memory[0]:.0f} GB each (rule {gpu_memory[1]})",
                    here, "build on a machine that has them, or lower the sizes under `sft:` in params.yaml",
                )
            )  # fmt: skip
    disk = sum(float(job.resources.get("disk_gb", 0)) for job in jobs)
    free = shutil.disk_usage(".").free / 1e9
    if disk > free:
        shortages.append(
            Shortage("disk", f"{disk:.0f} GB", f"{free:.0f} GB are free here", "free some, or move this folder")
        )
    shortages += _hub_shortages(jobs) + _file_shortages(jobs)
    paid = sorted({job.rule.name for job in jobs if job.resources.get("api_key", 0)})
    return shortages + (api_key_missing(", ".join(paid)) if paid else [])
