"""Encrypting and decrypting files and folders; every kind of wrong input has its cause and leaves nothing behind."""

import hashlib
import json
import random
import shutil

import pytest

from belle.errors import BelleError, InputError
from belle.weights import key as keys
from belle.weights.decrypt import decrypt
from belle.weights.encrypt import encrypt
from belle.weights.key import find_key
from belle.weights.xor import CHUNK

RANDOM = random.Random(4).randbytes(300_000)
KEY = RANDOM[:70_001]
FILES = {
    "config.json": b'{"model_type": "llama"}\n',
    "model.safetensors": (64).to_bytes(8, "little") + b'{"weight": {"dtype": "F32"}}' + RANDOM[100_000:250_000],
    "empty.txt": b"",
    "sub/vocab.txt": "你好\n".encode(),
}


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
        (9).to_bytes(8, "little") + b'{"a": 1}' + bytes(10**5)
    )


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
    (release / f"config.json.{'0' * 64}.enc").write_bytes(bytes(40))


WRONG = [
    (spoil_truncated, InputError, r"truncated: 149,968 bytes, and the manifest says 150,068(?s:.*)cut off"),
    (spoil_too_long, InputError, r"too long(?s:.*)another version"),
    (spoil_zero_bytes, InputError, r"truncated: 0 bytes, and the header alone takes 32"),
    (
        spoil_flipped_byte,
        BelleError,
        r"encrypted file's sha256 is \w{64}, and the manifest says(?s:.*)damaged download",
    ),
    (spoil_flipped_header, InputError, r"the name says sha256 \w{64}, the header says \w{64}"),
    (spoil_swapped, InputError, r"name says(?s:.*)changed places"),
    (spoil_missing, InputError, r"1 file\(s\) of the manifest missing: config.json"),
    (spoil_strange, InputError, r"manifest does not name: other.enc"),
    (spoil_lfs, InputError, r"a Git LFS pointer(?s:.*)git lfs pull"),
    (spoil_web_page, InputError, r"a web page, not the file"),
    (spoil_manifest_json, InputError, r"manifest.json: not JSON"),
    (spoil_manifest_name, InputError, r"'../config.json' leads out of the folder"),
    (spoil_manifest_field, InputError, r"missing or unknown(?s:.*)md4"),
    (spoil_key_cut_off, InputError, r"wrong key: 69,001 bytes, and the manifest says 70,001(?s:.*)cut off"),
    (spoil_key_damaged, InputError, r"wrong key: sha256 \w{64}, and the manifest says \w{64}(?s:.*)damaged"),
    (spoil_key_is_hf, InputError, r"wrong key(?s:.*)HF-converted model(?s:.*)use consolidated.00.pth: 70,001 bytes"),
    (spoil_key_is_13b, InputError, r"wrong key(?s:.*)LLaMA-13B or larger"),
    (spoil_key_empty, InputError, r"the key is empty"),
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
        r"decrypted file's(?s:.*)truncated or damaged download: the key is right",
    ),
    (spoil_flipped_no_manifest, BelleError, r"decrypted file's(?s:.*)truncated or damaged download: the key is right"),
    (spoil_two_versions, InputError, r"two files for one name|name says sha256"),
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
    monkeypatch.setattr("belle.weights.decrypt.LLAMA_7B", sha256(KEY))
    with pytest.raises(BelleError, match="damaged download: the key is right"):
        decrypt(encrypted=path, key=key, out=tmp_path / "out")
    assert keys.LLAMA_7B.startswith("700df0d3")


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
