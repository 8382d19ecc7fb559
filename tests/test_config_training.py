"""Settings of trainings that contradict each other, and entries that are made from each other."""

from types import SimpleNamespace

import pytest
from test_config import ROOT, faults, write

from belle import config
from belle.needs import Needs


def test_contradictions_are_told_with_their_keys(tmp_path):
    def change(values):
        values["sft"]["tiny"] |= {"bf16": True, "fp16": True, "quantised_base": 4, "lora_modules_to_save": ["lm_head"]}
        values["sft"]["tiny-packed"]["attention"] = "eager"
        values["pretrain"]["tiny-stage1"] |= {"lora_r": 8, "steps": 0, "num_train_epochs": 0}
        values["pretrain"]["tiny-stage2"]["lora_r"] = 0
        values["pretrain"]["tiny-domain"]["ratios"] = [1, 2, 3]

    message = faults(write(tmp_path, change))
    assert "8 faults, nothing was started" in message
    assert "sft.tiny.fp16: bf16 is true as well" in message
    assert "sft.tiny.quantised_base: only adapters can be trained on a quantised base" in message
    assert "sft.tiny.lora_modules_to_save: lora_r is 0" in message
    assert "sft.tiny-packed.attention: eager would look from one packed row into the next" in message
    assert "pretrain.tiny-stage1.lora_r: must be 0 where trains is embeddings, found 8" in message
    assert "pretrain.tiny-stage1.steps: steps and num_train_epochs are both 0" in message
    assert "pretrain.tiny-stage2.lora_r: must be 1 or more where trains is adapters, found 0" in message
    assert "bases.tiny-base-domain.texts: 2 texts, and 3 ratios in pretrain.tiny-domain" in message


@pytest.mark.parametrize(("field", "value"), [("quantised_base", 5), ("attention", "flash"), ("packing", "yes")])
def test_values_out_of_range_are_told(tmp_path, field, value):
    message = faults(write(tmp_path, lambda values: values["sft"]["tiny"].update({field: value})))
    assert f"sft.tiny.{field}: " in message


def test_unknown_names_of_pretraining_are_told(tmp_path):
    def change(values):
        values["bases"]["tiny-base-stage1"]["base"] = "tiny-bas"
        values["bases"]["tiny-base-stage2"]["pretrain"] = "tiny-stage3"

    message = faults(write(tmp_path, change))
    assert "bases.tiny-base-stage1.base: unknown base or model 'tiny-bas'; did you mean 'tiny-base'?" in message
    assert "bases.tiny-base-stage2.pretrain: unknown recipe of pretrain 'tiny-stage3'" in message


def test_bases_and_models_in_a_ring_are_refused(tmp_path):
    def change(values):
        values["bases"]["tiny-base-stage1"]["base"] = "belle-tiny"
        values["models"]["belle-tiny"]["base"] = "tiny-base-stage2"

    message = faults(write(tmp_path, change))
    assert "bases.tiny-base-stage2.base: a base cannot rest on itself" in message
    assert "models.belle-tiny.base: a model cannot be trained on itself" in message


def test_a_model_may_be_trained_on_a_model_and_a_base_on_a_base():
    params = config.load(ROOT / "params.yaml")
    assert params.models["belle-tiny-math"].base == "belle-tiny"
    assert list(params.datasets_behind("belle-tiny-math")) == ["tiny", "tiny-math"]
    needs = Needs(params)
    assert needs.train_gpu_memory_gb(SimpleNamespace(model="belle-tiny-math")) == 0
    through = SimpleNamespace(model="belle-llama-7b-math-lora")
    assert needs.train_gpu_memory_gb(through) == needs.train_gpu_memory_gb(
        SimpleNamespace(model="belle-llama-7b-lora-2m")
    )


def test_the_rows_behind_a_model_are_known_through_a_base_that_is_made_from_one(tmp_path):
    def change(values):
        values["bases"]["tiny-base-stage1"]["base"] = "belle-tiny"
        values["models"]["belle-tiny-math"]["base"] = "tiny-base-stage2"

    params = config.load(write(tmp_path, change))
    assert list(params.datasets_behind("belle-tiny-math")) == ["tiny", "tiny-math"]


def test_the_two_recipes_of_lora_are_those_of_the_paper_and_of_the_script():
    recipes = config.load(ROOT / "params.yaml").sft
    paper, script = recipes["lora-paper"], recipes["lora-script"]
    assert (paper.lora_r, len(paper.lora_target_modules), "o_proj" in paper.lora_target_modules) == (8, 6, False)
    assert (script.lora_r, script.lora_alpha, script.lora_dropout, len(script.lora_target_modules)) == (16, 32, 0.05, 7)
    assert paper.per_device_train_batch_size * paper.gradient_accumulation_steps * 8 == 128
    assert script.per_device_train_batch_size * script.gradient_accumulation_steps * 8 == 8
