import json

import pytest
import torch
from gptqmodel import GPTQModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle.errors import BelleError, InputError
from belle.quantize.gptq import calibration, check, gptq
from conftest import GPTQ, contents


def logits(model):
    with torch.inference_mode():
        return model(torch.arange(5, 45).unsqueeze(0)).logits.float()


def test_two_builds_are_equal_byte_for_byte(tiny_gptq, tiny_model, world, tmp_path):
    gptq(model=tiny_model, data=world / "train.jsonl", out=tmp_path / "again", **GPTQ)
    assert contents(tmp_path / "again") == contents(tiny_gptq)


def test_the_folder_holds_its_settings_and_nothing_of_this_machine(tiny_gptq, tiny_model, world):
    files = contents(tiny_gptq)
    assert set(files) == {*contents(tiny_model), "quantize_config.json"}
    for name in ("quantize_config.json", "config.json"):
        settings = json.loads(files[name])
        settings = settings.get("quantization_config", settings)
        assert (settings["bits"], settings["group_size"], settings["desc_act"]) == (4, 128, False)
    assert files["chat_template.jinja"] == contents(tiny_model)["chat_template.jinja"]
    assert files["generation_config.json"] == contents(tiny_model)["generation_config.json"]
    assert not any(str(world).encode() in value or b"/tmp" in value for value in files.values())


def test_transformers_and_gptqmodel_load_it_and_agree_with_the_model(tiny_gptq, tiny_model):
    plain = logits(AutoModelForCausalLM.from_pretrained(tiny_model))
    by_transformers = logits(AutoModelForCausalLM.from_pretrained(tiny_gptq, dtype=torch.float32))
    by_gptqmodel = logits(GPTQModel.load(str(tiny_gptq), device="cpu").model)
    for found in (by_transformers, by_gptqmodel):
        assert torch.nn.functional.cosine_similarity(found, plain, dim=-1).mean() > 0.98
        assert not torch.equal(found, plain)


def test_calibration_rows_are_drawn_by_the_seed(tiny_model, world):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def draw(seed, rows=8, max_length=64):
        return calibration(world / "train.jsonl", tokenizer, rows=rows, max_length=max_length, seed=seed)

    assert draw(1) == draw(1) != draw(2)
    assert len(draw(1)) == 8
    assert len(draw(1, rows=1000)) == 48
    assert all(len(row["input_ids"]) == len(row["attention_mask"]) == 12 for row in draw(1, max_length=12))
    text = tokenizer.decode(draw(1)[0]["input_ids"])
    assert text.startswith("Human: \n")
    assert text.endswith("里</s>")


def test_a_file_without_rows_is_refused(tiny_model, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="none of its 0 rows"):
        gptq(model=tiny_model, data=tmp_path / "empty.jsonl", out=tmp_path / "out", **GPTQ)
    assert not (tmp_path / "out").exists()


def test_rows_too_short_to_calibrate_on_are_refused(tiny_model, world, tmp_path):
    with pytest.raises(InputError, match="calibration_max_length"):
        gptq(
            model=tiny_model,
            data=world / "train.jsonl",
            out=tmp_path / "out",
            **{**GPTQ, "calibration_max_length": 5},
        )


def test_a_quantised_model_is_not_quantised_again(tiny_gptq, world, tmp_path):
    with pytest.raises(InputError, match="quantised already"):
        gptq(model=tiny_gptq, data=world / "train.jsonl", out=tmp_path / "out", **GPTQ)


def test_a_group_size_that_does_not_fit_is_refused(tiny_model, world, tmp_path):
    with pytest.raises(InputError, match="hidden_size 128 does not part into groups of 256"):
        gptq(model=tiny_model, data=world / "train.jsonl", out=tmp_path / "out", **{**GPTQ, "group_size": 256})


def test_a_folder_with_plain_layers_is_not_taken_for_a_quantised_one(tiny_gptq, tiny_model):
    check(tiny_gptq)
    with pytest.raises(BelleError, match=r"not quantised: model\.layers\.0"):
        check(tiny_model)
