"""params.yaml's entries for preferences: what is declared, what is refused, and what each would take of a machine."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from belle import config, references
from belle.errors import InputError
from belle.needs import Needs

ROOT = Path(__file__).parents[1]


def faults(tmp_path: Path, change) -> str:
    values = yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        config.load(path)
    return str(caught.value)


@pytest.fixture(scope="module")
def params():
    return config.load(ROOT / "params.yaml")


def test_the_published_settings_are_declared(params):
    reward, dpo, ppo = params.reward["belle-7b"], params.dpo["belle-7b"], params.ppo["belle-7b"]
    assert (reward.learning_rate, reward.num_train_epochs) == (1e-5, 2)
    assert (dpo.beta, dpo.num_train_epochs, dpo.weight_decay, dpo.warmup_ratio) == (0.1, 3, 1e-4, 0.03)
    assert (dpo.max_length, dpo.max_prompt_length, dpo.learning_rate) == (512, 128, 5e-6)
    assert (ppo.batch_size, ppo.mini_batch_size, ppo.ppo_epochs, ppo.learning_rate) == (32, 2, 2, 1.4e-5)
    assert (ppo.target_kl, ppo.init_kl_coef, ppo.adap_kl_ctrl) == (0.1, 0.2, True)


def test_each_full_entry_has_a_tiny_twin(params):
    kinds = {name: entry.kind for name, entry in params.models.items() if entry.kind in ("preferred", "reinforced")}
    assert {"belle-tiny-dpo", "belle-7b-dpo"} <= {name for name, kind in kinds.items() if kind == "preferred"}
    assert {"belle-tiny-ppo", "belle-7b-ppo"} <= {name for name, kind in kinds.items() if kind == "reinforced"}
    assert params.pairs.keys() >= {"tiny-pairs", "belle-pairs"}
    assert params.rewards.keys() >= {"tiny-reward", "belle-reward"}
    shown = {model for table in params.default_tables for model in params.tables[table].models}
    assert not shown & kinds.keys(), "not built by default"


def test_unknown_names_are_told_with_their_keys(tmp_path):
    def change(values):
        values["pairs"]["tiny-pairs"]["model"] = "belle-tinny"
        values["pairs"]["belle-pairs"]["sample"] = "bele"
        values["rewards"]["tiny-reward"]["pairs"] = "tiny-pears"
        values["models"]["belle-tiny-dpo"]["pairs"] = "nothing"
        values["models"]["belle-tiny-ppo"]["reward"] = "belle-tiny"
        values["models"]["belle-7b-dpo"]["dpo"] = "belle-7"
        values["models"]["belle-7b-ppo"]["base"] = "belle-8b"

    message = faults(tmp_path, change)
    assert "7 faults" in message
    assert "pairs.tiny-pairs.model: unknown base or model 'belle-tinny'; did you mean 'belle-tiny'?" in message
    assert "pairs.belle-pairs.sample: unknown recipe of sample 'bele'" in message
    assert "rewards.tiny-reward.pairs: unknown set of pairs 'tiny-pears'; did you mean 'tiny-pairs'?" in message
    assert "models.belle-tiny-dpo.pairs: unknown set of pairs 'nothing'" in message
    assert "models.belle-tiny-ppo.reward: unknown reward model 'belle-tiny'" in message
    assert "models.belle-7b-dpo.dpo: unknown recipe of dpo 'belle-7'" in message
    assert "models.belle-7b-ppo.base: unknown base or model 'belle-8b'" in message


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda v: v["ppo"]["tiny"].update(mini_batch_size=5), "ppo.tiny.mini_batch_size: must divide batch_size 32"),
        (lambda v: v["ppo"]["tiny"].update(samples_per_prompt=3), "samples_per_prompt: must divide batch_size 32"),
        (lambda v: v["ppo"]["tiny-grpo"].update(samples_per_prompt=1), "must be at least 2 for grpo"),
        (lambda v: v["models"]["belle-7b-ppo"].update(gpus=8), "models.belle-7b-ppo.gpus: "),
        (lambda v: v["prefer"]["tiny"].update(margin=0), "prefer.tiny.margin: "),
        (lambda v: v["sample"]["tiny"].update(answers=1), "sample.tiny.answers: "),
        (lambda v: v["dpo"]["tiny"].update(betta=1), "dpo.tiny.betta: unknown key; did you mean 'beta'?"),
        (lambda v: v["rewards"]["tiny-reward"].update(pair="x"), "rewards.tiny-reward.pair: unknown key; did you mean"),
        (lambda v: v["pairs"]["tiny-pairs"].update(modell="x"), "unknown key; did you mean 'model'?"),
        (lambda v: v["pairs"].update(mine={"kind": "local", "pth": "x"}), "unknown key; did you mean 'path'?"),
        (lambda v: v["pairs"]["tiny-pairs"].update(model="belle-tiny-dpo"), "are drawn from itself"),
        (lambda v: v["rewards"].update({"belle-tiny": v["rewards"]["tiny-reward"]}), "has the same name"),
        (lambda v: v["models"]["belle-tiny-dpo"].update(base="belle-tiny-dpo"), "cannot be trained on itself"),
    ],
)
def test_what_would_not_hold_is_refused(tmp_path, change, what):
    assert what in faults(tmp_path, change)


def test_pairs_of_one_s_own_are_taken_from_their_path(tmp_path):
    values = yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))
    values["pairs"]["mine"] = {"kind": "local", "path": "downloads/pairs.jsonl"}
    values["models"]["belle-tiny-dpo"]["pairs"] = "mine"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    found = config.load(path)
    assert found.pairs_of_model(SimpleNamespace(model="belle-tiny-dpo")) == [
        ("downloads/pairs.jsonl", ["models.belle-tiny-dpo.pairs", "pairs.mine.path"])
    ]
    assert found.pairs_of_reward(SimpleNamespace(reward="tiny-reward")) == [
        ("data/pairs/tiny-pairs.jsonl", ["rewards.tiny-reward.pairs"])
    ]


def test_what_each_would_take_of_a_machine(params):
    """By hand, for 7.07 billion parameters: 2 bytes a weight; over 8 GPUs by ZeRO-2 12 of the optimizer, 2 of gradients
    and 4 of the same in float32; CUDA's context and two buckets of 200 million numbers are 2 GB."""
    needs = Needs(params)
    dpo, ppo, reward = (
        SimpleNamespace(model="belle-7b-dpo"),
        SimpleNamespace(model="belle-7b-ppo"),
        SimpleNamespace(reward="belle-reward"),
    )  # fmt: skip
    size = params.bases["bloomz-7b1-mt"].parameters / 1e9
    assert needs.train_gpu_memory_gb(dpo) == math.ceil(size * (2 + 18 / 8) + 2)
    assert needs.train_gpu_memory_gb(reward) == math.ceil(size * (2 + 18 / 8) + 2)
    assert needs.train_mem_mb(dpo) == 8 * (4000 + round(size * 2000)), "each process loads the model"
    assert needs.ppo_gpu_memory_gb(ppo) == round(2 * size * 2 + size * 14 * 0.01 + 6), "policy and reward model"
    assert (needs.train_gpus(dpo), needs.train_gpus(reward), needs.ppo_gpus(ppo)) == (8, 8, 1)
    assert needs.train_disk_gb(dpo) == round(size * 30)
    assert needs.ppo_disk_gb(ppo) == round(size * 2.28)
    assert needs.prefer_api_key(SimpleNamespace(pairs="belle-pairs")) == 1
    assert needs.sample_gpus(SimpleNamespace(pairs="belle-pairs")) == 1
    for tiny in (SimpleNamespace(model="belle-tiny-dpo"), SimpleNamespace(reward="tiny-reward")):
        assert (needs.train_gpus(tiny), needs.train_gpu_memory_gb(tiny), needs.train_disk_gb(tiny)) == (0, 0, 0)
    assert needs.prefer_api_key(SimpleNamespace(pairs="tiny-pairs")) == 0


def test_full_reinforcement_has_three_models_in_memory(params):
    """Policy with gradients and optimizer, its base, and the reward model."""
    values = params.model_dump()
    values["ppo"]["belle-7b"]["lora_r"] = 0
    needs = Needs(config.Params.model_validate(values))
    size = params.bases["bloomz-7b1-mt"].parameters / 1e9
    assert needs.ppo_gpu_memory_gb(SimpleNamespace(model="belle-7b-ppo")) == round(3 * size * 2 + size * 14 + 6)


def test_data_sets_behind_a_preferred_model_are_its_base_s_too(params):
    assert list(params.datasets_behind("belle-tiny-dpo")) == ["tiny"]
    assert params.datasets_behind("belle-7b-ppo")["belle-2m"] == ["models.belle-7b-ppo.dataset"]


def test_a_number_of_gpus_that_cannot_keep_the_batch_of_pairs_is_refused(params):
    values = params.model_dump()
    for section, name, recipe, whole in (
        ("models", "belle-7b-dpo", "dpo", 8),
        ("rewards", "belle-reward", "reward", 128),
    ):
        changed = {**values, section: {**values[section], name: {**values[section][name], "gpus": 3}}}
        (found,) = references.reference_faults(config.Params.model_validate(changed))
        assert found[0] == [section, name, "gpus"]
        assert found[1].startswith(f"{recipe}.belle-7b has a global batch of {whole} rows, no multiple of the ")


def test_deepspeed_settings_are_an_input_of_every_training(params):
    zero2 = "profiles/deepspeed/zero2.json"
    assert params.deepspeed_of(SimpleNamespace(model="belle-7b-dpo")) == [(zero2, ["models.belle-7b-dpo.dpo"])]
    assert params.deepspeed_of(SimpleNamespace(reward="belle-reward")) == [(zero2, ["rewards.belle-reward.reward"])]
    assert params.deepspeed_of(SimpleNamespace(model="belle-7b")) == [(zero2, ["models.belle-7b.sft"])]
    for tiny in (SimpleNamespace(model="belle-tiny-dpo"), SimpleNamespace(base="tiny-base-stage1")):
        assert params.deepspeed_of(tiny) == []
