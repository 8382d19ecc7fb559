"""Merging is peft's `merge_and_unload` to float error, within a memory said before; wrong adapters have names."""

import json
import os
import re
import shutil

import llama_world
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from belle.errors import BelleError, InputError
from belle.weights.adapter import Adapter
from belle.weights.hf import HFModel
from belle.weights.merge import Merge, merge

MERGE = {"dtype": "base", "max_shard_gb": 5.0, "threads": 1}
LLAMA = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    llama_world.tokenizer(path, 340)
    return path


def llama(folder, pieces=None, *, vocabulary=340, tied=False, dtype=torch.float32, seed=0, **changed):
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(**{**LLAMA, **changed}, vocab_size=vocabulary, tie_word_embeddings=tied, dtype=dtype)
    ).to(dtype)
    model.save_pretrained(folder)
    if pieces:
        shutil.copyfile(pieces, folder / "tokenizer.model")
    return folder


def adapter(base, folder, *, r=4, seed=1, resize=0, **settings):
    """Train nothing, but fill every trainable weight with numbers, as a training would."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if resize:
        model.resize_token_embeddings(resize)
    torch.manual_seed(seed)
    peft = get_peft_model(
        model, LoraConfig(**{"task_type": "CAUSAL_LM", "r": r, "lora_alpha": 8, "target_modules": SEVEN, **settings})
    )
    for value in peft.parameters():
        if value.requires_grad:
            value.data = torch.randn_like(value) * 0.1
    peft.save_pretrained(folder)
    return folder


def by_peft(base, *adapters, resize=0, dtype=torch.float32):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    if resize:
        model.resize_token_embeddings(resize)
    for path in adapters:
        model = PeftModel.from_pretrained(model, path).merge_and_unload()
    return model


def compare(out, model, tolerance=2e-6):
    loaded = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ids = torch.arange(3, 33)[None] % model.config.vocab_size
    with torch.inference_mode():
        expected, found = model.eval()(ids).logits, loaded.eval()(ids).logits
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 20 * tolerance * expected.abs().max()
    states = loaded.state_dict(), model.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        assert (states[0][name] - value).abs().max() <= tolerance * value.abs().max(), name
    return loaded


def far(out, base):
    """How much the merge changed, so that a merge that does nothing cannot pass."""
    one, other = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).state_dict() for path in (out, base))
    return max(float((one[name] - other[name]).abs().max()) for name in one if one[name].shape == other[name].shape)


@pytest.mark.parametrize("settings", [
    {}, {"use_rslora": True}, {"target_modules": ["q_proj", "v_proj"]}, {"alpha_pattern": {"v_proj": 32}},
    {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 5}},
    {"modules_to_save": ["embed_tokens", "lm_head"]}, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    {"target_modules": "all-linear"},
])  # fmt: skip
@pytest.mark.parametrize("size", [5.0, 2e-5])
def test_one_adapter(tmp_path, pieces, settings, size):
    base = llama(tmp_path / "base", pieces)
    lora = adapter(base, tmp_path / "lora", **settings)
    merge(base=base, adapters=[lora], out=tmp_path / "out", **{**MERGE, "max_shard_gb": size})
    assert (len(list((tmp_path / "out").glob("*.safetensors"))) > 1) == (size < 1)
    compare(tmp_path / "out", by_peft(base, lora))
    assert far(tmp_path / "out", base) > 0.05


def test_several_in_order(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces)
    one = adapter(base, tmp_path / "one", modules_to_save=["embed_tokens", "lm_head"])
    two = adapter(base, tmp_path / "two", r=2, seed=2, modules_to_save=["lm_head"])
    three = adapter(base, tmp_path / "three", r=3, seed=3, target_modules=["q_proj", "embed_tokens"])
    merge(base=base, adapters=[one, two, three], out=tmp_path / "out", **MERGE)
    compare(tmp_path / "out", by_peft(base, one, two, three))
    merge(base=base, adapters=[two, three, one], out=tmp_path / "other", **MERGE)
    compare(tmp_path / "other", by_peft(base, two, three, one))
    assert far(tmp_path / "out", tmp_path / "other") > 0.05, "the order shows"


@pytest.mark.parametrize("changed", ["lm_head", "embed_tokens", "both"])
@pytest.mark.parametrize("whole", [False, True])
def test_tied_embeddings_part_where_an_adapter_changes_one(tmp_path, pieces, changed, whole):
    base = llama(tmp_path / "base", pieces, tied=True)
    names = ["embed_tokens", "lm_head"] if changed == "both" else [changed]
    settings = {"modules_to_save": names} if whole else {"target_modules": ["q_proj", *names]}
    lora = adapter(base, tmp_path / "lora", **settings)
    merge(base=base, adapters=[lora], out=tmp_path / "out", **MERGE)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    trained = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora).eval()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.arange(3, 33)[None]
    with torch.inference_mode():
        expected, found = trained(ids).logits, loaded(ids).logits
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max(), "the model that was trained"


def test_tied_embeddings_stay_tied_otherwise(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces, tied=True)
    lora = adapter(base, tmp_path / "lora")
    merge(base=base, adapters=[lora], out=tmp_path / "out", **MERGE)
    assert "lm_head.weight" not in load_file(tmp_path / "out" / "model.safetensors")
    compare(tmp_path / "out", by_peft(base, lora))


def test_a_larger_vocabulary_as_chinese_llama_alpaca_has(tmp_path, pieces):
    """Two adapters, the second with one token more (a pad), each with its tokenizer beside it."""
    base = llama(tmp_path / "base", pieces)
    lines = [*llama_world.SENTENCES, "今天天气很好我们去公园", "天气预报说今天有雨"]
    count = llama_world.tokenizer(tmp_path / "larger.model", 370, lines=lines)
    one = adapter(base, tmp_path / "one", resize=count, modules_to_save=["embed_tokens", "lm_head"])
    two = adapter(base, tmp_path / "two", resize=count + 1, seed=2, modules_to_save=["embed_tokens", "lm_head"])
    for folder in (one, two):
        shutil.copyfile(tmp_path / "larger.model", folder / "tokenizer.model")
        for path in folder.glob("tokenizer*.json"):
            path.unlink()
    (two / "added_tokens.json").write_text(json.dumps({"[PAD]": count}), encoding="utf-8")
    (two / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}), encoding="utf-8")
    merge(base=base, adapters=[one, two], out=tmp_path / "out", **MERGE)
    expected = by_peft(base, one, resize=count)
    expected.resize_token_embeddings(count + 1)
    expected = PeftModel.from_pretrained(expected, two).merge_and_unload()
    compare(tmp_path / "out", expected)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == count + 1
    assert tokenizer.pad_token_id == count
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == count + 1

    (two / "added_tokens.json").unlink()  # now the tokenizer is Chinese-LLaMA's
    message = refused(tmp_path, base, one, two)
    assert f"has {count} tokens, the merged embeddings would have {count + 1} rows" in message
    bare = adapter(base, tmp_path / "bare", seed=5)  # low-rank pairs alone fit any vocabulary
    shutil.copyfile(tmp_path / "larger.model", bare / "tokenizer.model")
    message = refused(tmp_path, base, bare)
    assert f"has {count} tokens, the merged embeddings would have 340 rows" in message
    assert "49,953" in message


@pytest.mark.parametrize(
    ("stored", "dtype"), [(torch.float16, "base"), (torch.bfloat16, "base"), (torch.bfloat16, "float16")]
)
def test_half_precision_is_rounded_once(tmp_path, pieces, stored, dtype):
    base = llama(tmp_path / "base", pieces, dtype=stored)
    one = adapter(base, tmp_path / "one")
    two = adapter(base, tmp_path / "two", seed=2)
    merge(base=base, adapters=[one, two], out=tmp_path / "out", **{**MERGE, "dtype": dtype})
    exact = by_peft(base, one, two).double().state_dict()
    own = by_peft(base, one, two, dtype=stored).double().state_dict()
    written = getattr(torch, dtype) if dtype != "base" else stored
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for value in found.values()} == {written}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(written)[6:]
    ours = theirs = 0.0
    for name, value in found.items():
        assert (value.double() - exact[name]).abs().max() <= torch.finfo(written).eps * exact[name].abs().max(), name
        ours += float((value.double() - exact[name]).square().sum())
        theirs += float((own[name] - exact[name]).square().sum())
    if dtype == "base":
        assert ours < theirs, "summing in half precision, as peft does on a half-precision base, is further off"


def test_bloom_whose_hub_files_lack_the_prefix(tmp_path):
    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4))
    model.save_pretrained(tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    save_file({name.removeprefix("transformer."): value for name, value in load_file(path).items()}, path,
              metadata={"format": "pt"})  # fmt: skip
    lora = adapter(tmp_path / "base", tmp_path / "lora", target_modules=["query_key_value"])
    merge(base=tmp_path / "base", adapters=[lora], out=tmp_path / "out", **MERGE)
    compare(tmp_path / "out", by_peft(tmp_path / "base", lora))


def test_a_model_of_ours_with_its_adapter_in_it(tmp_path, world, tiny_base):
    from belle.train.sft import sft
    from conftest import SFT

    sft(base=tiny_base, data=world / "train.jsonl", out=tmp_path / "lora", checkpoints=tmp_path / "c",
        **{**SFT, "lora_r": 8, "num_train_epochs": 1.0})  # fmt: skip
    merge(base=tiny_base, adapters=[tmp_path / "lora"], out=tmp_path / "out", **MERGE)
    compare(tmp_path / "out", AutoModelForCausalLM.from_pretrained(tmp_path / "lora"))
    names = {path.name for path in (tmp_path / "lora").iterdir()} - {"adapter"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tmp_path / "lora" / "tokenizer.json").read_bytes()


def refused(tmp_path, base, *adapters, error=InputError, **changed) -> str:
    out = tmp_path / "refused"
    with pytest.raises(error) as caught:
        merge(base=base, adapters=list(adapters), out=out, **{**MERGE, **changed})
    assert not out.exists()
    assert not list(tmp_path.glob(".refused*"))
    return str(caught.value)


def test_adapters_that_hold_nothing(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces)
    lora = adapter(base, tmp_path / "lora")
    whole = load_file(lora / "adapter_model.safetensors")
    (lora / "adapter_model.safetensors").unlink()
    assert "no adapter_model.safetensors or adapter_model.bin" in refused(tmp_path, base, lora)
    for zipped in (True, False):
        torch.save({}, lora / "adapter_model.bin", _use_new_zipfile_serialization=zipped)
        size = (lora / "adapter_model.bin").stat().st_size
        assert size < 1500, "of the kind that users know, with 443 bytes"
        assert f"an adapter of {size} bytes that holds no values" in refused(tmp_path, base, lora)
    (lora / "adapter_model.bin").unlink()
    save_file({name: torch.zeros(0) for name in whole}, lora / "adapter_model.safetensors")
    assert "holds no values" in refused(tmp_path, base, lora)
    save_file({**whole, next(iter(whole)): torch.zeros(0)}, lora / "adapter_model.safetensors")
    assert "has the shape [0], no value" in refused(tmp_path, base, lora)
    zero = {name: torch.zeros_like(value) if "lora_B" in name else value for name, value in whole.items()}
    save_file(zero, lora / "adapter_model.safetensors")
    assert "the norm of the adapter is 0: all 14 of its B matrices are" in refused(tmp_path, base, lora)
    first = next(name for name in whole if "lora_B" in name)
    save_file({**whole, first: whole[first] * float("nan")}, lora / "adapter_model.safetensors")
    assert "NaN" in refused(tmp_path, base, lora)
    save_file({name: value for name, value in whole.items() if name != first}, lora / "adapter_model.safetensors")
    assert "has one half of its pair only" in refused(tmp_path, base, lora)
    (lora / "adapter_model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert "cannot be read as weights" in refused(tmp_path, base, lora)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "`peft_type` is 'PREFIX_TUNING'"),
        ({"lora_alpha": "16"}, "`lora_alpha` must be a number above 0, found '16'"),
        ({"use_dora": True}, "`use_dora` is set"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save names embed_tokens, the file holds no such module"),
    ],
)
def test_adapter_configs_that_cannot_be_merged(tmp_path, pieces, changed, said):
    base = llama(tmp_path / "base", pieces)
    lora = adapter(base, tmp_path / "lora")
    config = json.loads((lora / "adapter_config.json").read_text())
    (lora / "adapter_config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
    assert said in refused(tmp_path, base, lora)


def test_what_is_no_adapter_or_no_base(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces)
    lora = adapter(base, tmp_path / "lora")
    assert "a whole model, where an adapter is meant" in refused(tmp_path, base, base)
    assert "an adapter, where the model under it is meant" in refused(tmp_path, lora, lora)
    assert "no adapter_config.json in it" in refused(tmp_path, base, tmp_path / "nowhere")
    meta = llama_world.write(tmp_path / "meta", llama_world.params(), llama_world.weights(llama_world.params(), 340), 1)
    assert "a folder in Meta's layout" in refused(tmp_path, meta, lora)
    assert "no adapter is named" in refused(tmp_path, base)
    (lora / "adapter_config.json").write_text("[]", encoding="utf-8")
    assert "no JSON object" in refused(tmp_path, base, lora)


def test_adapters_of_other_bases(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces)
    wide = llama(tmp_path / "wide", pieces, hidden_size=64)
    deep = llama(tmp_path / "deep", pieces, num_hidden_layers=3)
    message = refused(tmp_path, base, adapter(wide, tmp_path / "lora-wide"))
    assert "model.layers.0.mlp.down_proj.weight is [32, 48] in the base, [64, 48] in the adapter" in message
    message = refused(tmp_path, base, adapter(deep, tmp_path / "lora-deep"))
    assert "the base has no model.layers.2." in message
    saved = adapter(wide, tmp_path / "lora-saved", modules_to_save=["embed_tokens", "lm_head"])
    message = refused(tmp_path, base, saved)
    assert "in the adapter, the base is 32 wide" in message
    half = adapter(base, tmp_path / "half", resize=350, modules_to_save=["embed_tokens"])
    state = load_file(half / "adapter_model.safetensors")
    state.pop("base_model.model.lm_head.weight")
    save_file(state, half / "adapter_model.safetensors")
    assert "the embeddings would have 350 rows, the head 340" in refused(tmp_path, base, half)


def test_bases_that_are_not_whole(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces)
    lora = adapter(base, tmp_path / "lora")
    model = AutoModelForCausalLM.from_pretrained(base)
    sharded = tmp_path / "sharded"
    model.save_pretrained(sharded, max_shard_size="30KB")
    merge(base=sharded, adapters=[lora], out=tmp_path / "whole", **MERGE)
    lost = sorted(sharded.glob("*.safetensors"))[1]
    content = lost.read_bytes()
    lost.unlink()
    assert f"that model.safetensors.index.json names are not here: {lost.name}" in refused(tmp_path, sharded, lora)
    (sharded / "model.safetensors.index.json").unlink()
    assert re.search(r"\d of \d files named model-…-of-", refused(tmp_path, sharded, lora))
    lost.write_bytes(content[:-100])
    assert "cannot be read as weights" in refused(tmp_path, sharded, lora)
    bins = tmp_path / "bins"
    bins.mkdir()
    shutil.copyfile(base / "config.json", bins / "config.json")
    torch.save(model.state_dict(), bins / "pytorch_model.bin")
    torch.save({"lr": 1}, bins / "training_args.bin")
    merge(base=bins, adapters=[lora], out=tmp_path / "from-bin", **MERGE)
    compare(tmp_path / "from-bin", by_peft(base, lora))


def test_a_merge_that_overflows_float16(tmp_path, pieces):
    base = llama(tmp_path / "base", pieces)
    state = load_file(base / "model.safetensors")
    state["model.layers.1.self_attn.v_proj.weight"][0, 0] = 1e5
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    lora = adapter(base, tmp_path / "lora")
    message = refused(tmp_path, base, lora, error=BelleError, dtype="float16")
    assert "model.layers.1.self_attn.v_proj.weight holds 1 values" in message
    assert "float16 cannot hold" in message


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc, which is not here")
@pytest.mark.parametrize("dtype", ["base", "float16"])
def test_the_memory_is_what_was_said(tmp_path, dtype):
    """A model of 260 MB whose largest tensor has 16 MB is merged in the memory of that tensor, not of the model."""
    base = llama(tmp_path / "base", vocabulary=4000, hidden_size=1024, intermediate_size=2048, num_hidden_layers=7,
                 num_attention_heads=8, num_key_value_heads=8)  # fmt: skip
    lora = adapter(base, tmp_path / "lora")
    merged = Merge(HFModel(base), [Adapter(lora)], dtype)
    said, total = merged.memory, merged.base.tensors.bytes
    del merged
    measured = llama_world.peak_of(
        "from belle.weights.merge import merge",
        f"merge(base=Path({str(base)!r}), adapters=[Path({str(lora)!r})], out=Path({str(tmp_path / 'out')!r}),"
        f" dtype={dtype!r}, max_shard_gb=5.0, threads=1)",
    )
    assert total > 250e6
    assert 0.3 * said < measured < 1.25 * said, (said, measured)
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert len(list(file.keys())) == 7 * 9 + 3
