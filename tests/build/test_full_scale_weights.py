"""LLaMA and what is made of it: planned without Meta's weights, and refused with all that is missing."""

import re

from trials.worlds import World


def test_a_plan_needs_none_of_what_a_person_has_to_bring(checkout):
    text = (
        World(checkout).run("snakemake", "-n", "-p", "models/llama-7b-cla-pad", "models/chinese-alpaca-plus-7b").stdout
    )
    for rule in ("convert", "vocabulary", "merge"):
        assert f"rule {rule}:" in text
    assert "--pieces 20000 --character_coverage 0.9995" in text
    assert "--pad_token '[PAD]'" in text
    assert "--dtype float16" in text


def test_a_build_stops_and_names_each_file(checkout):
    world = World(checkout)
    ended = world.run("snakemake", "models/llama-7b-cla", "models/chinese-alpaca-plus-7b", check=False)
    assert ended.returncode == 1
    assert "nothing was started" in ended.stdout
    plus = "downloads/chinese-llama-plus-lora-7b, downloads/chinese-alpaca-plus-lora-7b"
    for path in ("downloads/llama/7B, downloads/llama/tokenizer.model for models/llama-7b",
                 "downloads/corpus/zh.jsonl for models/llama-7b-cla",
                 f"{plus} for models/chinese-alpaca-plus-7b"):  # fmt: skip
        assert path in ended.stdout, path
    assert "Traceback" not in ended.stdout
    assert not (checkout / "models").exists()


def test_models_on_larger_vocabularies_are_planned_with_hours_memory_and_disk(checkout):
    world = World(checkout)
    targets = ["models/chinese-alpaca-7b-anew", "models/belle-llama-ext-13b", "models/belle-llama-7b-2m-gptq"]
    text = world.run("belle", "plan", *targets).stdout
    for stage in (
        "pretrain-chinese-llama-7b-stage1", "pretrain-chinese-llama-7b-stage2", "sft-chinese-alpaca-7b-anew",
        "pretrain-belle-llama-ext-13b-base", "sft-belle-llama-ext-13b", "gptq-belle-llama-7b-2m",
    ):  # fmt: skip
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [stage]]
        assert re.search(r" \d+\.\d +\d+\.\d GB ", line), "hours, and disk"
    for model in ("models/chinese-alpaca-7b-anew", "models/belle-llama-ext-13b", "models/belle-llama-7b-2m"):
        assert re.search(rf"note +{model}: \d+\.\d GB on each of 8 GPU\(s\)", text)
    ended = world.run("snakemake", targets[0], check=False)
    assert ended.returncode == 1
    assert "downloads/corpus/zh.jsonl for models/llama-7b-cla" in ended.stdout
    assert "downloads/corpus/zh.jsonl for models/chinese-llama-7b-stage1" in ended.stdout
    assert not (checkout / "models").exists()
