"""Differences as Alpaca's: the arithmetic beside torch's, what comes back and what cannot, and every wrong pair."""

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from belle.errors import BelleError, InputError
from belle.weights import difference
from belle.weights.make_diff import make_diff
from belle.weights.raw_tensors import Model
from belle.weights.recover import recover

WIDTH, ROWS = 48, 100


def weights(seed, dtype=torch.float16, rows=ROWS, scale=0.02):
    generator = torch.Generator().manual_seed(seed)

    def some(*shape):
        return (torch.randn(*shape, generator=generator) * scale).to(dtype)

    return {
        "model.embed_tokens.weight": some(rows, WIDTH),
        "model.layers.0.mlp.up_proj.weight": some(3, 300_001),  # more than a piece, and no multiple of one
        "model.norm.weight": some(WIDTH),
        "lm_head.weight": some(rows, WIDTH),
    }


def near(base, seed, by=0.003):
    """The base a little trained."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (value.float() + torch.randn(value.shape, generator=generator) * by).to(value.dtype)
        for name, value in base.items()
    }


def folder(path, state, config=None, shards=1, kind="safetensors"):
    path.mkdir(parents=True)
    names = list(state)
    parts = [names[number::shards] for number in range(shards)]
    weight_map = {}
    for number, part in enumerate(parts, 1):
        stem = "model" if kind == "safetensors" else "pytorch_model"
        ending = kind
        name = f"{stem}.{ending}" if shards == 1 else f"{stem}-{number:05d}-of-{shards:05d}.{ending}"
        some = {tensor: state[tensor] for tensor in part}
        if kind == "safetensors":
            save_file(some, path / name, metadata={"format": "pt"})
        else:
            torch.save(some, path / name)
        weight_map.update(dict.fromkeys(part, name))
    if shards > 1:
        (path / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (path / "config.json").write_text(json.dumps({"hidden_size": WIDTH, **(config or {})}))
    (path / "tokenizer.json").write_text('{"of": "' + path.name + '"}', encoding="utf-8")
    return path


def loaded(path):
    return {name: value for file in sorted(path.glob("*.safetensors")) for name, value in load_file(file).items()}


def contents(path):
    return {item.relative_to(path).as_posix(): item.read_bytes() for item in path.rglob("*") if item.is_file()}


@pytest.fixture
def pair(tmp_path):
    base = weights(1)
    return folder(tmp_path / "base", base), folder(tmp_path / "tuned", near(base, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_two_bytes_comes_back_in_bytes(tmp_path, dtype):
    base = weights(1, dtype)
    under, tuned = folder(tmp_path / "base", base), folder(tmp_path / "tuned", near(base, 2))
    make_diff(tuned=tuned, base=under, out=tmp_path / "diff")
    expected = {name: value.float() - base[name].float() for name, value in loaded(tuned).items()}
    for name, value in loaded(tmp_path / "diff").items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name]), name
    known = difference.read(tmp_path / "diff")
    assert {entry.inexact for entry in known.tensors.values()} == {0}
    recover(difference=tmp_path / "diff", base=under, out=tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tuned)


def test_what_float32_cannot_give_back_is_counted(tmp_path):
    base = weights(1, torch.float32)
    tuned = near(base, 2)
    tuned["model.norm.weight"][:] = torch.logspace(-9, 0, WIDTH)
    under, over = folder(tmp_path / "base", base), folder(tmp_path / "tuned", tuned)
    make_diff(tuned=over, base=under, out=tmp_path / "diff")
    known = difference.read(tmp_path / "diff")
    again = {name: base[name] + (tuned[name] - base[name]) for name in base}
    for name, entry in known.tensors.items():
        assert entry.inexact == int((again[name] != tuned[name]).sum()), name
    assert known.tensors["model.norm.weight"].inexact > 10
    recover(difference=tmp_path / "diff", base=under, out=tmp_path / "again")
    for name, value in loaded(tmp_path / "again").items():
        assert torch.equal(value, again[name])
        assert torch.allclose(value, tuned[name], rtol=0, atol=2**-24)


def test_rounding_of_bfloat16_is_torchs():
    bits = np.random.default_rng(3).integers(0, 2**32, 200_000, dtype=np.uint32)
    values = np.concatenate([bits.view("<f4"), np.array([0.0, -0.0, np.inf, -np.inf, 65504.0, 1e-45], "<f4")])
    values = values[~np.isnan(values)]
    ours = difference.bytes_of(values, "BF16").view("<u2")
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    assert np.array_equal(ours, theirs)
    assert np.array_equal(
        difference.floats(ours.view("u1"), "BF16"), torch.from_numpy(values).bfloat16().float().numpy()
    )


def test_whole_numbers_and_shards(tmp_path):
    base, tuned = weights(1), near(weights(1), 2)
    for seed, state in ((5, base), (6, tuned)):
        numbers = np.random.default_rng(seed).integers(-(2**31), 2**31, (9, 7), dtype=np.int32)
        state["qweight"], state["empty"] = torch.from_numpy(numbers), torch.zeros(0, 4)
    under, over = folder(tmp_path / "base", base, shards=2), folder(tmp_path / "tuned", tuned, shards=3)
    make_diff(tuned=over, base=under, out=tmp_path / "diff")
    recover(difference=tmp_path / "diff", base=under, out=tmp_path / "again")
    assert {name for name in contents(tmp_path / "again") if "00003" in name} == {
        f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)
    }
    found = loaded(tmp_path / "again")
    assert all(torch.equal(found[name], value) for name, value in tuned.items())
    index = json.loads((tmp_path / "again" / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["qweight"] in contents(over)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in tuned.values())


def test_pytorch_files_as_alpaca_published_them(tmp_path):
    base, tuned = weights(1), near(weights(1), 2)
    diff = {name: tuned[name].float() - base[name].float() for name in base}
    under = folder(tmp_path / "base", base, shards=2, kind="bin")
    released = folder(tmp_path / "released", diff, shards=3, kind="bin")
    total = np.float32(0)
    for name in [name for part in range(3) for name in list(base)[part::3]]:
        total = np.float32(total + np.float32((base[name].float() + diff[name]).double().sum().item()))
    recover(difference=released, base=under, out=tmp_path / "out", check_sum=f"{total:.4f}")
    for name, value in loaded(tmp_path / "out").items():
        assert torch.equal(value, base[name].float() + diff[name]), name
    with pytest.raises(BelleError, match=rf"the sum of all values is .*, and {total + 1:.4f} was published"):
        recover(difference=released, base=under, out=tmp_path / "other", check_sum=f"{total + 1:.4f}")
    assert not (tmp_path / "other").exists()
    assert sum(abs(float(value.double().sum())) for value in loaded(tmp_path / "out").values()) > 1


def test_a_vocabulary_with_more_rows_and_old_rotary_tensors(tmp_path):
    """Alpaca's own diff: one row more in both embeddings, and buffers that newer conversions lack."""
    base = weights(1, torch.float32, rows=ROWS)
    tuned = near(weights(1, torch.float32, rows=ROWS + 1), 2)
    rotary = 1.0 / (10000 ** (torch.arange(0, 16, 2).float() / 16))
    tuned["model.layers.0.self_attn.rotary_emb.inv_freq"] = rotary
    under, over = folder(tmp_path / "base", base), folder(tmp_path / "tuned", tuned)
    make_diff(tuned=over, base=under, out=tmp_path / "diff")
    found = loaded(tmp_path / "diff")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        mean = base[name].double().mean(0, keepdim=True).float()
        assert torch.equal(found[name], tuned[name] - torch.cat([base[name], mean]))
    assert float(found["model.layers.0.self_attn.rotary_emb.inv_freq"].abs().max()) < 1e-7
    recover(difference=tmp_path / "diff", base=under, out=tmp_path / "again")
    assert torch.allclose(loaded(tmp_path / "again")["lm_head.weight"], tuned["lm_head.weight"], atol=1e-8)


def test_the_same_bytes_each_time(tmp_path, pair):
    base, tuned = pair
    for name in ("one", "two"):
        make_diff(tuned=tuned, base=base, out=tmp_path / name)
    make_diff(tuned=tuned, base=base, out=tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert str(tmp_path).encode() not in (tmp_path / "one" / difference.NAME).read_bytes()


# --- wrong pairs -------------------------------------------------------------------------------------------------


def change(path, edit):
    """Change the tensors of a folder's one safetensors file."""
    state = load_file(path / "model.safetensors")
    edit(state)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def without_manifest(diff):
    (diff / difference.NAME).unlink()


def spoil_base_name(base, diff):
    change(base, lambda state: state.update(other=state.pop("model.norm.weight")))


def spoil_base_shape(base, diff):
    change(base, lambda state: state.update({"model.norm.weight": torch.zeros(7)}))


def spoil_base_smaller_model(base, diff):
    shutil.rmtree(base)
    state = {name: value[..., : WIDTH // 2].contiguous() for name, value in weights(1).items()}
    folder(base, state, {"hidden_size": WIDTH // 2})


def spoil_base_dtype(base, diff):
    change(base, lambda state: state.update({"lm_head.weight": torch.zeros(ROWS, WIDTH, dtype=torch.int8)}))


def spoil_base_value(base, diff):
    def edit(state):
        state["lm_head.weight"][0, 0] += 1

    change(base, edit)


def spoil_base_rounded(base, diff):
    change(base, lambda state: state.update({name: value.bfloat16() for name, value in state.items()}))


def spoil_base_is_metas(base, diff):
    (base / "model.safetensors").rename(base / "consolidated.00.pth")


def spoil_base_truncated(base, diff):
    data = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(data[:-10])


def spoil_diff_value(base, diff):
    flip(diff / "model.safetensors", -4000)


def spoil_diff_header(base, diff):
    (diff / "model.safetensors").write_bytes(b"\xff" * 100)


def spoil_diff_is_web_page(base, diff):
    (diff / "model.safetensors").write_bytes(b"<!doctype html><html>log in</html>" * 9)


def spoil_diff_missing_tensor(base, diff):
    change(diff, lambda state: state.pop("lm_head.weight"))


def spoil_diff_type(base, diff):
    change(diff, lambda state: state.update({"lm_head.weight": state["lm_head.weight"].half()}))


def spoil_diff_tokenizer(base, diff):
    (diff / "tokenizer.json").write_text("{}")


def spoil_diff_file_missing(base, diff):
    (diff / "tokenizer.json").unlink()


def spoil_manifest(base, diff):
    (diff / difference.NAME).write_text("{")


def spoil_diff_twice(base, diff):
    shutil.copy(diff / "model.safetensors", diff / "model-old.safetensors")


def spoil_diff_empty(base, diff):
    shutil.rmtree(diff)
    diff.mkdir()


def spoil_diff_pickle(base, diff):
    """A PyTorch file that would run a command when it is loaded."""
    import os
    import pickle

    class Evil:
        def __reduce__(self):
            return os.system, ("touch pwned",)

    without_manifest(diff)
    (diff / "model.safetensors").unlink()
    (diff / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}))


WRONG = [
    (
        spoil_base_name,
        InputError,
        r"1 tensor\(s\) only in the difference, as model.norm.weight; 1 tensor\(s\) only in the ba",
    ),
    (spoil_base_shape, InputError, r"model.norm.weight has the shape \[7\] in the base and \[48\] in the difference"),
    (spoil_base_smaller_model, InputError, r"has the shape(?s:.*)its hidden size is 24, where 48 is meant"),
    (spoil_base_dtype, InputError, r"lm_head.weight is I8 in the base and F32 in the difference"),
    (spoil_base_value, BelleError, r"lm_head.weight of the base has the sha256 \w{64}, and the manifest says \w{64}"),
    (spoil_base_rounded, BelleError, r"of the base has the sha256(?s:.*)rounded otherwise \(BF16 here\)"),
    (spoil_base_is_metas, InputError, r"no weights of a Hugging Face model(?s:.*)Meta's original files"),
    (spoil_base_truncated, InputError, r"[\d,]+ bytes, and its header says [\d,]+(?s:.*)truncated"),
    (spoil_diff_value, BelleError, r"the difference of \S+ has the sha256 \w{64}(?s:.*)damaged download"),
    (spoil_diff_header, InputError, r"its header is not whole"),
    (spoil_diff_is_web_page, InputError, r"not a safetensors file"),
    (spoil_diff_missing_tensor, InputError, r"1 of the manifest missing, as lm_head.weight"),
    (spoil_diff_type, InputError, r"lm_head.weight is F16 \[100, 48\], and the manifest says F32 \[100, 48\]"),
    (spoil_diff_tokenizer, InputError, r"tokenizer.json: sha256 \w{64}, and difference.json says"),
    (spoil_diff_file_missing, InputError, r"1 of the manifest missing, as tokenizer.json"),
    (spoil_manifest, InputError, r"difference.json: cannot be read"),
    (spoil_diff_twice, InputError, r"the tensor \S+ comes twice, the second time in model.safetensors"),
    (spoil_diff_empty, InputError, r"no weights of a Hugging Face model"),
    (spoil_diff_pickle, InputError, r"cannot be read by torch"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), WRONG, ids=[spoil.__name__ for spoil, _, _ in WRONG])
def test_wrong_pairs_leave_nothing(tmp_path, pair, spoil, error, message):
    base, tuned = pair
    diff = tmp_path / "diff"
    make_diff(tuned=tuned, base=base, out=diff)
    spoil(base, diff)
    before = contents(tmp_path)
    with pytest.raises(error, match=message) as caught:
        recover(difference=diff, base=base, out=tmp_path / "out")
    assert "\n  what to do:" in str(caught.value)
    assert contents(tmp_path) == before


def test_wrong_calls(tmp_path, pair):
    base, tuned = pair
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    make_diff(tuned=tuned, base=base, out=tmp_path / "diff")
    before = contents(tmp_path)
    for call in (
        lambda: make_diff(tuned=tuned, base=base, out=tmp_path / "full"),
        lambda: make_diff(tuned=tuned, base=base, out=base / "diff"),
        lambda: make_diff(tuned=tuned, base=tmp_path / "none", out=tmp_path / "out"),
        lambda: recover(difference=tmp_path / "diff", base=base, out=tmp_path / "full"),
        lambda: recover(difference=tmp_path / "diff", base=base, out=base),
        lambda: recover(difference=tmp_path / "diff", base=base, out=tmp_path / "out", check_sum="much"),
    ):
        with pytest.raises(InputError):
            call()
    assert contents(tmp_path) == before


def test_a_missing_shard(tmp_path):
    base = weights(1)
    under, over = folder(tmp_path / "base", base), folder(tmp_path / "tuned", near(base, 2), shards=3)
    (over / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match=r"1 weight file\(s\) missing: model-00002-of-00003.safetensors"):
        make_diff(tuned=over, base=under, out=tmp_path / "out")


def test_headers_that_lie(tmp_path):
    """A tensor that would be read from beyond the file, or over another's bytes."""
    good = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    for bad in (
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 80]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
        {"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 8]}},
        {"a": [1, 2]},
        [good],
        {**good, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
    ):
        text = json.dumps(bad).encode()
        path = tmp_path / "model.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(InputError, match="header"):
            Model(tmp_path)


MEMORY = """
import re, sys
from pathlib import Path
from belle.weights.make_diff import make_diff
from belle.weights.recover import recover
def peak():  # ru_maxrss would begin at the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before, folder = peak(), Path(sys.argv[1])
if sys.argv[2] == "make_diff": make_diff(tuned=folder / "tuned", base=folder / "base", out=folder / "diff")
else: recover(difference=folder / "diff", base=folder / "base", out=folder / "again")
print("grew by", peak() - before)
"""


def test_memory_is_bounded(tmp_path):
    """Tensors of 96 MB each, two files at once: less than one tensor is held."""
    block = torch.from_numpy(np.frombuffer(random.Random(1).randbytes(1 << 20), "<u2").copy() % 30000).to(torch.int16)
    state = {name: block.repeat(96).view(torch.float16).reshape(96, -1).clone() for name in ("a.weight", "b.weight")}
    folder(tmp_path / "base", state, shards=2)
    folder(tmp_path / "tuned", {name: value * 1.5 for name, value in state.items()}, shards=2)
    for what in ("make_diff", "recover"):
        ended = subprocess.run(
            [sys.executable, "-c", MEMORY, str(tmp_path), what], capture_output=True, text=True, check=True
        )
        assert int(re.search(r"grew by (\d+)", ended.stdout)[1]) < 64 << 20, ended.stdout
    digest = {name: hashlib.sha256(value).hexdigest() for name, value in contents(tmp_path / "tuned").items()}
    again = {name: hashlib.sha256(value).hexdigest() for name, value in contents(tmp_path / "again").items()}
    assert all(again[name] == digest[name] for name in digest if name.startswith("model-"))
