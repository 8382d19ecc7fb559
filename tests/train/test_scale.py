"""Several processes: the batch and the losses of one, whole weights, one message when one dies, and the way back."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

from belle import jsonl
from belle.build.registry import as_dvc_writes
from belle.config import load
from belle.errors import BelleError, InputError
from belle.train import launch as launching
from belle.train.batches import Example
from belle.train.checkpoints import COMPLETE
from belle.train.launch import launch
from belle.train.places import HERE, Place, places_of, shares
from belle.train.scale import Evened, accumulation
from conftest import SFT

PROFILES = Path(__file__).parents[2] / "profiles" / "deepspeed"
RECORDED = Path(__file__).parent / "recorded.py"
FLAGS = {key: value for key, value in SFT.items() if key not in {"data_fraction", "save_steps"}}
TEN_ROWS = {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 2, "num_train_epochs": 1.0,
            "lora_dropout": 0.0}  # fmt: skip
"""48 rows in steps of 10: the last step has 8, which leaves two processes with batches of 5 and 3."""


def needs_deepspeed() -> None:
    pytest.importorskip("deepspeed", reason="needs deepspeed (pip install belle[deepspeed])")


def command(world: Path, base: Path, home: Path, name: str, settings: dict, rows: str = "train.jsonl") -> list[str]:
    """``belle sft`` with a record of its losses."""
    paths = [base, world / rows, home / name, home / f"{name}.csv", home / f"checkpoints-{name}", home / "tokens"]
    flags = shlex.split(as_dvc_writes({**FLAGS, **settings}))
    return [sys.executable, str(RECORDED), str(home / f"{name}.json"), "sft", *map(str, paths), *flags]


def run(words: list[str], processes: int, cwd: Path) -> None:
    """As one process, or as several by our launcher."""
    if processes == 1:
        subprocess.run(words, check=True, cwd=cwd, env=variables())
        return
    launch(words, processes, places=[Place(HERE, processes)], remote="", master_address="", environment=variables(),
           what="sft")  # fmt: skip


def variables() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def losses(home: Path, name: str) -> list[float]:
    return [step["loss"] for step in json.loads((home / f"{name}.json").read_text())]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where all runs of this module stand beside each other."""
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def alone(world, tiny_base, home):
    """The runs of one process, by the rank of their adapters."""
    for rank in (0, 4):
        run(command(world, tiny_base, home, f"alone-{rank}", {**TEN_ROWS, "lora_r": rank}), 1, home)
    return home


def the_same(home: Path, one: str, other: str, moved_from: Path) -> None:
    """Losses and weights agree within what the order of sums does to float32."""
    assert losses(home, one) == pytest.approx(losses(home, other), rel=2e-6)
    first, second = (load_file(home / name / "model.safetensors") for name in (one, other))
    start = load_file(moved_from / "model.safetensors")
    assert first.keys() == second.keys() == start.keys()
    assert max(float((first[name] - start[name]).abs().max()) for name in start) > 1e-3
    assert max(float((first[name] - second[name]).abs().max()) for name in start) < 2e-6


@pytest.mark.parametrize(
    ("profile", "rank"),
    [
        ("", 0),
        ("zero2", 0),
        ("zero3", 0),
        ("zero3", 4),
        ("zero3-offload", 0),
        *(pytest.param(profile, 4, marks=pytest.mark.thorough) for profile in ("", "zero2", "zero3-offload")),
    ],
    ids=lambda value: {"": "ddp", 0: "full", 4: "lora"}.get(value, value),
)
def test_two_processes_have_the_losses_and_weights_of_one(world, tiny_base, alone, profile, rank):
    if profile:
        needs_deepspeed()
    name = f"two-{profile}-{rank}"
    settings = {**TEN_ROWS, "lora_r": rank, "deepspeed": str(PROFILES / f"{profile}.json") if profile else ""}
    run(command(world, tiny_base, alone, name, settings), 2, alone)
    the_same(alone, name, f"alone-{rank}", tiny_base)
    assert not (alone / f"checkpoints-{name}").exists()


def test_torchrun_starts_it_as_well(world, tiny_base, alone):
    words = command(world, tiny_base, alone, "torchrun", {**TEN_ROWS, "lora_r": 0})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0",
                "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]  # fmt: skip
    subprocess.run([*torchrun, *words[1:]], check=True, cwd=alone, env=variables())
    the_same(alone, "torchrun", "alone-0", tiny_base)


def test_the_command_line_starts_as_many_as_the_recipe_has(world, tiny_base, alone):
    """Two devices with one batch each are two processes, and the same as one with two."""
    changed = {**TEN_ROWS, "gradient_accumulation_steps": 1, "devices": 2}
    words = command(world, tiny_base, alone, "declared", changed)
    words[1:3] = ["-m", "belle.cli"]
    subprocess.run(words, check=True, cwd=alone, env=variables())
    first, second = (load_file(alone / name / "model.safetensors") for name in ("declared", "alone-0"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 2e-6


# --- one of them dies -------------------------------------------------------------------------------------------


def kill_a_worker(home: Path, checkpoint: Path, killed: dict) -> None:
    """Kill the process of rank 1 as soon as a checkpoint is whole."""
    until = time.monotonic() + 200
    while time.monotonic() < until and not (checkpoint / COMPLETE).exists():
        time.sleep(0.01)
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
            variables = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if str(home).encode() in words and b"RANK=1" in variables:
            killed["pid"], killed["at"] = int(entry.name), time.monotonic()
            os.kill(killed["pid"], signal.SIGKILL)


def of_this_run(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += [entry.name] if str(home).encode() in words else []
    return found


@pytest.mark.parametrize("profile", [pytest.param("zero2", marks=pytest.mark.thorough), "zero3"])
def test_a_killed_worker_ends_all_and_the_next_run_resumes(world, tiny_base, tmp_path, profile):
    """``test_scale_hosts`` does the same with ZeRO-2 on two hosts, every time."""
    needs_deepspeed()
    settings = {**TEN_ROWS, "num_train_epochs": 12.0, "lora_r": 0, "deepspeed": str(PROFILES / f"{profile}.json")}
    words = command(world, tiny_base, tmp_path, "killed", settings)
    words = [*words[:3], "--save_steps", "10", *words[3:]]
    killed: dict = {}
    checkpoint = tmp_path / "checkpoints-killed" / "checkpoint-20"
    killing = threading.Thread(target=kill_a_worker, args=(tmp_path, checkpoint, killed))
    killing.start()
    with pytest.raises(BelleError) as caught:
        run(words, 2, tmp_path)
    ended = time.monotonic() - killed["at"]
    killing.join()
    assert ended < 30
    assert str(caught.value).splitlines()[0] == (
        "sft: process 1 on localhost was ended by SIGKILL; the others were ended with it"
    )
    assert "goes on from its last checkpoint" in str(caught.value)
    assert of_this_run(tmp_path) == []
    assert not (tmp_path / "killed").exists()
    assert not list(tmp_path.glob(".killed.*"))
    run(words, 2, tmp_path)
    resumed = losses(tmp_path, "killed")
    straight = [word.replace(str(tmp_path / "killed"), str(tmp_path / "straight")) for word in words]
    straight = [word.replace("checkpoints-killed", "checkpoints-straight") for word in straight]
    run(straight, 2, tmp_path)
    whole = losses(tmp_path, "straight")
    assert len(whole) > 50
    assert resumed == pytest.approx(whole, rel=1e-6)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "straight"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-6


def child(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "child.py"
    path.write_text(f"import os, sys, time\nrank = int(os.environ['RANK'])\n{text}\n")
    return [sys.executable, str(path)]


def start(words: list[str], processes: int = 2, **more) -> None:
    given = {"places": [Place(HERE, processes)], "remote": "", "master_address": "", "environment": variables()}
    launch(words, processes, what="sft", **{**given, **more})


REPORT = """
from belle.errors import BelleError, InputError
from belle.train.faults import reporting
with reporting(os.environ['BELLE_FAULT']):
    if rank == 1: raise {error}
    time.sleep({wait})
    raise RuntimeError('[pair.cc:534] Connection closed by peer [127.0.0.1]:1')
"""


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ("InputError('no row', where='x.jsonl, row 3', cause='a', fix='b')", InputError,
         "x.jsonl, row 3: no row\n  likely cause: a\n  what to do:   b"),
        ("BelleError('the loss is nan at step 3 of 5', where='training')", BelleError,
         "training: the loss is nan at step 3 of 5"),
        ("KeyError('lost')", BelleError, "sft: process 1 on localhost failed: KeyError: 'lost'; the others"),
        ("MemoryError('no more')", BelleError, "sft: process 1 on localhost failed: MemoryError: no more; the others"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wait", [0, 30], ids=["the other fails first", "the other waits"])
def test_the_fault_of_the_one_that_began_it_is_the_message(tmp_path, error, kind, said, wait):
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        start(child(tmp_path, REPORT.format(error=error, wait=wait)))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(said)
    assert time.monotonic() - started < 20


def test_a_process_that_only_prints_and_ends_is_named(tmp_path):
    with pytest.raises(BelleError, match="process 1 on localhost ended with status 7"):
        start(child(tmp_path, "if rank == 1: sys.exit(7)\ntime.sleep(60)"))


def test_processes_know_their_places_and_end_with_whoever_started_them(tmp_path):
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR"
    text = f"open(f'{tmp_path}/{{rank}}', 'w').write(' '.join(os.environ[n] for n in {names!r}.split()))"
    start(child(tmp_path, text), 3)
    assert [(tmp_path / str(rank)).read_text() for rank in range(3)] == [f"{r} {r} 3 3 127.0.0.1" for r in range(3)]
    words = child(tmp_path, f"open(f'{tmp_path}/up{{rank}}', 'w')\ntime.sleep(100)")
    code = (
        "import os\nfrom belle.train.launch import launch\nfrom belle.train.places import HERE, Place\n"
        f"launch({words!r}, 2, places=[Place(HERE, 2)], remote='', master_address='', environment=dict(os.environ),"
        " what='sft')"
    )
    starting = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 60
    while time.monotonic() < until and not all((tmp_path / f"up{rank}").exists() for rank in range(2)):
        time.sleep(0.05)
    starting.kill()
    starting.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and of_this_run(tmp_path):
        time.sleep(0.1)
    assert of_this_run(tmp_path) == []


def test_a_host_that_cannot_be_reached_is_named(monkeypatch):
    with pytest.raises(BelleError, match="the host node1 does not answer: `false node1") as caught:
        start(["true"], places=[Place("node1", 2)], remote="false {host}")
    assert "try `ssh HOST true`" in str(caught.value)
    monkeypatch.setattr(launching, "START_S", 0.5)
    with pytest.raises(BelleError, match="the host node1 does not answer"):
        start(["true"], places=[Place("node1", 2)], remote="sleep 60")


def test_a_second_host_that_does_not_reach_the_first_says_so():
    with pytest.raises(BelleError, match=r"the host b does not reach a at 255\.255\.255\.255, port \d+: \S"):
        start(["true"], places=[Place("a", 1), Place("b", 1)], remote="env", master_address="255.255.255.255")


def test_gpus_that_are_not_there_are_named(world, tiny_base, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count() >= 2:
        pytest.skip("this machine has two GPUs: they would be used")
    words = command(world, tiny_base, tmp_path, "gpus", TEN_ROWS)
    words = [words[0], "-m", "belle.cli", *words[3:], "--gpus", "2"]
    ended = subprocess.run(words, cwd=tmp_path, env=variables(), capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"where PyTorch sees {torch.cuda.device_count()}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("is asked for on") == 1


# --- batches and hosts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_device", "published", "devices", "processes", "found"),
    [(2, 4, 8, 8, 4), (2, 4, 8, 4, 8), (2, 4, 8, 16, 2), (2, 4, 8, 1, 32), (1, 1, 8, 2, 4), (8, 1, 1, 1, 1)],
)
def test_the_published_global_batch_is_kept(per_device, published, devices, processes, found):
    assert accumulation(per_device, published, devices, processes) == found
    assert per_device * found * processes == per_device * published * devices


def test_a_global_batch_that_cannot_be_kept_is_refused_with_both_numbers():
    with pytest.raises(InputError) as caught:
        accumulation(2, 4, 8, 6)
    assert "a global batch of 64 rows (2 × 8 devices × 4 batches) cannot be kept on 6 devices: 2 × 6 × 5 = 60" in str(
        caught.value
    )
    assert "set `gpus:` to 4 or 8" in str(caught.value)
    with pytest.raises(InputError, match="2 × 64 × 1 = 128"):
        accumulation(2, 4, 8, 64)


@dataclass(frozen=True)
class Block:
    """As rows are packed together."""

    rows: tuple[Example, ...]


@pytest.mark.parametrize(("gpus", "refused"), [(4, False), (16, False), (6, True), (64, True)])
def test_a_number_of_gpus_that_cannot_keep_the_batch_is_refused_when_params_yaml_is_read(tmp_path, gpus, refused):
    text = (PROFILES.parents[1] / "params.yaml").read_text(encoding="utf-8")
    begin = text.index("\n  belle-7b:")
    path = tmp_path / "params.yaml"
    path.write_text(text[:begin] + text[begin:].replace("gpus: 8", f"gpus: {gpus}", 1), encoding="utf-8")
    if not refused:
        assert load(path).models["belle-7b"].gpus == gpus
        return
    with pytest.raises(InputError) as caught:
        load(path)
    assert (
        f"models.belle-7b.gpus: sft.belle-7b has a global batch of 64 rows, no multiple of the {2 * gpus} that {gpus} "
        "GPUs take at once; choose a number that divides 32"
    ) in str(caught.value)
    assert "nothing was started" in str(caught.value)


def rows(count: int) -> list[Example]:
    return [Example.of([5, 6, 7 + number], [-100, 6, 7 + number]) for number in range(count)]


def test_a_list_is_made_up_to_whole_batches_with_what_no_loss_counts():
    examples = rows(13)
    even = Evened(examples, batch_size=2, processes=4)
    assert len(even) == 16
    assert [even[index] for index in range(13)] == examples
    assert {even[index].trained for index in range(13, 16)} == {0}
    assert len(Evened(examples, batch_size=2, processes=1)) == 13
    assert len(Evened(rows(16), batch_size=2, processes=4)) == 16
    blocks = [Block((example, example)) for example in examples]
    filler = Evened(blocks, batch_size=2, processes=4)[15]
    assert [row.trained for row in filler.rows] == [0]
    assert len(Evened([(1, 2)] * 13, batch_size=2, processes=4)) == 8, "what has no labels is left out"


def test_a_hostfile_is_read_as_deepspeeds_is(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# two of ours\nnode1 slots=8\n\nnode-2.lan   slots=4 # smaller\n")
    assert places_of(path) == [Place("node1", 8), Place("node-2.lan", 4)]
    assert shares(places_of(path), 8) == [Place("node1", 8)]
    assert shares(places_of(path), 10) == [Place("node1", 8), Place("node-2.lan", 2)]
    with pytest.raises(InputError, match="16 processes for 12 slots on 2") as caught:
        shares(places_of(path), 16)
    assert "lower `gpus:` to 12" in str(caught.value)


@pytest.mark.parametrize("text", ["node1", "node1 slots=0", "node1 slots=8\nnode1 slots=8", "", "-x slots=1"])
def test_a_hostfile_with_another_line_is_refused(tmp_path, text):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(InputError, match="slots"):
        places_of(path)


def test_the_rows_of_the_tests_leave_a_rest(world):
    assert sum(1 for _ in jsonl.read(world / "train.jsonl")) % 10 == 8
