import importlib.util

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from belle.errors import InputError
from belle.train import hardware, quantised
from belle.train.hardware import half_of
from belle.train.sft import sft
from conftest import SFT, contents

installed = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes is not installed: make test-quantised",
)


@pytest.fixture
def run(world, tiny_base, tmp_path):
    def go(name="out", **changes):
        settings = {**SFT, "lora_r": 4, "num_train_epochs": 1.0, **changes}
        sft(
            base=tiny_base, data=world / "train.jsonl", out=tmp_path / name, checkpoints=tmp_path / "checkpoints",
            curve=tmp_path / f"{name}.csv", **settings,
        )  # fmt: skip
        return tmp_path / name

    return go


def losses(path):
    return [float(line.split(",")[1]) for line in path.read_text().splitlines()[1:]]


@installed
@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_learn_on_a_quantised_base_and_are_merged_into_the_whole_one(run, tiny_base, tmp_path, bits):
    """Both adapters start from nothing, so the first loss is the base's: near the whole one's, and not equal."""
    out = run("quantised", quantised_base=bits)
    run("whole")
    quantised_curve, whole_curve = (losses(tmp_path / f"{name}.csv") for name in ("quantised", "whole"))
    assert quantised_curve[0] != whole_curve[0]
    assert quantised_curve[0] == pytest.approx(whole_curve[0], rel=0.05)
    assert quantised_curve[-1] < quantised_curve[0]
    base, merged = (load_file(path / "model.safetensors") for path in (tiny_base, out))
    assert base.keys() == merged.keys()
    changed = {name.rpartition(".weight")[0].rpartition(".")[2] for name in base if not base[name].equal(merged[name])}
    assert changed == {"q_proj", "v_proj", "down_proj"}
    assert all(value.dtype == torch.float32 for value in merged.values())
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.float32


@installed
def test_training_on_a_quantised_base_repeats_itself(run):
    assert contents(run("one", quantised_base=4)) == contents(run("two", quantised_base=4))


def test_without_bitsandbytes_it_is_refused_by_name(run, tmp_path, monkeypatch):
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="bitsandbytes is not installed") as caught:
        run(quantised_base=4)
    assert "pip install bitsandbytes" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"quantised_base": 4, "lora_r": 0}, "4 bits is to be trained in full"), ({"quantised_base": 3}, "3 bits")],
)
def test_bits_that_cannot_be_are_refused(run, changes, message):
    with pytest.raises(InputError, match=message):
        run(**changes)


# --- numbers ---------------------------------------------------------------------------------------------------


def test_the_type_follows_the_recipe():
    assert (half_of(False, False), half_of(True, False)) == (torch.float32, torch.bfloat16)
    with pytest.raises(InputError, match="bf16 and fp16 are both true"):
        half_of(True, True)


def test_a_v100_that_is_asked_for_bf16_is_named(monkeypatch):
    monkeypatch.setattr(hardware.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(hardware.torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(hardware.torch.cuda, "get_device_name", lambda: "Tesla V100-SXM2-32GB")
    with pytest.raises(InputError, match="Tesla V100-SXM2-32GB does not compute in it") as caught:
        half_of(True, False)
    assert "fp16: true" in str(caught.value)
    assert half_of(False, True) == torch.float16


def test_fp16_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(hardware.torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="fp16 is asked for, and there is no GPU"):
        half_of(False, True)


def test_bf16_trains_and_is_written(run, tmp_path):
    out = run("half", bf16=True, lora_r=0)
    assert all(value.dtype == torch.bfloat16 for value in load_file(out / "model.safetensors").values())
    curve = losses(tmp_path / "half.csv")
    assert curve[-1] < curve[0]
