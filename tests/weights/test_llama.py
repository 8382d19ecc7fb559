"""Meta's layout to Hugging Face's and back: the same logits, the same tensors, and a cause for every wrong folder."""

import json
import os
import pickle
import shutil

import llama_world
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle.errors import BelleError, InputError
from belle.weights.convert import COPIES, convert
from belle.weights.digest import digest_of, first_difference
from belle.weights.tensors import WeightFile
from belle.weights.unconvert import unconvert

CONVERT = {"tokenizer": None, "context_length": 64, "max_shard_gb": 5.0}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    assert llama_world.tokenizer(path, 340) == 340
    return path


@pytest.fixture
def made(tmp_path, pieces):
    """Write a model of Meta's into a folder and say what it was made of."""

    def make(name="meta", shards=1, seed=0, dtype=torch.float32, by_rows=False, **changed):
        p = llama_world.params(**changed)
        whole = llama_world.weights(p, 340, seed, dtype)
        folder = llama_world.write(tmp_path / name, p, whole, shards, by_rows=by_rows)
        shutil.copyfile(pieces, folder / "tokenizer.model")
        return folder, p, whole

    return make


def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        return model(ids[None]).logits[0]


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("changed", [{}, {"n_kv_heads": 4, "n_heads": 8, "dim": 64}, {"rope_theta": 1e6},
                                     {"ffn_dim_multiplier": 1.3, "norm_eps": 1e-6}])  # fmt: skip
def test_the_logits_are_those_of_meta_s_own_way(tmp_path, made, shards, changed):
    folder, p, whole = made(shards=shards, **changed)
    convert(source=folder, out=tmp_path / "hf", **CONVERT)
    ids = torch.arange(3, 43) * 7 % 340
    expected = llama_world.forward(p, whole, ids)
    found = logits(tmp_path / "hf", ids)
    assert expected.std() > 0.5
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()  # rotary tables are float32 in transformers
    shuffled = llama_world.forward(p, {**whole, "layers.0.attention.wq.weight": whole["layers.0.attention.wq.weight"]
                                       .flip(0)}, ids)  # fmt: skip
    assert (found - shuffled).abs().max() > 1e-2 * expected.abs().max(), "the order of query rows shows"


@pytest.mark.parametrize("by_rows", [False, True])
def test_embeddings_cut_by_rows_or_by_columns(tmp_path, made, by_rows):
    folder, _, whole = made(shards=2, by_rows=by_rows)
    convert(source=folder, out=tmp_path / "hf", **CONVERT)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert torch.equal(model.model.embed_tokens.weight, whole["tok_embeddings.weight"])
    assert torch.equal(model.lm_head.weight, whole["output.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_number_of_shards_and_files_changes_no_tensor(tmp_path, made, dtype):
    digests = set()
    for shards, size in ((1, 5.0), (2, 5.0), (4, 5.0), (4, 1e-5), (1, 3e-5)):
        folder, _, _ = made(f"meta{shards}", shards=shards, dtype=dtype)
        out = tmp_path / f"hf{shards}-{size}"
        convert(source=folder, out=out, **{**CONVERT, "max_shard_gb": size})
        digests.add(digest_of(out).sha256)
        files = [WeightFile(path) for path in out.glob("*.safetensors")]
        assert (len(files) == 1) == (size == 5.0)
        for file in files:
            assert len(file.specs) == 1 or sum(spec.bytes for spec in file.specs.values()) <= size * 1e9
        loaded = AutoModelForCausalLM.from_pretrained(out)
        assert loaded.dtype == dtype
    assert len(digests) == 1


def test_and_back(tmp_path, made):
    folder, _, whole = made(shards=2, n_heads=8, n_kv_heads=4, dim=64)
    convert(source=folder, out=tmp_path / "hf", **CONVERT)
    unconvert(model=tmp_path / "hf", out=tmp_path / "meta4", shards=4)
    assert len(list((tmp_path / "meta4").glob("consolidated.*.pth"))) == 4
    parts = [torch.load(path) for path in sorted((tmp_path / "meta4").glob("*.pth"))]
    for name, value in whole.items():
        cut = 1 if name.endswith(("wo.weight", "w2.weight", "tok_embeddings.weight")) else 0
        put = parts[0][name] if value.dim() == 1 else torch.cat([part[name] for part in parts], cut)
        assert torch.equal(put, value), name
    convert(source=tmp_path / "meta4", out=tmp_path / "again", **CONVERT)
    assert first_difference(digest_of(tmp_path / "hf"), digest_of(tmp_path / "again")) is None


def test_the_same_bytes_again(tmp_path, made):
    from conftest import contents

    folder, _, _ = made(shards=2)
    for name in ("one", "two"):
        convert(source=folder, out=tmp_path / name, **CONVERT)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert str(tmp_path).encode() not in b"".join(contents(tmp_path / "one").values())


def test_the_tokenizer_speaks_as_sentencepiece_does(tmp_path, made, pieces):
    import sentencepiece

    folder, _, _ = made()
    convert(source=folder, out=tmp_path / "hf", **CONVERT)
    slow = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    fast = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in (
        "the text",
        " the text",
        "  two  spaces ",
        "你好，世界",
        "🙂👨‍👩‍👧",
        "a\nb\t c",
        "12,345",
        "",
        " ",
        "\u3000x\r\n",
    ):
        assert fast.encode(text, add_special_tokens=False) == slow.encode(text), text
        assert fast.encode(text) == [1, *slow.encode(text)]
        assert fast.decode(slow.encode(text)) == slow.decode(slow.encode(text)), text
    assert (fast.bos_token, fast.eos_token, fast.unk_token, fast.pad_token) == ("<s>", "</s>", "<unk>", None)


def refused(tmp_path, source, error=InputError, **changed) -> str:
    out = tmp_path / "out"
    with pytest.raises(error) as caught:
        convert(source=source, out=out, **{**CONVERT, **changed})
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))
    return str(caught.value)


def test_a_missing_shard(tmp_path, made):
    folder, _, _ = made(shards=4)
    (folder / "consolidated.03.pth").unlink()
    assert "3 shard(s) of 4: consolidated.03.pth missing" in refused(tmp_path, folder)
    (folder / "consolidated.01.pth").unlink()
    assert "consolidated.01.pth missing beside consolidated.02.pth" in refused(tmp_path, folder)
    for path in folder.glob("*.pth"):
        path.unlink()
    assert "no consolidated.NN.pth" in refused(tmp_path, folder)


def test_shards_of_two_models(tmp_path, made):
    folder, _, _ = made(shards=2)
    wider, _, _ = made("wider", shards=2, dim=64)
    other, _, _ = made("other", shards=2, seed=1)
    shutil.copyfile(wider / "consolidated.01.pth", folder / "consolidated.01.pth")
    message = refused(tmp_path, folder)
    assert "shards of two models" in message
    assert "wk.weight is float32 [16, 32] in consolidated.00.pth and float32 [32, 64] in consolidated.01.pth" in message
    shutil.copyfile(other / "consolidated.01.pth", folder / "consolidated.01.pth")
    message = refused(tmp_path, folder)
    assert "shards of two models: norm.weight is the same in all shards of one model" in message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_layers": 3}, "params.json says n_layers 3, the shards hold 2 layers"),
        ({"dim": 64}, "params.json says dim 64, the shards hold norms of 32"),
        ({"n_heads": 8}, "params.json says 8 heads of 4, the shards hold rotary frequencies of heads of 8"),
        ({"n_heads": 5}, "params.json says 5 heads"),
        ({"multiple_of": 64}, "feed_forward.w1 of 128 × 32"),
        ({"n_kv_heads": 2}, "attention.wk of 16 × 32"),
        ({"dim": "32"}, "`dim` must be a whole number above 0, found '32'"),
        ({"norm_eps": None}, "`norm_eps` must be a number above 0, found None"),
        ({"rope_theta": -1}, "`rope_theta` must be a number above 0, found -1"),
    ],
)
def test_a_params_json_of_another_model(tmp_path, made, changed, said):
    folder, p, _ = made()
    (folder / "params.json").write_text(json.dumps({**p, **changed}), encoding="utf-8")
    assert said in refused(tmp_path, folder)


def test_a_params_json_that_is_none(tmp_path, made):
    folder, _, _ = made()
    (folder / "params.json").write_text("{", encoding="utf-8")
    assert "params.json: not JSON" in refused(tmp_path, folder)
    (folder / "params.json").write_text("[1]", encoding="utf-8")
    assert "a list where an object is meant" in refused(tmp_path, folder)


def test_a_tokenizer_of_another_model(tmp_path, made):
    folder, _, _ = made()
    llama_world.tokenizer(tmp_path / "other.model", 330)
    message = refused(tmp_path, folder, tokenizer=tmp_path / "other.model")
    assert "the tokenizer has 330 tokens, tok_embeddings.weight has 340 rows" in message
    (tmp_path / "other.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    message = refused(tmp_path, folder, tokenizer=tmp_path / "other.model")
    assert "not a sentencepiece model" in message
    assert "Git LFS pointer" in message
    (folder / "tokenizer.model").rename(folder.parent / "tokenizer.model")
    assert "no tokenizer.model in it, but one in the folder above" in refused(tmp_path, folder)


def test_damaged_files(tmp_path, made):
    folder, _, _ = made(shards=2)
    path = folder / "consolidated.01.pth"
    whole = path.read_bytes()
    for content, said in (
        (whole[: len(whole) // 2], "cannot be read as weights"),
        (b"", "cannot be read as weights (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (pickle.dumps({"a": 1}, protocol=2), "cannot be read as weights"),
        (b"garbage", "cannot be read as weights (7 bytes)"),
    ):
        path.write_bytes(content)
        message = refused(tmp_path, folder)
        assert said in message, message
        assert "consolidated.01.pth" in message
    torch.save({"model": [1, 2]}, path)
    assert "not a mapping of names to tensors, found 'model'" in refused(tmp_path, folder)


def test_a_pickle_that_would_run_code(tmp_path, made):
    class Bad:
        def __reduce__(self):
            return print, ("it ran",)

    folder, _, _ = made()
    torch.save({"x": Bad()}, folder / "consolidated.00.pth")
    message = refused(tmp_path, folder)
    assert "a pickle that asks for print, no tensor" in message
    assert "would run code" in message


def test_folders_of_other_kinds(tmp_path, made):
    folder, _, _ = made()
    convert(source=folder, out=tmp_path / "hf", **CONVERT)
    message = refused(tmp_path, tmp_path / "hf")
    assert "a folder in Hugging Face's layout" in message
    assert "kind `hub`" in message
    assert "no such folder" in refused(tmp_path, tmp_path / "nowhere")
    above = tmp_path / "above"
    shutil.copytree(folder, above / "7B")
    shutil.copyfile(folder / "tokenizer.model", above / "tokenizer.model")
    assert "no params.json in this folder, but in 7B" in refused(tmp_path, above)
    foreign = tmp_path / "foreign"
    shutil.copytree(folder, foreign)
    torch.save({"gpt.weight": torch.zeros(2)}, foreign / "consolidated.00.pth")
    assert "no tok_embeddings.weight in it" in refused(tmp_path, foreign)


def test_nan_in_a_shard(tmp_path, made):
    folder, _, whole = made()
    whole["layers.1.feed_forward.w2.weight"][3, 5] = float("nan")
    torch.save({**whole, "rope.freqs": torch.ones(4)}, folder / "consolidated.00.pth")
    message = refused(tmp_path, folder, BelleError)
    assert "model.layers.1.mlp.down_proj.weight holds 1 values" in message


def test_too_little_memory_or_disk_is_said_before_the_work(tmp_path, made, monkeypatch):
    import psutil

    folder, _, _ = made()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Free", (), {"available": 1000}))
    assert "GB of memory, 0.0 GB are free" in refused(tmp_path, folder, BelleError)
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Free", (), {"free": 1000}))
    assert "bytes of disk, 1,000 are free" in refused(tmp_path, folder, BelleError)


@pytest.mark.parametrize(
    ("changed", "said"), [({"model_type": "bloom"}, "type 'bloom'"), ({"attention_bias": True}, "biases: True")]
)
def test_what_cannot_be_laid_out_as_meta_does(tmp_path, made, changed, said):
    folder, _, _ = made()
    convert(source=folder, out=tmp_path / "hf", **CONVERT)
    config = json.loads((tmp_path / "hf/config.json").read_text())
    (tmp_path / "hf/config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        unconvert(model=tmp_path / "hf", out=tmp_path / "out", shards=1)
    (tmp_path / "hf/config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="do not part into 3 shards"):
        unconvert(model=tmp_path / "hf", out=tmp_path / "out", shards=3)
    with pytest.raises(InputError, match="a folder in Meta's layout"):
        unconvert(model=folder, out=tmp_path / "out", shards=1)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_tensors_that_is_no_llama(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"no config\.json"):
        unconvert(model=tmp_path, out=tmp_path / "out", shards=1)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc, which is not here")
def test_converting_takes_three_of_the_largest_tensor(tmp_path, pieces):
    p = llama_world.params(dim=1024, n_layers=8, n_heads=8, multiple_of=256)
    folder = llama_world.write(tmp_path / "meta", p, llama_world.weights(p, 340), 2)
    shutil.copyfile(pieces, folder / "tokenizer.model")
    measured = llama_world.peak_of(
        "from belle.weights.convert import convert",
        f"convert(source=Path({str(folder)!r}), tokenizer=None, out=Path({str(tmp_path / 'hf')!r}), context_length=64,"
        " max_shard_gb=5.0)",
    )
    largest = 1024 * llama_world.hidden(p) * 4
    assert sum(path.stat().st_size for path in (tmp_path / "hf").glob("*.safetensors")) > 30 * largest
    assert largest < measured < (COPIES + 0.75) * largest, (largest, measured)
