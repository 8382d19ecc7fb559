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
from typing import Any

import pytest

from belle.api.ledger import Ledger
from trials.worlds import World


@pytest.fixture
def teacher() -> Iterator[str]:
    """The offline teacher as a server of its own, which outlives the builds."""
    server, url = serve()
    yield url
    server.terminate()
    assert server.wait(20) is not None


def stats(url: str) -> dict:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:  # noqa: S310 - loopback
        return json.load(reply)


def start(world: World, *words: str, command: tuple[str, ...] = ("snakemake",), output: Any = None) -> subprocess.Popen:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(world.folder / "src")}
    said = {"stdout": output or subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*command, *words], cwd=world.folder, env=environment, start_new_session=True, **said)


def serve(port: int = 0) -> tuple[subprocess.Popen, str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "belle.cli", "teacher", "--port", str(port)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    return server, server.stdout.readline().split()[-1]


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
    rows_wanted = 6_000  # a stage notices within half a second that its build has gone; it must have work for longer
    miniature.set("generate.tiny.rows", rows_wanted)
    miniature.set("pace.in_flight", 1)
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
    assert len(rows) == rows_wanted
    undisturbed = miniature.folder / "data/raw/tiny.jsonl"
    first = undisturbed.read_bytes()
    undisturbed.unlink()
    miniature.build("-F", "data/raw/tiny.jsonl", "--until", "generate")
    assert undisturbed.read_bytes() == first
    assert stats(teacher)["requests"] == told["requests"]  # all from the ledger


def test_kill_in_sft_resumes_from_a_checkpoint(miniature: World):
    miniature.set("sft.tiny.num_train_epochs", 60)
    miniature.set("pace.save_steps", 10)
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


def test_a_teacher_that_dies_ends_the_build_and_no_answer_is_lost(miniature: World):
    # fewer attempts: with eight, a server that stays away is waited for for over a minute
    miniature.edit("src/belle/api/client.py", "max_retries: int = 8,\n        first_pause_s", RETRIES)
    teacher, url = serve()
    miniature.set("generate.tiny.base_url", url)
    miniature.set("generate.tiny.rows", 900)
    miniature.set("pace.in_flight", 2)
    build = start(miniature, "data/raw/tiny.jsonl")
    until(lambda: stats(url)["requests"] >= 10)
    teacher.kill()
    teacher.wait()
    assert build.wait(60) != 0
    log = (miniature.folder / "logs/generate-tiny.log").read_text(encoding="utf-8")
    assert "connection failed" in log
    assert "run again later: every reply so far is in the ledger and is not paid again" in log
    assert "Traceback" not in log
    with Ledger(miniature.folder / "data/ledger") as ledger:
        kept = {line["digest"] for line in ledger if line["request"]["endpoint"] == url}
    assert len(kept) >= 8
    again, _ = serve(int(url.split(":")[-1].partition("/")[0]))
    try:
        assert miniature.build("data/raw/tiny.jsonl") == {"generate-tiny": "executed"}
        told = stats(url)
    finally:
        again.terminate()
        again.wait(20)
    with Ledger(miniature.folder / "data/ledger") as ledger:
        needed = {line["digest"] for line in ledger if line["request"]["endpoint"] == url}
    assert told["answered_twice"] == 0
    assert told["requests"] == len(needed) - len(kept)  # what the first teacher answered, the second was not asked
    assert len((miniature.folder / "data/raw/tiny.jsonl").read_text(encoding="utf-8").splitlines()) == 900


RETRIES = "max_retries: int = 1,\n        first_pause_s"


def test_a_killed_stage_is_told_by_its_signal_and_log(miniature: World, teacher: str):
    miniature.set("generate.tiny.base_url", teacher)
    miniature.set("generate.tiny.rows", 6_000)
    miniature.set("pace.in_flight", 2)
    log = miniature.folder.parent / "first.log"
    with open(log, "wb") as said:
        build = start(miniature, "data/raw/tiny.jsonl", output=said)
    until(lambda: stats(teacher)["requests"] >= 10)
    pid = stage_process(miniature.folder, "generate")
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert build.wait(60) == 1
    text = log.read_text(encoding="utf-8")
    assert "belle: logs/generate-tiny.log: the stage generate-tiny was ended by SIGKILL" in text
    assert "for want of memory" in text


def test_dvc_and_snakemake_at_once(miniature: World):
    """Either may be told to wait or come back; together they leave what one alone would."""
    miniature.set("tables.tiny.title", "Both at once")
    builds = [start(miniature), start(miniature, command=("dvc", "repro"))]
    ended = [build.wait(120) for build in builds]
    assert ended[0] == 0 or ended[1] == 0, ended
    miniature.build()
    assert miniature.planned() == {}
    assert miniature.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    assert "Both at once" in (miniature.folder / "results/tables/tiny.md").read_text(encoding="utf-8")


def test_a_stage_whose_dvc_was_killed_before_it_began_does_not_run(miniature: World):
    """Its parent is init by then, which never ends."""
    init = Path("/proc/1/cmdline")
    if not init.exists() or b"python" in init.read_bytes() or b"dvc" in init.read_bytes():
        pytest.skip("process 1 of this system is none that adopts orphans as init does")
    log = miniature.folder.parent / "orphan.log"
    belle = f"{sys.executable} -m belle.cli corpus out.txt --sentences 400 --seed 1"
    environment = {"DVC_STAGE": "corpus-tiny", "DVC_ROOT": str(miniature.folder)}
    adopted = miniature.run("sh", "-c", f"(sleep 1; exec {belle}) >{log} 2>&1 & echo $!", **environment).stdout
    until(lambda: not Path(f"/proc/{adopted.strip()}").exists(), 30)
    assert not (miniature.folder / "out.txt").exists()
    assert miniature.run(*belle.split()).returncode == 0  # by hand it is no stage, and does
    assert (miniature.folder / "out.txt").exists()


@pytest.mark.parametrize("left", [0, 4096], ids=["empty", "half"])
def test_a_lock_file_that_a_killed_dvc_left_cut_off_is_taken_back(miniature: World, left: int):
    lock = miniature.folder / "dvc.lock"
    assert miniature.planned() == {}
    whole = lock.read_bytes()
    lock.write_bytes(whole[:left].rstrip(b"\n"))
    said = miniature.run("snakemake").stdout
    assert "dvc.lock was cut off" in said
    assert "Nothing to be done" in said
    assert (miniature.folder / ".belle/parsed/dvc.lock.cut").read_bytes() == whole[:left].rstrip(b"\n")
    assert lock.read_bytes() == whole
    assert "up to date" in miniature.run("dvc", "status").stdout
