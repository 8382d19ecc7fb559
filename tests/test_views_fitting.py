"""What a plan and the check before a build say of GPUs; nvidia-smi is a stand-in that prints what a real one does."""

import os
from pathlib import Path

import pytest

from belle.config import load
from belle.errors import InputError
from belle.needs import Needs
from belle.views.fitting import gpus_here, misfits, sentence, too_few
from belle.views.interval import Interval

ROOT = Path(__file__).parents[1]
V100 = "Tesla V100-SXM2-32GB, 32768, 7.0"
A100 = "NVIDIA A100-SXM4-80GB, 81920, 8.0"
SMALL = "NVIDIA A100-SXM4-40GB, 30000, 8.0"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with GPUs, as nvidia-smi lists them."""
    monkeypatch.chdir(ROOT)

    def with_gpus(*lines: str) -> Needs:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return Needs(load())

    return with_gpus


def test_gpus_are_read_with_their_memory_and_capability(machine):
    machine(A100, V100)
    assert [(gpu.name, round(gpu.memory_gb, 1), gpu.capability) for gpu in gpus_here()] == [
        ("NVIDIA A100-SXM4-80GB", 85.9, 8.0), ("Tesla V100-SXM2-32GB", 34.4, 7.0),
    ]  # fmt: skip


def test_a_machine_that_can_lacks_nothing(machine):
    needs = machine(*[A100] * 8)
    assert misfits("belle-7b", needs, gpus_here()) == []
    assert misfits("belle-tiny", needs, gpus_here()) == []


def test_too_little_memory_is_said_with_its_parts_and_what_to_change(machine):
    needs = machine(*[SMALL] * 8)
    (found,) = [str(item) for item in misfits("belle-7b", needs, gpus_here())]
    assert "GPU memory for models/belle-7b: needs " in found
    assert "on each of 8 (weights 14.1, optimizer 10.6, logits 7.2" in found
    assert "NVIDIA A100-SXM4-40GB has 31.5 GB" in found
    assert (
        "write `per_device_train_batch_size: 1 with gradient_accumulation_steps: 8`" in found or "zero3.json" in found
    )


def test_what_an_old_gpu_cannot_compute_is_said_first(machine):
    needs = machine(*[V100] * 8)
    found = "\n".join(str(item) for item in misfits("belle-7b", needs, gpus_here()))
    assert "bfloat16 needs 8.0 (Ampere) or later; Tesla V100-SXM2-32GB has compute capability 7" in found
    assert "write bf16: false and fp16: true" in found


def test_a_plan_has_one_line_for_a_training(machine):
    needs = machine()
    text = sentence("belle-7b", needs, Interval(320.0, 200.0, 500.0))
    assert text is not None
    assert "models/belle-7b: " in text
    assert "GB on each of 8 GPU(s) (weights 14.1" in text
    assert "; 40 h on 8 × A100 80 GB; fits A100 40 GB" in text
    assert "V100" not in text.partition("fits")[2].partition(";")[0], "no bfloat16 there"
    assert sentence("belle-tiny", needs, None) is None


def test_gpus_on_other_hosts_are_not_looked_for_here(machine, tmp_path):
    needs = machine()
    hosts = tmp_path / "hosts"
    hosts.write_text("a slots=4\nb slots=4\n")

    class Wildcards:
        model = "belle-7b"

    assert needs.train_gpus(Wildcards) == 8
    launch = needs.params.launch.model_copy(update={"hostfile": str(hosts)})
    over_two = Needs(needs.params.model_copy(update={"launch": launch}))
    assert over_two.train_gpus(Wildcards) == 4
    assert too_few("belle-7b", over_two) == []
    hosts.write_text("a slots=4\n")
    (found,) = [str(item) for item in too_few("belle-7b", Needs(over_two.params))]
    assert "GPUs for models/belle-7b: needs 8 on all hosts together" in found
    assert "has 4 slots on 1 host(s)" in found
    assert "write `gpus: 4`" in found
    hosts.write_text("a 4\n")
    with pytest.raises(InputError, match="'a 4' is no line `NAME slots=NUMBER`"):
        Needs(over_two.params)


def test_advice_names_the_stage_and_a_reward_model_has_a_line_too(machine):
    needs = machine(*[SMALL] * 8)
    (found,) = [str(item) for item in misfits("belle-reward", needs, gpus_here())]
    assert "GPU memory for models/belle-reward: needs " in found
    assert found.rstrip().endswith("in its recipe under `reward:`")
    text = sentence("belle-reward", needs, None)
    assert text is not None
    assert text.startswith("models/belle-reward: ")
    assert "logits" not in text, "one number an answer, not one a word"
    assert sentence("tiny-reward", needs, None) is None
