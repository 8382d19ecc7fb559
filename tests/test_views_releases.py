"""Files that a person must bring are named before a build, each with how it is got."""

import pytest

from belle import config
from belle.errors import InputError
from belle.views.releases import missing
from belle.weights.key import LLAMA_7B


@pytest.fixture
def models(project):
    return config.load(project / "params.yaml").models


def test_every_release_of_belle_is_declared_with_its_key(models):
    names = [name for name in models if name.startswith(("belle-llama-", "belle-on-")) and name.endswith("-released")]
    assert len(names) == 6
    for name in names:
        assert models[name].key_sha256 == LLAMA_7B.sha256
        assert models[name].hub == "BelleGroup/" + models[name].release.removeprefix("downloads/")


def test_what_is_missing_is_named_until_it_is_there(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = models["belle-llama-ext-13b-released"]
    release, key = missing("belle-llama-ext-13b-released", entry)
    assert "hf download BelleGroup/BELLE-LLaMA-EXT-13B --local-dir downloads/BELLE-LLaMA-EXT-13B" in str(release)
    assert LLAMA_7B.sha256 in str(key)
    assert LLAMA_7B.md5 in str(key)
    assert "models.belle-llama-ext-13b-released.key in params.yaml" in str(key)
    (tmp_path / "downloads/LLaMA-7B").mkdir(parents=True)
    (tmp_path / "downloads/LLaMA-7B/consolidated.00.pth").touch()
    assert missing("belle-llama-ext-13b-released", entry) == [release]
    (tmp_path / entry.release).mkdir()
    assert missing("belle-llama-ext-13b-released", entry) == []
    diff, base = missing("alpaca-7b", models["alpaca-7b"])
    assert "tatsu-lab/alpaca-7b-wdiff" in str(diff)
    assert base.what == "base"


def test_what_is_built_here_is_never_missing(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("belle-tiny-released", "belle-tiny-recovered"):
        assert missing(name, models[name]) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("key_sha256: any", "key_sha256: 700DF0", r"models.belle-tiny-released.key_sha256"),
        ("check_sum: none", "check_sum: some", r"models.belle-tiny-recovered.check_sum"),
        ("    key: tiny-base ", "    key: tiny-bass ", r"unknown base or model 'tiny-bass'"),
        (
            "base: tiny-base               # a name of this registry",
            "base: tiny-bass # ",
            r"base: unknown base or model 'tiny-bass'",
        ),
        ('hub: ""\n    base', 'hub: "a b"\n    base', r"models.belle-tiny-recovered.hub"),
        ("belle-tiny-recovered:", "belle-tiny-x-diff:", r"must not end in -gptq or -enc or -diff"),
    ],
)
def test_wrong_values_are_refused_with_their_line(project, tmp_path, old, new, message):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        config.load(tmp_path / "params.yaml")
