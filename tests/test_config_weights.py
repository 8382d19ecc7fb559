"""params.yaml's entries for converted, expanded and merged weights: what is declared, needed, and refused."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from belle import config
from belle.errors import InputError
from belle.needs import Needs

ROOT = Path(__file__).parents[1]


def values() -> dict:
    return yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))


def faults(tmp_path: Path, change) -> str:
    given = values()
    change(given)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(given, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        config.load(path)
    return str(caught.value)


def test_llama_is_declared_with_its_published_sizes():
    params = config.load(ROOT / "params.yaml")
    for name, hidden, layers, intermediate in (
        ("llama-7b", 4096, 32, 11008), ("llama-13b", 5120, 40, 13824), ("llama-33b", 6656, 60, 17920),
        ("llama-65b", 8192, 80, 22016),
    ):  # fmt: skip
        layer = 4 * hidden * hidden + 3 * hidden * intermediate + 2 * hidden
        count = 2 * 32000 * hidden + layers * layer + hidden
        assert params.bases[name].parameters == count
        assert params.bases[name].disk_gb == pytest.approx(count * 2 / 1e9, rel=0.01)


def test_published_vocabularies_are_declared():
    params = config.load(ROOT / "params.yaml")
    recipes = {name: params.vocabulary[params.bases[name].vocabulary] for name in params.bases
               if params.bases[name].kind == "expanded"}  # fmt: skip
    assert recipes["llama-7b-belle-25k"].pieces == 25_000
    assert recipes["llama-7b-belle-25k"].character_coverage == 0.9995
    assert recipes["llama-7b-belle-50k"].pieces == 50_000
    assert recipes["llama-7b-belle-50k"].held_out == 5_000
    assert recipes["llama-7b-cla"].pieces == 20_000
    assert recipes["llama-7b-cla-pad"] == recipes["llama-7b-cla"].model_copy(update={"pad_token": "[PAD]"})
    assert not any("llama" in path or "expanded" in path for path in params.default_artifacts())


def test_every_fault_of_the_new_entries_is_told(tmp_path):
    def change(given):
        given["bases"]["llama-7b"]["convert"] = "lama"
        given["bases"]["llama-7b-cla"]["base"] = "llama-7"
        given["bases"]["llama-7b-cla"]["vocabulary"] = "claa"
        given["models"]["belle-tiny-merged"]["merge"] = "fp32"
        given["models"]["belle-tiny-merged"]["adapters"] = ["belle-tiny-lor", "downloads/anything"]
        given["models"]["chinese-llama-7b"]["base"] = "llama-7bb"
        given["bases"]["x-meta"] = given["bases"]["tiny-base"]

    message = faults(tmp_path, change)
    assert "7 faults" in message
    for said in (
        "bases.llama-7b.convert: unknown recipe of convert 'lama'; did you mean 'llama'?",
        "bases.llama-7b-cla.base: unknown base or model 'llama-7'; did you mean 'llama-7b'?",
        "bases.llama-7b-cla.vocabulary: unknown recipe of vocabulary 'claa'",
        "models.belle-tiny-merged.merge: unknown recipe of merge 'fp32'",
        "models.belle-tiny-merged.adapters: unknown model 'belle-tiny-lor'; did you mean 'belle-tiny-lora'?",
        "models.chinese-llama-7b.base: unknown base or model 'llama-7bb'",
        "bases.x-meta: a name must not end in -gptq or -enc or -diff or -meta",
    ):
        assert said in message, said


def test_values_out_of_range_are_told_with_their_lines(tmp_path):
    def change(given):
        given["vocabulary"]["tiny"]["pieces"] = 3
        given["vocabulary"]["tiny"]["character_coverage"] = 0.5
        given["vocabulary"]["tiny"] |= {"pad_token": "a b"}
        given["merge"]["tiny"]["dtype"] = "fp16"
        given["unconvert"]["shards"] = 0
        given["models"]["belle-tiny-merged"]["adapters"] = []
        given["bases"]["llama-7b"]["tokenizer"] = ["a", "b"]
        given["bases"]["llama-7b"]["sources"] = "x"

    message = faults(tmp_path, change)
    assert "8 faults" in message
    for key in ("vocabulary.tiny.pieces", "vocabulary.tiny.character_coverage", "vocabulary.tiny.pad_token",
                "merge.tiny.dtype", "unconvert.shards", "models.belle-tiny-merged.adapters",
                "bases.llama-7b.tokenizer"):  # fmt: skip
        assert re.search(rf"line \d+: {re.escape(key)}: ", message), key
    assert "bases.llama-7b.sources: unknown key; did you mean 'source'?" in message


def test_nothing_rests_on_itself(tmp_path):
    def change(given):
        given["bases"]["llama-7b-cla"]["base"] = "llama-7b-cla-pad"
        given["bases"]["llama-7b-cla-pad"]["base"] = "llama-7b-cla"
        given["models"]["belle-tiny-lora"]["base"] = "belle-tiny-merged"

    message = faults(tmp_path, change)
    assert "bases.llama-7b-cla.base: a base cannot rest on itself" in message
    assert "models.belle-tiny-lora.base: a model cannot be trained on itself" in message
    assert "models.belle-tiny-merged.base: a model cannot be trained on itself" in message


def test_what_full_scale_needs_and_the_tiny_world_does_not():
    params = config.load(ROOT / "params.yaml")
    needs = Needs(params)
    at = {name: SimpleNamespace(base=name, model=name) for name in (*params.bases, *params.models)}
    assert needs.convert_disk_gb(at["llama-65b"]) == 131
    assert 1000 < needs.convert_mem_mb(at["llama-7b"]) < 3000
    assert needs.convert_mem_mb(at["llama-65b"]) < 5000, "a tensor's memory, not the model's"
    largest = 49_954 * 4096 * 4 / 1e6  # embeddings of Chinese-Alpaca in float32
    assert 2 * largest < needs.merge_mem_mb(at["chinese-alpaca-7b"]) < 4 * largest
    assert needs.merge_disk_gb(at["chinese-alpaca-7b"]) == 13
    grown = params.parameters("llama-7b-cla")
    assert grown == pytest.approx(6738415616 + 2 * 20_000 * 4096, rel=1e-3)
    assert needs.vocabulary_disk_gb(at["llama-7b-cla"]) == 14
    assert needs.vocabulary_mem_mb(at["llama-7b-cla"]) > needs.vocabulary_mem_mb(at["tiny-base-expanded"]) == 1000
    assert needs.convert_disk_gb(at["tiny-base-converted"]) == needs.merge_disk_gb(at["belle-tiny-merged"]) == 0
    assert needs.convert_mem_mb(at["tiny-base-converted"]) == 1000


def test_the_data_behind_a_merged_model_are_those_of_its_adapters():
    params = config.load(ROOT / "params.yaml")
    assert params.datasets_behind("belle-tiny-merged") == {"tiny": ["models.belle-tiny-merged.dataset"]}
    given = values()
    given["models"]["belle-tiny-lora"]["dataset"] = "tiny-math"
    changed = config.Params.model_validate(given)
    assert changed.datasets_behind("belle-tiny-merged") == {
        "tiny-math": ["models.belle-tiny-merged.adapters", "models.belle-tiny-lora.dataset"],
        "tiny": ["models.belle-tiny-merged.dataset"],
    }
