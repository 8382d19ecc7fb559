"""Two hosts, as two network namespaces of this one: one's losses, a clear end when a worker dies, and the way back."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from belle.build.registry import as_dvc_writes
from belle.train.checkpoints import COMPLETE
from conftest import SFT

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "profiles" / "deepspeed" / "zero2.json"
RECORDED = ROOT / "tests" / "train" / "recorded.py"
HOSTS = {f"belle-a-{os.getpid()}": "10.187.3.1", f"belle-b-{os.getpid()}": "10.187.3.2"}
FIRST, SECOND = HOSTS
SETTINGS = {**SFT, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 2, "num_train_epochs": 12.0,
            "lora_dropout": 0.0, "deepspeed": str(PROFILE)}  # fmt: skip
"""58 steps of 10 rows, over two hosts of 5."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, str]]:
    """Two namespaces that see each other over one cable, and nothing else."""
    pytest.importorskip("deepspeed", reason="needs deepspeed (pip install belle[deepspeed])")
    if shutil.which("ip") is None:
        pytest.skip("needs the program ip (Debian: iproute2)")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made: list[str] = []
    try:
        for name in HOSTS:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"this root may make no network namespace: {error.stderr.strip()}")
            made.append(name)
        ip("link", "add", "cable-a", "netns", FIRST, "type", "veth", "peer", "name", "cable-b", "netns", SECOND)
        for (name, address), cable in zip(HOSTS.items(), ("cable-a", "cable-b"), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield HOSTS
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.fixture(scope="module")
def home(tmp_path_factory, world, tiny_base) -> Path:
    """A checkout as far as a stage needs one: params.yaml with a hostfile of the two, and the tiny base and rows."""
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "hosts").write_text("".join(f"{name} slots=1\n" for name in HOSTS))
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for before, after in (
        ('  hostfile: "" ', "  hostfile: hosts "),
        ("  remote: ssh -o BatchMode=yes -o ServerAliveInterval=5 -o ServerAliveCountMax=3 {host} ",
         "  remote: ip netns exec {host} "),
        ('  master_address: "" ', f"  master_address: {HOSTS[FIRST]} "),
        ("  save_steps: 200 ", "  save_steps: 10 "),
    ):  # fmt: skip
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (folder / "base").symlink_to(tiny_base)
    (folder / "rows.jsonl").symlink_to(world / "train.jsonl")
    return folder


def start(home: Path, name: str, settings: dict) -> "subprocess.Popen[str]":
    """``belle sft`` as a rule calls it, but with every loss written down."""
    flags = {key: value for key, value in settings.items() if key not in {"data_fraction", "save_steps"}}
    words = [
        "sft",
        "base",
        "rows.jsonl",
        name,
        f"{name}.csv",
        f"checkpoints-{name}",
        "tokens",
        *shlex.split(as_dvc_writes(flags)),
    ]
    code = (
        "import sys\nfrom belle import cli\nfrom belle.train import launch\nreal = launch.launch\n"
        f"recorded = [sys.executable, {str(RECORDED)!r}, {name + '.json'!r}]\n"
        "launch.launch = lambda command, count, **more: real([*recorded, *command[3:]], count, **more)\n"
        f"sys.exit(cli.main({words!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=home, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def losses(home: Path, name: str) -> list[float]:
    return [step["loss"] for step in json.loads((home / f"{name}.json").read_text())]


def processes(home: Path) -> dict[int, bytes]:
    """Those of this test's runs that are still there, each with its variables."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.readlink(entry / "cwd") == str(home):
                    found[int(entry.name)] = (entry / "environ").read_bytes()
            except OSError:
                continue
    return found


@pytest.fixture(scope="module")
def over_two_hosts(hosts, home) -> list[float]:
    """The losses of a run that nothing disturbed."""
    run = start(home, "straight", {**SETTINGS, "devices": 2, "gradient_accumulation_steps": 1})
    _, said = run.communicate(timeout=400)
    assert run.returncode == 0, said[-3000:]
    return losses(home, "straight")


def test_two_hosts_have_the_losses_of_one_process(over_two_hosts, home):
    flags = {key: value for key, value in SETTINGS.items() if key not in {"data_fraction", "save_steps"}}
    words = [
        "sft",
        "base",
        "rows.jsonl",
        "alone",
        "alone.csv",
        "c",
        "tokens",
        *shlex.split(as_dvc_writes({**flags, "deepspeed": ""})),
    ]
    subprocess.run([sys.executable, str(RECORDED), "alone.json", *words], cwd=home, check=True)
    assert len(over_two_hosts) == 58
    assert over_two_hosts == pytest.approx(losses(home, "alone"), rel=1e-3)
    assert over_two_hosts[:10] == pytest.approx(losses(home, "alone")[:10], rel=1e-5)


@pytest.mark.parametrize(
    "victim", [pytest.param(FIRST, marks=pytest.mark.thorough), SECOND], ids=["the first", "the second"]
)
def test_a_killed_worker_ends_the_run_on_both_hosts_and_the_next_one_resumes(over_two_hosts, home, victim):
    name, rank = f"killed-{victim}", list(HOSTS).index(victim)
    settings = {**SETTINGS, "devices": 2, "gradient_accumulation_steps": 1}
    run = start(home, name, settings)
    said: list[str] = []
    reading = threading.Thread(target=lambda: said.append(run.stderr.read()))
    reading.start()
    until = time.monotonic() + 300
    while time.monotonic() < until and not (home / f"checkpoints-{name}" / "checkpoint-20" / COMPLETE).exists():
        assert run.poll() is None
        time.sleep(0.01)
    (worker,) = [pid for pid, text in processes(home).items() if f"RANK={rank}".encode() in text.split(b"\0")]
    os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()
    assert run.wait(30) == 1
    assert time.monotonic() - killed < 30
    reading.join()
    lines = [line for line in said[0].splitlines() if line.startswith(("belle sft:", "  likely", "  what to do"))]
    assert lines == [
        f"belle sft: process {rank} on {victim} was ended by SIGKILL; the others were ended with it",
        "  likely cause: the system, for want of memory, or somebody's kill -9",
        "  what to do:   run again: training goes on from its last checkpoint",
    ]
    assert "Traceback" not in said[0]
    assert processes(home) == {}
    assert not (home / name).exists()
    assert not list(home.glob(f".{name}.*"))
    again = start(home, name, settings)
    _, text = again.communicate(timeout=400)
    assert again.returncode == 0, text[-3000:]
    assert "resuming from" in text
    assert losses(home, name) == pytest.approx(over_two_hosts, rel=1e-6)
    first, second = (load_file(home / folder / "model.safetensors") for folder in (name, "straight"))
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 1e-6
