"""One digest for the same weights in any file; another for any change; the first difference by name."""

import hashlib
import json
import struct
import subprocess
import sys

import llama_world
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from belle.errors import InputError
from belle.weights.digest import digest_of, first_difference

STATE = {
    "b.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "c": torch.tensor([1, 2, 3], dtype=torch.int64),
    "d": torch.tensor(2.5, dtype=torch.bfloat16),
}


def test_it_is_what_the_docstring_says(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    lines = []
    for name, kind, shape, data in (
        ("a.bias", "float16", "[2]", struct.pack("<2e", 1.5, -2.0)),
        ("b.weight", "float32", "[2, 3]", struct.pack("<6f", *range(6))),
        ("c", "int64", "[3]", struct.pack("<3q", 1, 2, 3)),
        ("d", "bfloat16", "[]", struct.pack("<f", 2.5)[2:]),
    ):
        lines.append(f"{name} {kind} {shape} {hashlib.sha256(data).hexdigest()}\n")
    found = digest_of(tmp_path)
    assert found.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert found.bytes == 4 + 24 + 24 + 2


def test_files_and_formats_make_no_difference(tmp_path):
    digests = set()

    def write(name, save):
        (tmp_path / name).mkdir()
        save(tmp_path / name)
        digests.add(digest_of(tmp_path / name).sha256)

    def sharded(folder, ending, save):
        names = sorted(STATE)
        index = {}
        for number, part in enumerate((names[:1], names[1:]), 1):
            file = f"{ending[0]}-{number:05d}-of-00002{ending[1]}"
            save({name: STATE[name] for name in part}, folder / file)
            index |= dict.fromkeys(part, file)
        (folder / f"{ending[0]}{ending[1]}.index.json").write_text(json.dumps({"weight_map": index}))

    write("one", lambda folder: save_file(STATE, folder / "model.safetensors"))
    write("bin", lambda folder: torch.save(STATE, folder / "pytorch_model.bin"))
    write("pth", lambda folder: torch.save(dict(reversed(STATE.items())), folder / "consolidated.00.pth"))
    write("old", lambda folder: torch.save(STATE, folder / "x.pt", _use_new_zipfile_serialization=False))
    write("wrapped", lambda folder: torch.save({"state_dict": STATE}, folder / "x.pt"))
    write("shards", lambda folder: sharded(folder, ("model", ".safetensors"), save_file))
    write("bins", lambda folder: sharded(folder, ("pytorch_model", ".bin"), torch.save))
    strided = {**STATE, "b.weight": torch.arange(6.0).view(2, 3).T.contiguous().T}
    write("strided", lambda folder: torch.save(strided, folder / "pytorch_model.bin"))
    digests.add(digest_of(tmp_path / "bin" / "pytorch_model.bin").sha256)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "value", "first"),
    [
        ("b.weight", STATE["b.weight"] + torch.eye(3)[:2] * 1e-6, ("b.weight", "float32 [2, 3] ", "float32 [2, 3] ")),
        ("b.weight", STATE["b.weight"].view(3, 2), ("b.weight", "float32 [2, 3]", "float32 [3, 2]")),
        ("b.weight", STATE["b.weight"].half(), ("b.weight", "float32 [2, 3]", "float16 [2, 3]")),
        ("aa", STATE["c"].clone(), ("aa", "no such tensor", "int64 [3]")),
    ],
)
def test_any_change_shows_and_is_named(tmp_path, name, value, first):
    save_file(STATE, tmp_path / "a.safetensors")
    save_file({**STATE, name: value}, tmp_path / "b.safetensors")
    one, other = digest_of(tmp_path / "a.safetensors"), digest_of(tmp_path / "b.safetensors")
    assert one.sha256 != other.sha256
    found = first_difference(one, other)
    assert found[0] == first[0]
    assert found[1].startswith(first[1])
    assert found[2].startswith(first[2])
    assert first_difference(one, one) is None


def test_the_negative_zero_and_the_order_of_bits_count(tmp_path):
    save_file({"a": torch.tensor([0.0])}, tmp_path / "a.safetensors")
    save_file({"a": torch.tensor([-0.0])}, tmp_path / "b.safetensors")
    assert digest_of(tmp_path / "a.safetensors").sha256 != digest_of(tmp_path / "b.safetensors").sha256


def test_tied_embeddings_count_once_whatever_holds_them(tmp_path):
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                         num_attention_heads=2, tie_word_embeddings=True))  # fmt: skip
    model.save_pretrained(tmp_path / "hf")
    assert "lm_head.weight" in model.state_dict()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    found = digest_of(tmp_path / "pytorch_model.bin")
    assert found.sha256 == digest_of(tmp_path / "hf").sha256
    assert "model.embed_tokens.weight" in {item.name for item in found.tensors}


def test_meta_s_shards_are_named_by_their_files(tmp_path):
    p = llama_world.params()
    folder = llama_world.write(tmp_path / "meta", p, llama_world.weights(p, 40), 2)
    names = [item.name for item in digest_of(folder).tensors]
    assert "norm.weight@consolidated.01.pth" in names
    assert len(names) == 2 * (3 + 2 * 9 + 1)


def belle(*words):
    return subprocess.run(
        [sys.executable, "-m", "belle.cli", "digest", *map(str, words)], capture_output=True, text=True
    )


def test_the_command(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.bin")
    changed = {**STATE, "b.weight": STATE["b.weight"] + 0.25}
    save_file(changed, tmp_path / "b.safetensors")
    alone = belle(tmp_path / "a.safetensors", "--tensors")
    digest = digest_of(tmp_path / "a.bin").sha256
    assert alone.returncode == 0, alone.stderr
    assert len(alone.stdout.splitlines()) == 5
    assert alone.stdout.splitlines()[-1].startswith(f"{digest}  {tmp_path}/a.safetensors  (4 tensors, 54 bytes)")
    assert belle(tmp_path / "a.safetensors", tmp_path / "a.bin").returncode == 0
    differ = belle(tmp_path / "a.bin", tmp_path / "b.safetensors", "--json")
    assert differ.returncode == 1
    assert json.loads(differ.stdout)["first_difference"][0] == "b.weight"
    assert "first tensor that differs: b.weight" in differ.stderr
    assert "their values are up to 0.25 apart" in differ.stderr
    assert "Traceback" not in differ.stderr
    nothing = belle(tmp_path / "nothing")
    assert nothing.returncode == 2
    assert "there is no such file or folder" in nothing.stderr


def test_folders_without_weights(tmp_path):
    with pytest.raises(InputError, match="no weights in this folder"):
        digest_of(tmp_path)
    torch.save({"epoch": 1}, tmp_path / "training_args.bin")
    with pytest.raises(InputError, match="no weights in this folder"):
        digest_of(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors")
    with pytest.raises(InputError, match=r"a is in two files: x.safetensors and y.safetensors"):
        digest_of(tmp_path)
