"""Builds through profiles/slurm, watched, and with a node killed on the way if wanted."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from belle import strict_yaml
from belle.errors import BelleError
from trials.slurm.cluster import Cluster, Job
from trials.worlds import World

PROFILE = "profiles/slurm"
LOG = Path(".belle/trial.log")
"""What Snakemake says, in a world."""


@dataclass
class Build:
    """What a build through Slurm did."""

    seconds: float
    jobs: list[Job]
    output: str
    killed: str = ""
    processes: int = 0
    killed_after_s: float = 0.0
    submitted: dict[str, int] = field(default_factory=dict)

    @property
    def requeued(self) -> list[Job]:
        """Jobs that Slurm put back into its queue."""
        return [job for job in self.jobs if job.restarts]

    @property
    def submitted_again(self) -> dict[str, int]:
        """Stage → how many times more than once Snakemake submitted it."""
        return {stage: count - 1 for stage, count in self.submitted.items() if count > 1}


def build(
    cluster: Cluster, world: World, *words: str, kill_during: str = "", linger_s: float = 2.0, timeout_s: float = 1500
) -> Build:
    """Run ``snakemake --workflow-profile profiles/slurm`` with further ``words`` in a world.

    Args:
        kill_during: A stage; while it runs, the node that it runs on is killed.
        linger_s: How long that stage has run when its node dies, in seconds.

    Raises:
        BelleError: Snakemake failed or took longer than ``timeout_s``, or ended before the stage was seen.
    """
    before = {job.number for job in cluster.jobs()}
    log = world.folder / LOG
    log.parent.mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ, **cluster.environment, "PATH": path, "PYTHONPATH": str(world.folder / "src"),
        "USER": getpass.getuser(),  # the plugin asks for it; a container may not say it
    }  # fmt: skip
    started = time.monotonic()
    killed, processes, killed_after_s = "", 0, 0.0
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["snakemake", "--workflow-profile", PROFILE, *words],
            cwd=world.folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            while process.poll() is None:
                if time.monotonic() - started > timeout_s:
                    raise _fault(
                        f"took longer than {timeout_s:.0f} s; killed so far: {killed or 'no node'}", world, cluster
                    )
                if held := [job.stage for job in cluster.jobs() if "held" in job.reason.lower()]:
                    raise _fault(f"Slurm holds {', '.join(held)} back for ever", world, cluster)
                if kill_during and not killed and (node := _running(cluster, kill_during)):
                    time.sleep(linger_s)
                    killed, killed_after_s = node, time.monotonic() - started
                    processes = cluster.kill_node(node)
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
    said = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode:
        raise _fault(f"ended with {process.returncode}", world, cluster)
    if kill_during and not killed:
        raise _fault(f"ended before {kill_during} was seen on a node", world, cluster)
    jobs = [job for job in cluster.jobs() if job.number not in before]
    submitted: dict[str, int] = {}
    for job in jobs:
        submitted[job.stage] = submitted.get(job.stage, 0) + 1
    return Build(time.monotonic() - started, jobs, said, killed, processes, killed_after_s, submitted)


def _fault(what: str, world: World, cluster: Cluster) -> BelleError:
    """The fault with what everybody said last: Snakemake, its jobs, Slurm."""
    logs = [world.folder / LOG, *sorted((world.folder / ".snakemake" / "slurm_logs").rglob("*.log"))]
    said = [f"--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')[-3000:]}" for path in logs]
    return BelleError("\n".join([f"{what}:", *said, cluster.condition()]), where="snakemake")


def _running(cluster: Cluster, stage: str) -> str:
    """The node on which a stage's own process runs now; empty if none."""
    command = stage.partition("-")[0]
    for job in cluster.jobs():
        if job.stage == stage and job.state == "RUNNING":
            for process in cluster.processes(job.node):
                with contextlib.suppress(psutil.Error):
                    words = process.cmdline()
                    if len(words) > 2 and words[1].endswith("/belle") and words[2] == command:
                        return job.node
    return ""


def outputs(world: World) -> dict[str, str]:
    """Path → hash of every output that dvc.lock names, fingerprints left out."""
    stages = (strict_yaml.load(world.folder / "dvc.lock") or {}).get("stages", {})
    return {out["path"]: out["md5"] for entry in stages.values() for out in entry["outs"] if out["path"] != "code.json"}


def requests(world: World) -> dict[str, int]:
    """What the ledger says of a world's requests: ``sent`` (intents), ``answered``, and answered ``twice``."""
    lines: list[dict[str, Any]] = [
        json.loads(line)
        for shard in sorted((world.folder / "data" / "ledger").glob("*.jsonl"))
        for line in shard.read_text(encoding="utf-8").splitlines()
    ]
    replies = [line["digest"] for line in lines if line["kind"] == "reply"]
    sent = [line["digest"] for line in lines if line["kind"] == "intent"]
    return {"sent": len(sent), "answered": len(set(replies)), "twice": len(sent) - len(set(sent))}


def nothing_left(world: World) -> bool:
    """Whether Snakemake and DVC both say that a world is built."""
    planned = world.run("snakemake", "-n", "--quiet", "rules").stdout
    status = world.run("dvc", "status").stdout
    return bool(re.search(r"Nothing to be done", planned)) and "up to date" in status
