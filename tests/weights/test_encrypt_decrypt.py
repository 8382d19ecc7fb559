"""Encrypting and decrypting files and folders; every kind of wrong input has its cause and leaves nothing behind."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from belle.errors import BelleError, InputError
from belle.weights import key as keys
from belle.weights.decrypt import decrypt
from belle.weights.encrypt import encrypt
from belle.weights.key import find_key
from belle.weights.target import unfinished
from belle.weights.xor import CHUNK

RANDOM = random.Random(4).randbytes(300_000)
KEY = RANDOM[:70_001]


def pickled(names):
    """A PyTorch file with tensors of these names."""
    buffer = io.BytesIO()
    torch.save({name: torch.arange(20_000) for name in names}, buffer)
    return buffer.getvalue()


FILES = {
    "config.json": b'{"model_type": "llama"}\n',
    "model.safetensors": save({"weight": np.frombuffer(RANDOM[100_000:250_000], np.uint8)}),
    "empty.txt": b"",
    "sub/vocab.txt": "你好\n".encode(),
    "pytorch_model-00001-of-00002.bin": pickled(["model.embed_tokens.weight"]),
    "pytorch_model-00002-of-00002.bin": pickled(["lm_head.weight"]),
}
SIZE = len(FILES["model.safetensors"])


@pytest.fixture
def model(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "model"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "base" / "consolidated.00.pth"
    path.parent.mkdir()
    path.write_bytes(KEY)
    return path


@pytest.fixture
def release(tmp_path, model, key):
    encrypt(plain=model, key=key, out=tmp_path / "release")
    return tmp_path / "release"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def encrypted(release, name="model.safetensors"):
    (path,) = release.glob(f"{name}.*.enc")
    return path


def test_a_folder_comes_back(tmp_path, release, key):
    assert sorted(contents(release)) == sorted(
        ["manifest.json", *(f"{name}.{sha256(content)}.enc" for name, content in FILES.items())]
    )
    decrypt(encrypted=release, key=key, out=tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_the_file_is_the_digest_and_the_text_xor_the_key(release):
    text = FILES["model.safetensors"]
    body = bytes(a ^ KEY[i % len(KEY)] for i, a in enumerate(text))  # one chunk, so the key is only repeated
    assert encrypted(release).read_bytes() == hashlib.sha256(text).digest() + body


def test_over_chunks_at_the_true_size(tmp_path):
    text, key = tmp_path / "text.bin", tmp_path / "key.bin"
    text.write_bytes(bytes(CHUNK + 1000))
    key.write_bytes((RANDOM * 36)[: CHUNK + 300])
    encrypt(plain=text, key=key, out=tmp_path / "release")
    body = encrypted(tmp_path / "release", "text.bin").read_bytes()[32:]
    material = key.read_bytes()
    assert body == material[:CHUNK] + (material[CHUNK:] * 4)[:1000]
    decrypt(encrypted=tmp_path / "release", key=key, out=tmp_path / "out")
    assert (tmp_path / "out" / "text.bin").read_bytes() == text.read_bytes()


def test_manifest(release):
    manifest = json.loads((release / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["key"] == {
        "name": "consolidated.00.pth", "bytes": len(KEY), "sha256": sha256(KEY),
        "md5": hashlib.md5(KEY, usedforsecurity=False).hexdigest(),
    }  # fmt: skip
    assert [entry["name"] for entry in manifest["files"]] == sorted(FILES)
    for entry in manifest["files"]:
        for part, data in (
            ("plain", FILES[entry["name"]]),
            ("encrypted", (release / entry["encrypted_name"]).read_bytes()),
        ):
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            assert entry[part] == {"bytes": len(data), "sha256": sha256(data), "md5": md5}


def test_bytes_are_the_same_each_time_and_elsewhere(tmp_path, release, model, key):
    first = contents(release)
    encrypt(plain=model, key=key.parent, out=release)  # the same folder again, the key by its folder
    assert contents(release) == first
    assert str(tmp_path).encode() not in first["manifest.json"]


def test_hidden_files_stay_where_they_are(tmp_path, model, key):
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("x")
    encrypt(plain=model, key=key, out=tmp_path / "release")
    assert not [name for name in contents(tmp_path / "release") if name.startswith(".")]


def test_file_by_file_as_upstream_does_it(tmp_path, model, key):
    """A shell loop over files, without folders or a manifest on the way back."""
    for name in ("config.json", "model.safetensors"):
        encrypt(plain=model / name, key=key, out=tmp_path / "release")
    manifest = json.loads((tmp_path / "release" / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["files"]] == ["config.json", "model.safetensors"]
    (tmp_path / "release" / "manifest.json").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("stays")
    for path in sorted((tmp_path / "release").iterdir()):
        decrypt(encrypted=path, key=key, out=tmp_path / "out")
    assert contents(tmp_path / "out") == {
        "README.md": b"stays", **{name: FILES[name] for name in ("config.json", "model.safetensors")},
    }  # fmt: skip


def test_a_file_encrypted_again_takes_the_old_ones_place(tmp_path, model, key):
    encrypt(plain=model / "config.json", key=key, out=tmp_path / "release")
    (model / "config.json").write_bytes(b"{}")
    encrypt(plain=model / "config.json", key=key, out=tmp_path / "release")
    assert sorted(contents(tmp_path / "release")) == [f"config.json.{sha256(b'{}')}.enc", "manifest.json"]
    other = tmp_path / "other.bin"
    other.write_bytes(b"another key")
    with pytest.raises(InputError, match="encrypted with another key"):
        encrypt(plain=model / "model.safetensors", key=other, out=tmp_path / "release")


def test_the_key_of_a_folder_is_its_largest_weight_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, size in (("b.bin", 5), ("a.safetensors", 5), ("c.pth", 4), ("notes.txt", 99)):
        (folder / name).write_bytes(b"x" * size)
    assert find_key(folder).name == "a.safetensors"
    assert find_key(folder / "notes.txt").name == "notes.txt"


# --- wrong inputs: (how the release or the key is spoilt) → what the message must say ---------------------------


def truncate(path, by):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - by)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def no_manifest(release):
    (release / "manifest.json").unlink()


def spoil_truncated(release, key):
    truncate(encrypted(release), 100)


def spoil_too_long(release, key):
    with open(encrypted(release), "ab") as file:
        file.write(b"tail")


def spoil_zero_bytes(release, key):
    encrypted(release).write_bytes(b"")


def spoil_flipped_byte(release, key):
    flip(encrypted(release), 5000)


def spoil_flipped_header(release, key):
    flip(encrypted(release), 3)


def spoil_swapped(release, key):
    one, two = encrypted(release), encrypted(release, "config.json")
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def spoil_missing(release, key):
    encrypted(release, "config.json").unlink()


def spoil_strange(release, key):
    shutil.copy(encrypted(release), release / "other.enc")


def spoil_lfs(release, key):
    encrypted(release).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def spoil_web_page(release, key):
    encrypted(release).write_text("<!DOCTYPE html><html><body>Please log in to download this file.")


def spoil_manifest_json(release, key):
    truncate(release / "manifest.json", 30)


def spoil_manifest_name(release, key):
    path = release / "manifest.json"
    path.write_text(path.read_text().replace('"name": "config.json"', '"name": "../config.json"'))


def spoil_manifest_field(release, key):
    path = release / "manifest.json"
    path.write_text(path.read_text().replace('"md5"', '"md4"', 1))


def spoil_key_cut_off(release, key):
    truncate(key, 1000)


def spoil_key_damaged(release, key):
    flip(key, 60_000)


def spoil_key_is_hf(release, key):
    (key.parent / "model-00001-of-00002.safetensors").write_bytes(
        (9).to_bytes(8, "little") + b'{"a": 1}' + bytes(10**6)
    )


def spoil_key_is_hf_renamed(release, key):
    key.write_bytes(pickled(["model.embed_tokens.weight"]))


def spoil_key_is_13b(release, key):
    key.write_bytes(RANDOM[1:90_000])
    (key.parent / "consolidated.01.pth").write_bytes(b"x")


def spoil_key_empty(release, key):
    key.write_bytes(b"")


def spoil_nothing_to_do(release, key):
    for path in release.glob("**/*.enc"):
        path.unlink()


def spoil_key_no_manifest(release, key):
    no_manifest(release)
    flip(key, 2)
    key.write_bytes(key.read_bytes()[::-1])


def spoil_13b_no_manifest(release, key):
    no_manifest(release)
    spoil_key_is_13b(release, key)


def spoil_hf_no_manifest(release, key):
    no_manifest(release)
    key.unlink()
    spoil_key_is_hf(release, key)


def spoil_truncated_no_manifest(release, key):
    no_manifest(release)
    truncate(encrypted(release), 100)


def spoil_flipped_no_manifest(release, key):
    no_manifest(release)
    flip(encrypted(release), 5000)


def spoil_two_versions(release, key):
    no_manifest(release)
    text = b"{}"
    body = bytes(a ^ b for a, b in zip(text, KEY, strict=False))
    (release / f"config.json.{sha256(text)}.enc").write_bytes(hashlib.sha256(text).digest() + body)


def spoil_header_only(release, key):
    truncate(encrypted(release), SIZE)
    no_manifest(release)


def spoil_shorter_than_the_header(release, key):
    encrypted(release).write_bytes(b"short")


def spoil_pytorch_truncated_no_manifest(release, key):
    no_manifest(release)
    truncate(encrypted(release, "pytorch_model-00001-of-00002.bin"), 1000)


def spoil_shard_is_another(release, key):
    no_manifest(release)
    one, two = (encrypted(release, f"pytorch_model-0000{number}-of-00002.bin") for number in (1, 2))
    one.write_bytes(two.read_bytes())


def spoil_shard_missing_no_manifest(release, key):
    no_manifest(release)
    encrypted(release, "pytorch_model-00002-of-00002.bin").unlink()


def spoil_name_cut_off(release, key):
    no_manifest(release)
    path = encrypted(release)
    path.rename(path.with_name(path.name.replace(".enc", "")[:-3] + ".enc"))


def spoil_key_as_data(release, key):
    no_manifest(release)
    (release / "consolidated.00.pth.enc").write_bytes(pickled(["tok_embeddings.weight"]))


def spoil_manifest_of_another_release(release, key):
    path, old = release / "manifest.json", sha256(FILES["config.json"])
    path.write_text(path.read_text().replace(f'"sha256": "{old}"', f'"sha256": "{"0" * 64}"'))


def spoil_key_is_lfs(release, key):
    key.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


CUT_OFF, DAMAGED = r"(?s:.*)cut off", r"(?s:.*)damaged download: the key is right"
WRONG = [
    (spoil_truncated, InputError, rf"truncated: {SIZE - 68:,} bytes, and the manifest says {SIZE + 32:,}{CUT_OFF}"),
    (spoil_too_long, InputError, r"too long(?s:.*)another version"),
    (spoil_zero_bytes, InputError, r"an empty file, of 0 bytes(?s:.*)download that failed"),
    (spoil_shorter_than_the_header, InputError, rf"truncated: 5 bytes, and the header alone takes 32{CUT_OFF}"),
    (
        spoil_flipped_byte,
        BelleError,
        r"encrypted file's sha256 is \w{64}, and the manifest says(?s:.*)damaged download",
    ),
    (spoil_flipped_header, InputError, r"the name says sha256 \w{64}, the header says \w{64}"),
    (spoil_swapped, InputError, r"name says(?s:.*)changed places: this is what \S+.enc should be"),
    (spoil_missing, InputError, r"1 file\(s\) of the manifest missing: config.json"),
    (spoil_strange, InputError, r"manifest does not name: other.enc"),
    (spoil_lfs, InputError, r"a Git LFS pointer(?s:.*)git lfs pull"),
    (spoil_web_page, InputError, r"a web page, not the file"),
    (spoil_manifest_json, InputError, r"manifest.json: not JSON"),
    (spoil_manifest_name, InputError, r"'../config.json' leads out of the folder"),
    (spoil_manifest_field, InputError, r"missing or unknown(?s:.*)md4"),
    (
        spoil_manifest_of_another_release,
        InputError,
        r"the manifest says sha256 0{64}, the header says(?s:.*)different re",
    ),
    (spoil_key_cut_off, InputError, rf"wrong key: 69,001 bytes, and consolidated.00.pth has 70,001{CUT_OFF}"),
    (spoil_key_damaged, InputError, r"wrong key: sha256 \w{64}, and consolidated.00.pth has \w{64}(?s:.*)damaged copy"),
    (spoil_key_is_hf, InputError, r"wrong key(?s:.*)HF-converted model(?s:.*)use consolidated.00.pth: 70,001 bytes"),
    (spoil_key_is_hf_renamed, InputError, r"wrong key(?s:.*)HF-converted model"),
    (spoil_key_is_13b, InputError, r"wrong key(?s:.*)LLaMA-13B or larger, where LLaMA-7B's is meant"),
    (spoil_key_empty, InputError, r"the key is empty"),
    (spoil_key_is_lfs, InputError, r"the key is a Git LFS pointer"),
    (spoil_nothing_to_do, InputError, r"no .enc file in this folder"),
    (
        spoil_key_no_manifest,
        BelleError,
        r"decrypted file's sha256 is \w{64}, and the header says \w{64}(?s:.*)a wrong key",
    ),
    (spoil_13b_no_manifest, BelleError, r"decrypted file's(?s:.*)LLaMA-13B or larger"),
    (spoil_hf_no_manifest, BelleError, r"decrypted file's(?s:.*)HF-converted"),
    (
        spoil_truncated_no_manifest,
        BelleError,
        rf"truncated: {SIZE - 100:,} bytes of text, and its safetensors header says {SIZE:,}{DAMAGED}",
    ),
    (spoil_pytorch_truncated_no_manifest, BelleError, rf"the end of a PyTorch file is not among them{DAMAGED}"),
    (spoil_header_only, BelleError, rf"truncated: the header alone{DAMAGED}"),
    (spoil_flipped_no_manifest, BelleError, rf"decrypted file's sha256{DAMAGED}"),
    (
        spoil_shard_is_another,
        InputError,
        r"name says(?s:.*)this is what pytorch_model-00002-of-00002.bin.\w{64}.enc should",
    ),
    (spoil_shard_missing_no_manifest, InputError, r"1 shard\(s\) missing: pytorch_model-00002-of-00002.bin"),
    (
        spoil_name_cut_off,
        InputError,
        r"the name ends in \w{61}, which is no SHA-256(?s:.*)by its header is NAME.\w{64}.enc",
    ),
    (spoil_key_as_data, InputError, r"not encrypted(?s:.*)the key, or a model's own file"),
    (spoil_two_versions, InputError, r"two files for one name"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), WRONG, ids=[spoil.__name__ for spoil, _, _ in WRONG])
def test_wrong_inputs_leave_nothing(tmp_path, release, key, spoil, error, message):
    spoil(release, key)
    before = contents(tmp_path)
    with pytest.raises(error, match=message) as caught:
        decrypt(encrypted=release, key=key.parent, out=tmp_path / "out")
    assert "\n  what to do:" in str(caught.value)
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_wrong_single_file_leaves_nothing(tmp_path, release, key, with_manifest):
    flip(encrypted(release), 5000)
    if not with_manifest:
        no_manifest(release)
    with pytest.raises(BelleError, match="sha256 is"):
        decrypt(encrypted=encrypted(release), key=key, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_known_key_clears_the_key(tmp_path, release, key, monkeypatch):
    """Where the key is known to be LLaMA-7B's, only the download is left as a cause."""
    no_manifest(release)
    path = encrypted(release, "empty.txt")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BelleError, match="a wrong key, or else"):
        decrypt(encrypted=path, key=key, out=tmp_path / "out")
    known = dataclasses.replace(keys.LLAMA_7B, sha256=sha256(KEY), bytes=len(KEY))
    monkeypatch.setattr("belle.weights.probe.LLAMA_7B", known)
    with pytest.raises(BelleError, match=r"damaged download: the key is right\n"):
        decrypt(encrypted=path, key=key, out=tmp_path / "out")


def test_arguments_that_changed_places(tmp_path, release, key):
    with pytest.raises(InputError, match="changed places"):
        decrypt(encrypted=key, key=encrypted(release), out=tmp_path / "out")
    with pytest.raises(InputError, match="changed places"):
        decrypt(encrypted=release, key=encrypted(release), out=tmp_path / "out")
    with pytest.raises(InputError, match="no weight file"):
        decrypt(encrypted=release, key=release, out=tmp_path / "out")


def test_nothing_of_the_users_is_lost(tmp_path, release, model, key):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    before = contents(tmp_path)
    for call in (
        lambda: decrypt(encrypted=release, key=key, out=tmp_path / "full"),
        lambda: decrypt(encrypted=release, key=key, out=release),
        lambda: decrypt(encrypted=release, key=key, out=release / "out"),
        lambda: decrypt(encrypted=release, key=key, out=key),
        lambda: encrypt(plain=model, key=key, out=tmp_path / "full"),
        lambda: encrypt(plain=model, key=key, out=model),
        lambda: encrypt(plain=model, key=key, out=model / "enc"),
    ):
        with pytest.raises(InputError):
            call()
    assert contents(tmp_path) == before


def test_decrypting_beside_the_key_does_not_overwrite_it(tmp_path, key):
    other = tmp_path / key.name
    other.write_bytes(b"a model of the same name")
    encrypt(plain=other, key=key, out=tmp_path / "release")
    with pytest.raises(InputError, match="overwrite the key"):
        decrypt(encrypted=encrypted(tmp_path / "release", key.name), key=key, out=key.parent)
    assert key.read_bytes() == KEY


def test_a_disk_that_is_too_small(tmp_path, release, model, key, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10))
    with pytest.raises(BelleError, match="10 are free"):
        decrypt(encrypted=release, key=key, out=tmp_path / "a" / "out")
    with pytest.raises(BelleError, match="10 are free"):
        encrypt(plain=model, key=key, out=tmp_path / "enc")
    assert not (tmp_path / "a").exists()


def test_missing_inputs(tmp_path, release, key):
    with pytest.raises(InputError, match="no such file"):
        decrypt(encrypted=tmp_path / "none", key=key, out=tmp_path / "out")
    with pytest.raises(InputError, match="no such file"):
        decrypt(encrypted=release, key=tmp_path / "none", out=tmp_path / "out")
    with pytest.raises(InputError, match="no such file"):
        encrypt(plain=tmp_path / "none", key=key, out=tmp_path / "out")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(InputError, match="no files"):
        encrypt(plain=tmp_path / "hollow", key=key, out=tmp_path / "out")


def test_a_renamed_file_without_its_digest_still_decrypts(tmp_path, release, key):
    shutil.copy(encrypted(release), tmp_path / "model.safetensors.enc")
    decrypt(encrypted=tmp_path / "model.safetensors.enc", key=key, out=tmp_path / "out")
    assert contents(tmp_path / "out") == {"model.safetensors": FILES["model.safetensors"]}


# --- the key's identity ------------------------------------------------------------------------------------------


def sparse(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def test_sizes_of_llama_follow_from_its_shapes():
    """7B's published file has 13,476,939,516 bytes; its fp16 tensors take 108,156 less."""
    assert keys.LLAMA_7B.bytes - keys.shard_bytes("7B") == 108_156
    assert [keys.llama_of_size(keys.shard_bytes(model) + 60_000) for model in ("7B", "13B", "33B", "65B")] == [
        "7B", "13B", "33B", "65B",
    ]  # fmt: skip
    assert keys.llama_of_size(13_000_000_000) == keys.llama_of_size(0) == ""


@pytest.mark.parametrize(
    ("name", "size", "cause"),
    [
        (
            "13B/consolidated.00.pth",
            keys.shard_bytes("13B") + 60_000,
            r"a shard of LLaMA-13B, where LLaMA-7B's is meant",
        ),
        (
            "65B/consolidated.07.pth",
            keys.shard_bytes("65B") + 60_000,
            r"a shard of LLaMA-65B, where LLaMA-7B's is meant",
        ),
        ("7B/consolidated.00.pth", 9_000_000_000, "a download that was cut off"),
        ("hf/pytorch_model-00001-of-00002.bin", 9_976_000_000, "HF-converted model, where Meta's original"),
    ],
)
def test_a_pinned_key_is_known_by_its_size_before_it_is_read(tmp_path, release, name, size, cause):
    """The files are as large as the real ones, and sparse: reading one would take minutes."""
    no_manifest(release)
    wrong, began = sparse(tmp_path / name, size), time.monotonic()
    with pytest.raises(
        InputError, match=rf"wrong key: {size:,} bytes, and LLaMA-7B's original(?s:.*){cause}"
    ) as caught:
        decrypt(encrypted=release, key=wrong, out=tmp_path / "out", key_sha256=keys.LLAMA_7B.sha256)
    assert "md5 6efc8dab194ab59e49cd24be5574d85e" in str(caught.value)
    assert time.monotonic() - began < 20
    assert not (tmp_path / "out").exists()


def test_7b_where_13b_is_meant(tmp_path, release, key):
    """The other way round: a release whose manifest names a shard of LLaMA-13B."""
    path = release / "manifest.json"
    path.write_text(path.read_text().replace(f'"bytes": {len(KEY)}', f'"bytes": {keys.shard_bytes("13B") + 60_000}'))
    seven = sparse(tmp_path / "7B" / "consolidated.00.pth", keys.LLAMA_7B.bytes)
    with pytest.raises(InputError, match="a shard of LLaMA-7B, where one of LLaMA-13B is meant"):
        decrypt(encrypted=release, key=seven, out=tmp_path / "out")


def test_a_pinned_digest(tmp_path, release, key):
    no_manifest(release)
    decrypt(encrypted=release, key=key, out=tmp_path / "out", key_sha256=sha256(KEY))
    assert contents(tmp_path / "out") == FILES
    key.write_bytes(KEY[::-1])
    with pytest.raises(InputError, match=rf"wrong key: sha256 {sha256(KEY[::-1])}, and the key has {sha256(KEY)}"):
        decrypt(encrypted=release, key=key, out=tmp_path / "other", key_sha256=sha256(KEY))


def test_what_only_looks_wrong_is_decrypted(tmp_path, key):
    """Files that were odd before they were encrypted: their digest holds."""
    model = tmp_path / "odd"
    model.mkdir()
    odd = {
        "cut.safetensors": FILES["model.safetensors"][:-9],
        "cut.bin": pickled(["a"])[:-100],
        "large.bin": b"\0" * (3 << 20),
        "large.safetensors": save({"a": np.zeros(1 << 21, np.uint8)}) + b"tail",
        "text.json": b"no json",
    }
    for name, content in odd.items():
        (model / name).write_bytes(content)
    encrypt(plain=model, key=key, out=tmp_path / "release")
    for manifest in (True, False):
        if not manifest:
            no_manifest(tmp_path / "release")
        decrypt(encrypted=tmp_path / "release", key=key, out=tmp_path / "out")
        assert contents(tmp_path / "out") == odd
        shutil.rmtree(tmp_path / "out")


# --- disks, rights, kills ----------------------------------------------------------------------------------------


def test_a_disk_that_fills_up(tmp_path, release, key, monkeypatch):
    def full(file):
        def write(piece):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return write

    before = contents(tmp_path)
    for module in ("decrypt", "encrypt"):
        monkeypatch.setattr(f"belle.weights.{module}.writing", full)
    with pytest.raises(BelleError, match=r"the disk is full: [\d,]+ bytes are free; nothing was kept"):
        decrypt(encrypted=release, key=key, out=tmp_path / "out")
    with pytest.raises(BelleError, match="the disk is full"):
        encrypt(plain=tmp_path / "model", key=key, out=tmp_path / "deep" / "enc")
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "deep").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user to lack a right")
@pytest.mark.parametrize("lacking", ["encrypted", "key", "out"])
def test_a_right_that_is_lacking(tmp_path, release, key, lacking):
    (tmp_path / "into").mkdir()
    (tmp_path / "into").chmod(0o777)
    for path in (tmp_path, *tmp_path.parents):
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    for path in tmp_path.rglob("*"):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    wrong = {"encrypted": encrypted(release), "key": key, "out": tmp_path / "into"}[lacking]
    wrong.chmod(0o555 if lacking == "out" else 0o600)
    before = contents(tmp_path)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom belle.weights.decrypt import decrypt\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: decrypt(**{name: Path(path) for name, path in zip(('encrypted', 'key', 'out'), sys.argv[1:])})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(release), str(key), str(tmp_path / "into" / "out")],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert ended.stdout.startswith(f"InputError {wrong}"), ended.stdout + ended.stderr
    assert ": may not be read or written: Permission denied" in ended.stdout
    assert contents(tmp_path) == before


SLOW = """
import sys, time
from pathlib import Path
from belle.weights import decrypt, encrypt, streams
fill = streams.Source.fill
def slow(self, into, position):
    time.sleep(0.02)
    fill(self, into, position)
streams.Source.fill = slow
words = sys.argv[1:]
module = {"decrypt": decrypt, "encrypt": encrypt}[words[0]]
first = "encrypted" if words[0] == "decrypt" else "plain"
getattr(module, words[0])(**{first: Path(words[1]), "key": Path(words[2]), "out": Path(words[3])})
"""


def named(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))


@pytest.mark.parametrize("what", ["encrypt", "decrypt"])
def test_a_kill_leaves_nothing_half_named_and_is_gone_on_from(tmp_path, key, what):
    """SIGKILL when some files are whole: those are not written again, and the result is that of a straight run."""
    model = tmp_path / "big"
    model.mkdir()
    for number in range(8):
        (model / f"{number}.dat").write_bytes(RANDOM * (number + 4))
    encrypt(plain=model, key=key, out=tmp_path / "release")
    source = model if what == "encrypt" else tmp_path / "release"
    straight, out = (tmp_path / "release" if what == "encrypt" else model), tmp_path / "into" / "out"
    left = out.with_name(".out.0.tmp")
    process = subprocess.Popen([sys.executable, "-c", SLOW, what, str(source), str(key), str(out)])
    deadline = time.monotonic() + 60
    while len(named(left)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    whole = {path.relative_to(left): path.stat().st_ino for path in named(left)}
    assert len(whole) >= 3
    for path in whole:
        assert (left / path).read_bytes() == (straight / path).read_bytes()
    damaged, *intact = sorted(whole)
    flip(left / damaged, 77)
    (left / "foreign.dat").write_bytes(b"x")
    work = encrypt if what == "encrypt" else decrypt
    work(**{"plain" if what == "encrypt" else "encrypted": source}, key=key, out=out)
    assert contents(out) == contents(straight)
    assert not left.exists()
    assert all((out / path).stat().st_ino == whole[path] for path in intact)
    assert (out / damaged).stat().st_ino != whole[damaged]


def test_a_second_run_does_not_write_again_what_holds(tmp_path, release, model, key):
    out = tmp_path / "out"
    decrypt(encrypted=release, key=key, out=out)

    def nodes(folder):
        return {path.relative_to(folder): path.stat().st_ino for path in folder.rglob("*.*") if path.is_file()}

    first, released = nodes(out), nodes(release)
    flip(out / "model.safetensors", 500)
    truncate(out / "config.json", 2)
    decrypt(encrypted=release, key=key, out=out)
    assert contents(out) == FILES
    again = nodes(out)
    assert {str(path) for path in first if first[path] != again[path]} == {"config.json", "model.safetensors"}
    encrypt(plain=model, key=key, out=release)
    changed = {str(path) for path in released if nodes(release)[path] != released[path]}
    assert changed == {"manifest.json"}
    single = tmp_path / "single"
    decrypt(encrypted=encrypted(release), key=key, out=single)
    node = (single / "model.safetensors").stat()
    decrypt(encrypted=encrypted(release), key=key, out=single)
    assert (single / "model.safetensors").stat().st_ino == node.st_ino


def test_two_at_once_into_one_folder(tmp_path, release, key):
    (tmp_path / "into").mkdir()
    out = tmp_path / "into" / "out"
    with unfinished(out, []) as folder:
        with pytest.raises(BelleError, match="another process is writing this folder"):
            decrypt(encrypted=release, key=key, out=out)
        assert folder.is_dir()
    decrypt(encrypted=release, key=key, out=out)
    assert contents(out) == FILES
