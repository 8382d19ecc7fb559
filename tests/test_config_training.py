"""Settings of trainings that contradict each other, and entries that are made from each other."""

import re
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


def test_cla_s_three_steps_have_its_published_settings():
    """Batches of 1024, 1024 and 512; 2e-4, 1e-4, 1e-4; the embeddings alone, then adapters beside both ends."""
    params = config.load(ROOT / "params.yaml")
    alpaca = params.models["chinese-alpaca-7b-anew"]
    second = params.bases[alpaca.base]
    first = params.bases[second.base]
    assert params.bases[first.base].vocabulary == "cla"
    steps = [params.pretrain[first.pretrain], params.pretrain[second.pretrain]]
    for step, rate, count in zip(steps, (2e-4, 1e-4), (3000, 6000), strict=True):
        assert step.per_device_train_batch_size * step.gradient_accumulation_steps * first.gpus == 1024
        assert (step.learning_rate, step.steps, step.block_size) == (rate, count, 512)
    tuned = params.sft[alpaca.sft]
    assert tuned.per_device_train_batch_size * tuned.gradient_accumulation_steps * tuned.devices == 512
    assert (tuned.learning_rate, tuned.cutoff_len, tuned.prompt_format) == (1e-4, 512, "alpaca")
    assert 6_000 <= tuned.num_train_epochs * params.ask["cla-crawl"].rows / 512 <= 10_000
    assert (steps[0].trains, steps[0].lora_r) == ("embeddings", 0)
    for recipe in (steps[1], tuned):
        assert (recipe.lora_r, recipe.lora_alpha, recipe.lora_dropout) == (8, 32, 0.05)
        assert len(recipe.lora_target_modules) == 7
        assert recipe.lora_modules_to_save == ["embed_tokens", "lm_head"]


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_belle_s_extended_models_have_the_paper_s_settings(size):
    params = config.load(ROOT / "params.yaml")
    model = params.models[f"belle-llama-ext-{size}"]
    base = params.bases[model.base]
    assert (base.pretrain, params.pretrain[base.pretrain].trains) == ("belle-extended", "embeddings")
    assert params.bases[base.base].vocabulary == "belle-50k"
    recipe, further = params.sft[model.sft], params.pretrain[base.pretrain]
    assert recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * recipe.devices == 32
    assert (recipe.learning_rate, recipe.num_train_epochs, recipe.cutoff_len) == (5e-6, 3, 2048)
    assert (recipe.lr_scheduler_type, recipe.warmup_ratio, recipe.weight_decay) == ("cosine", 0.03, 0)
    tokens = further.steps * further.per_device_train_batch_size * further.gradient_accumulation_steps * base.gpus
    assert tokens * further.block_size == pytest.approx(3.4e9, rel=0.01)
    assert params.parameters(model.base) == pytest.approx({"7b": 7.13e9, "13b": 13.5e9}[size], rel=0.01)


def test_the_twin_of_larger_vocabularies_goes_the_same_way():
    """Pieces, embeddings alone, adapters and embeddings, then adapters and embeddings on instructions."""
    params = config.load(ROOT / "params.yaml")

    def way(name):
        model = params.models[name]
        second = params.bases[model.base]
        first = params.bases[second.base]
        return [
            params.bases[first.base].kind,
            *(params.pretrain[base.pretrain].trains for base in (first, second)),
            params.sft[model.sft].lora_alpha,
        ]

    assert way("belle-tiny-expanded") == way("chinese-alpaca-7b-anew") == ["expanded", "embeddings", "adapters", 32]


def test_every_4_bit_release_of_belle_is_a_target():
    scored = config.load(ROOT / "params.yaml").scored_names()
    assert {"belle-7b-gptq", "belle-llama-7b-2m-gptq", "belle-llama-7b-2m-released-gptq"} <= set(scored)


def test_the_page_of_released_models_names_every_full_scale_entry_and_a_tiny_twin_for_it():
    params = config.load(ROOT / "params.yaml")
    known = {*params.models, *params.bases}
    lines = (ROOT / "docs/registry.md").read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split("|") for line in lines if line.startswith("| ") and "`" in line]
    named = set()
    for *entries, twins in cells:
        full, tiny = (
            {name.removesuffix("-gptq") for name in re.findall("`(.+?)`", text)} for text in ("|".join(entries), twins)
        )
        assert full | tiny <= known
        assert full
        assert tiny
        assert all("tiny" in name for name in tiny)
        assert not any("tiny" in name for name in full)
        named |= full
    assert {name for name in params.models if "tiny" not in name} <= named | {"belle-7b-anew"}
