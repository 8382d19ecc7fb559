"""Killed builds: nothing paid twice, nothing trained twice, no unlock."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trials.worlds import World


@pytest.fixture
def teacher() -> Iterator[str]:
    """The offline teacher as a server of its own, which outlives the builds."""
    server = subprocess.Popen(
        [sys.executable, "-m", "belle.cli", "teacher", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    yield server.stdout.readline().split()[-1]
    server.terminate()
    assert server.wait(20) is not None


def stats(url: str) -> dict:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:  # noqa: S310 - loopback
        return json.load(reply)


def start(world: World, *words: str) -> subprocess.Popen:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(world.folder / "src")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(["snakemake", *words], cwd=world.folder, env=environment, start_new_session=True, **quiet)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "waited in vain"
        time.sleep(0.02)


def processes_in(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def stage_process(folder: Path, command: str) -> int | None:
    for pid in processes_in(folder):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 2 and words[1].endswith(b"/belle") and words[2] == command.encode():
            return pid
    return None


@pytest.mark.parametrize("victim", ["snakemake", "stage"])
def test_kill_in_generate(miniature: World, teacher: str, victim: str):
    miniature.set("generate.tiny.base_url", teacher)
    miniature.set("generate.tiny.rows", 900)
    miniature.set("generate.tiny.in_flight", 2)
    build = start(miniature, "data/raw/tiny.jsonl")
    until(lambda: stats(teacher)["requests"] >= 10)
    victim_pid = build.pid if victim == "snakemake" else stage_process(miniature.folder, "generate")
    assert victim_pid
    os.kill(victim_pid, signal.SIGKILL)
    build.wait(60)
    until(lambda: not processes_in(miniature.folder), 30)  # nobody goes on behind the next build's back
    asked = stats(teacher)["requests"]
    assert build.returncode != 0
    assert miniature.build("data/raw/tiny.jsonl") == {"generate-tiny": "executed"}
    told = stats(teacher)
    assert told["requests"] > asked  # it had not been finished already
    assert told["answered_twice"] == 0
    rows = (miniature.folder / "data/raw/tiny.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 900
    undisturbed = miniature.folder / "data/raw/tiny.jsonl"
    first = undisturbed.read_bytes()
    undisturbed.unlink()
    miniature.build("-F", "data/raw/tiny.jsonl", "--until", "generate")
    assert undisturbed.read_bytes() == first
    assert stats(teacher)["requests"] == told["requests"]  # all from the ledger


def test_kill_in_sft_resumes_from_a_checkpoint(miniature: World):
    miniature.set("sft.tiny.num_train_epochs", 60)
    miniature.set("sft.tiny.save_steps", 10)
    checkpoints = miniature.folder / ".belle" / "checkpoints" / "belle-tiny"
    build = start(miniature, "models/belle-tiny")
    until(lambda: len(list(checkpoints.glob("checkpoint-*"))) > 0)
    os.kill(build.pid, signal.SIGKILL)
    build.wait(60)
    until(lambda: not processes_in(miniature.folder), 30)
    kept = list(checkpoints.glob("checkpoint-*"))
    assert kept
    assert miniature.build("models/belle-tiny") == {"sft-belle-tiny": "executed"}
    log = (miniature.folder / "logs" / "sft-belle-tiny.log").read_text(encoding="utf-8")
    assert "resum" in log.lower()
    resumed = (miniature.folder / "models/belle-tiny/model.safetensors").read_bytes()
    assert miniature.build("-R", "sft", "--until", "sft") == {"sft-belle-tiny": "executed"}
    assert (miniature.folder / "models/belle-tiny/model.safetensors").read_bytes() == resumed


def test_two_builds_at_once(miniature: World):
    miniature.set("sft.tiny.num_train_epochs", 60)
    first = start(miniature, "models/belle-tiny")
    until(lambda: (miniature.folder / "models").exists() and stage_process(miniature.folder, "sft") is not None)
    second = miniature.run("snakemake", "models/belle-tiny", check=False)
    assert second.returncode == 1
    assert f"Another build is running in this folder (process {first.pid} on" in second.stdout
    first.wait(120)
    assert first.returncode == 0
