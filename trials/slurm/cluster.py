"""A Slurm cluster of this machine alone: munged, slurmctld and a slurmd for each node, from a temporary folder."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from belle.errors import BelleError, InputError

TEMPLATE = Path(__file__).with_name("slurm.conf.template")
PROGRAMS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
PLUGIN, PLUGIN_SINCE = "snakemake-executor-plugin-slurm", (2, 4)
"""Snakemake's plugin, and a release that can ask squeue; early ones need an accounting database."""
SOCKET, SOCKET_BYTES = "/spool-node10/node10_1000.4294967291", 107
"""The socket on which a job's first step listens, below the cluster's folder: where its name is too long, Slurm says so
in a node's log only and holds the job back for ever."""


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def missing() -> str:
    """What this machine lacks for a cluster of its own, with the command that brings it; empty if nothing."""
    packages = sorted({package for program, package in PROGRAMS.items() if not _program(program)})
    if packages:
        return f"not installed: {', '.join(packages)} (apt-get install --yes {' '.join(packages)})"
    try:
        version = importlib.metadata.version(PLUGIN)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed: {PLUGIN} (make clusters)"
    if tuple(int(part) for part in version.split(".")[:2]) < PLUGIN_SINCE:
        wanted = ".".join(map(str, PLUGIN_SINCE))
        return f"{PLUGIN} {version} asks only an accounting database about jobs; {wanted} or later asks squeue"
    if os.geteuid() != 0:
        return "slurmd starts jobs for other users and so wants to be started by root (sudo -E)"
    return ""


@dataclass(frozen=True)
class Job:
    """What Slurm says of one of its jobs."""

    number: int
    stage: str
    node: str
    state: str
    reason: str
    restarts: int
    seconds: int


class Cluster:
    """A running cluster; ``environment`` makes Slurm's commands talk to it."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def ask(self, *words: str) -> str:
        """The output of one of Slurm's commands.

        Raises:
            BelleError: it failed; what it said comes along.
        """
        environment = {**os.environ, **self.environment}
        ended = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
        if ended.returncode:
            raise BelleError(ended.stderr.strip() or f"exit status {ended.returncode}", where=words[0])
        return ended.stdout

    def jobs(self) -> list[Job]:
        """Every job that was ever submitted here, in that order."""
        found = []
        for line in self.ask("scontrol", "show", "job", "--oneliner").splitlines():
            fields = dict(re.findall(r"(\w+)=(\S*)", line))
            if "JobId" in fields:
                hours, minutes, seconds = map(int, fields["RunTime"].rpartition("-")[2].split(":"))
                found.append(
                    Job(
                        int(fields["JobId"]), _stage(fields.get("Comment", "")), fields.get("NodeList", ""),
                        fields["JobState"], fields.get("Reason", ""),
                        int(fields.get("Restarts", 0)), hours * 3600 + minutes * 60 + seconds,
                    )
                )  # fmt: skip
        return sorted(found, key=lambda job: job.number)

    def processes(self, node: str) -> list[psutil.Process]:
        """What runs on a node for its jobs: what stands below their slurmstepd, in whatever session."""
        found: dict[int, psutil.Process] = {}
        for step in self._steps(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.update((process.pid, process) for process in [step, *step.children(recursive=True)])
        return list(found.values())

    def kill_node(self, node: str) -> int:
        """End a node as a power cut does: its slurmd and all that it started. Returns how many processes that were."""
        daemon = psutil.Process(self._daemons[node].pid)
        daemon.suspend()  # it must not start anything more while its processes are looked for
        doomed = [daemon, *self.processes(node)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._daemons.pop(node).wait()
        return len(doomed)

    def _steps(self, node: str) -> list[psutil.Process]:
        """The slurmstepd of a node: each has left its slurmd, and listens on a socket in its spool folder."""
        spool = f"{self.folder / f'spool-{node}'}/"
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                sockets = process.net_connections("unix") if process.info["name"] == "slurmstepd" else []
                if any(str(item.laddr).startswith(spool) for item in sockets):
                    found.append(process)
        return found

    def start(self) -> None:
        """Start all daemons; returns when every node takes jobs."""
        self._start_munge()
        ports = _free_ports(len(self.nodes) + 1)
        lines = [
            f"NodeName={node} NodeHostname={platform.node()} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=16000"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        text = TEMPLATE.read_text(encoding="utf-8").format(
            nodes=len(self.nodes), host=platform.node(), controller_port=ports[0], user=getpass.getuser(),
            folder=self.folder, node_lines="\n".join(lines),
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for node in self.nodes:
            self._start(node, "slurmd", "-D", "-N", node)
        self._wait(lambda: self._idle() == len(self.nodes), "the nodes take jobs")

    def _idle(self) -> int:
        with contextlib.suppress(BelleError):
            return self.ask("sinfo", "--noheader", "--Node", "--format", "%T").split().count("idle")
        return 0

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755)
        key = folder / "key"
        key.touch(mode=0o400)
        key.chmod(0o600)
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        words = [f"--{option}={folder / name}" for option, name in files.items()]
        self._start("munged", "munged", "--foreground", "--force", *words)
        self._wait((folder / "socket").exists, "munged listens")

    def _start(self, name: str, program: str, *words: str) -> None:
        with open(self.folder / f"{name}.out", "wb") as log:
            self._daemons[name] = subprocess.Popen(
                [_program(program) or program, *words], stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **self.environment},
            )  # fmt: skip

    def _wait(self, reached: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
        end = time.monotonic() + timeout_s
        while not reached():
            ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > end:
                raise BelleError(
                    f"waited for it that {what}" + (f"; {', '.join(ended)} ended" if ended else "") + self.condition(),
                    where="the Slurm of this trial",
                )
            time.sleep(0.1)

    def condition(self) -> str:
        """What Slurm says of its jobs and nodes, and the end of each daemon's log."""
        said = ""
        for words in (("scontrol", "show", "job", "--oneliner"), ("sinfo", "--Node", "--long")):
            with contextlib.suppress(BelleError, subprocess.TimeoutExpired):
                said += f"\n--- {' '.join(words)}\n{self.ask(*words)}"
        for path in sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")]):
            said += f"\n--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
        return said

    def stop(self) -> None:
        """End every job and every daemon."""
        if "slurmctld" in self._daemons:
            with contextlib.suppress(BelleError, subprocess.TimeoutExpired):
                self.ask("scancel", "--user", getpass.getuser())
        for node in [name for name in self._daemons if name in self.nodes]:
            self.kill_node(node)
        for daemon in self._daemons.values():
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        self._daemons.clear()


def _stage(comment: str) -> str:
    """The stage of a job, by the comment that Snakemake's plugin gives it."""
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    return f"{rule}-{wildcards.replace('_', '-')}" if wildcards else rule


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


@contextmanager
def running(nodes: int = 3) -> Iterator[Cluster]:
    """A cluster in a temporary folder, stopped and gone whatever happens.

    Raises:
        InputError: this machine lacks something for it.
    """
    if lack := missing():
        raise InputError(lack, where="a Slurm of this machine's own")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder, nodes)
    try:
        if (length := len(str(folder)) + len(SOCKET)) > SOCKET_BYTES:
            raise InputError(
                f"the folder for temporary files leads to sockets' names of {length} bytes; {SOCKET_BYTES} are allowed",
                where=str(folder), fix="set TMPDIR to a folder with a short name",
            )  # fmt: skip
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
