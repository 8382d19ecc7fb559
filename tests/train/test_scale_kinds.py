"""Pretraining, reward models and DPO in several processes: the losses, weights and reports of one."""

import json
import shlex
import sys

import pytest
from preferences import DPO, PREFERENCE, write_pairs
from safetensors.torch import load_file
from test_scale import PROFILES, RECORDED, losses, needs_deepspeed, run

from belle import jsonl
from belle.build.registry import as_dvc_writes
from belle.errors import InputError
from belle.train.pairs import Pair, mean_counted, stack_pairs
from belle.train.scale import Evened, accumulation, require_gpu
from belle.train.settings import AdaptedPairSettings, own_settings
from conftest import PRETRAIN, rows

SHARED = {"gradient_accumulation_steps": 2, "lora_dropout": 0.0, "devices": 1}
PAIRED = {**SHARED, "per_device_train_batch_size": 9, "num_train_epochs": 2.0}
"""40 pairs twice in steps of 18: the last has 8, which leaves the first process a batch of 8 and the second none."""
KINDS = {
    "pretrain": ("pretrain", {**PRETRAIN, **SHARED, "lora_target_modules": ["q_proj"]}),
    "embeddings": ("pretrain", {**PRETRAIN, **SHARED, "lora_target_modules": ["q_proj"], "trains": "embeddings"}),
    "reward": ("reward", {**PREFERENCE, **PAIRED}),
    "dpo": ("dpo", {**DPO, **PAIRED}),
    "dpo-lora": ("dpo", {**DPO, **PAIRED, "lora_r": 4, "learning_rate": 1e-3}),
}  # fmt: skip
"""A name, the stage, and its settings."""
CASES = (("pretrain", "zero3"), ("reward", ""), ("dpo-lora", "zero2"))
"""Every stage and every profile once: half a minute for each pair of them is too much for every run."""
PAIRS = [
    pytest.param(kind, profile, marks=() if (kind, profile) in CASES else pytest.mark.thorough)
    for kind in KINDS
    for profile in ("", "zero2", "zero3")
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where all runs of this module stand beside each other, with the pairs and the text that they train on."""
    folder = tmp_path_factory.mktemp("kinds")
    write_pairs(folder / "pairs.jsonl")
    jsonl.write(folder / "text.jsonl", [{"text": row["output"] * 4} for row in rows()])
    return folder


def command(home, base, kind, name, profile=""):
    """A stage as the command line has it, with a record of its losses."""
    stage, settings = KINDS[kind]
    given = {key: value for key, value in settings.items() if key != "save_steps"}
    given["deepspeed"] = str(PROFILES / f"{profile}.json") if profile else ""
    if stage == "reward":
        given = {key: value for key, value in given.items() if not key.startswith("lora_")}
    paths = [
        base,
        home / name,
        home / f"{name}.csv",
        home / f"checkpoints-{name}",
        home / "tokens",
        home / "text.jsonl",
    ]
    if stage != "pretrain":
        paths = [base, home / "pairs.jsonl", home / name, home / f"{name}.report.json", home / f"checkpoints-{name}"]
    words = [sys.executable, str(RECORDED), str(home / f"{name}.json"), stage, *map(str, paths)]
    return [*words, *shlex.split(as_dvc_writes(given))]


@pytest.fixture(scope="module")
def alone(home, tiny_base):
    """A function that runs a kind in one process, once."""
    done = set()

    def once(kind):
        if kind not in done:
            run(command(home, tiny_base, kind, f"alone-{kind}"), 1, home)
            done.add(kind)
        return f"alone-{kind}"

    return once


@pytest.mark.parametrize(("kind", "profile"), PAIRS, ids=lambda name: name or "ddp")
def test_two_processes_have_the_losses_and_weights_of_one(home, tiny_base, alone, kind, profile):
    if profile:
        needs_deepspeed()
    one, name = alone(kind), f"two-{kind}-{profile}"
    run(command(home, tiny_base, kind, name, profile), 2, home)
    assert losses(home, name) == pytest.approx(losses(home, one), rel=5e-6)
    assert len(losses(home, name)) >= 5
    assert len(set(losses(home, name))) >= 4, "DPO's first two are ln 2: the rate warms up from 0"
    first, second = (load_file(home / folder / "model.safetensors") for folder in (name, one))
    assert first.keys() == second.keys()
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 3e-6
    if kind != "reward":
        start = load_file(tiny_base / "model.safetensors")
        assert max(float((first[key] - start[key]).abs().max()) for key in start) > 1e-4
    if KINDS[kind][0] != "pretrain":
        told, before = (json.loads((home / f"{folder}.report.json").read_text()) for folder in (name, one))
        assert told.pop("margin") == pytest.approx(before.pop("margin"), abs=2e-4)
        assert told == before
        assert before["trained_on"] == 40, "or the last step is another one than it says above"
    assert not (home / f"checkpoints-{name}").exists()
    assert not (home / f"checkpoints-{name}-reference").exists()


def test_pairs_that_only_fill_a_batch_count_nothing():
    import numpy as np
    import torch

    pairs = [Pair(np.arange(3, 7, dtype=np.int32), np.arange(4, 9, dtype=np.int32), 2, (-1.0, -2.0))] * 5
    even = Evened(pairs, batch_size=2, processes=2)
    assert [even[index].counted for index in range(len(even))] == [True] * 5 + [False] * 3
    batch = stack_pairs([even[4], even[5]], 3)
    assert batch["counted"].tolist() == [True, False]
    values = torch.tensor([3.0, 100.0], requires_grad=True)
    loss = mean_counted(values, batch["counted"])
    loss.backward()
    assert (loss.item(), values.grad.tolist()) == (3.0, [1.0, 0.0])
    assert mean_counted(values, torch.tensor([False, False])).item() == 0.0


def test_messages_name_the_stage_that_is_trained():
    with pytest.raises(InputError, match=r"^dpo\.gradient_accumulation_steps: a global batch of 8 rows"):
        accumulation(1, 1, 8, 3, "dpo")
    with pytest.raises(InputError, match=r"^reward\.gpus: GPU 10001 is asked for"):
        require_gpu(10_000, "reward")


def test_keywords_of_a_training_are_those_of_its_settings():
    given = {key: value for key, value in DPO.items() if key != "beta"}
    assert own_settings(given, AdaptedPairSettings)["devices"] == 1
    with pytest.raises(TypeError, match=r"missing keyword argument\(s\): seed"):
        own_settings({key: value for key, value in given.items() if key != "seed"}, AdaptedPairSettings)
    with pytest.raises(TypeError, match=r"unexpected keyword argument\(s\): beta"):
        own_settings(DPO, AdaptedPairSettings)
