"""Damage in the local cache is found, named, and mended by the next build."""

import os
from pathlib import Path

import pytest

from belle import strict_yaml
from belle.build import cache as cache_module
from belle.build import pipeline
from belle.build.cache import Cache, md5_fault, run_key
from belle.build.state import State
from trials.worlds import World

SCORE = "results/scores/tiny/tiny-base.json"


def damaged(world: World, path: str, change) -> tuple[str, Path]:
    """Change the bytes of an output's object behind DVC's back; returns its name and place."""
    locks = strict_yaml.load(world.folder / "dvc.lock")["stages"]
    oid = next(out["md5"] for entry in locks.values() for out in entry["outs"] if out["path"] == path)
    place = Cache(world.folder / ".dvc/cache").path(oid)
    content = place.read_bytes()
    place.unlink()
    place.write_bytes(change(content))
    place.chmod(0o444)
    return oid, place


def bit_flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1, *content[1:]])


def test_the_key_of_a_run_is_dvcs(miniature: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(miniature.folder)
    state, cache = State(), Cache(Path(".dvc/cache"))
    name = "score-tiny-tiny-base"
    _, entry = pipeline.find(name)
    runs = cache.runs(run_key(pipeline.resolve(name, entry, state), state))
    assert len(runs) == 1
    assert cache.run_fault(runs[0]) == ""


@pytest.mark.parametrize("change", [bit_flipped, lambda content: content[:-3], lambda content: b""])
def test_damage_is_named_and_a_build_mends_it(miniature: World, change):
    right = (miniature.folder / SCORE).read_bytes()
    oid, place = damaged(miniature, SCORE, change)
    named = miniature.run("belle", "cache", check=False)
    assert named.returncode == 1
    assert oid in named.stdout
    assert SCORE in named.stdout
    os.unlink(miniature.folder / SCORE)
    assert miniature.build(SCORE) == {"score-tiny-tiny-base": "restored"}
    assert (miniature.folder / SCORE).read_bytes() == right == place.read_bytes()


def test_without_a_remote_the_stage_runs_again(miniature: World):
    right = (miniature.folder / SCORE).read_bytes()
    _, place = damaged(miniature, SCORE, bit_flipped)
    miniature.run("dvc", "remote", "modify", "--local", "public", "url", str(miniature.folder / "nowhere"))
    os.unlink(miniature.folder / SCORE)
    assert miniature.build(SCORE) == {"score-tiny-tiny-base": "executed"}
    assert (miniature.folder / SCORE).read_bytes() == right == place.read_bytes()


def test_what_is_leaned_on_is_there():
    import importlib

    for name in cache_module.LEANED_ON:
        parts = name.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:cut]))
            except ImportError:
                continue
            for part in parts[cut:]:
                if name.startswith("dvc.repo.Repo.cloud") and part == "cloud":
                    break  # set on the instance
                found = getattr(found, part)
            break
        else:
            pytest.fail(f"{name} is gone")


def test_md5_fault_says_what_stands_there():
    assert md5_fault("ab.dir", "ab", 3) == ""
    assert md5_fault("ab", "cd", 0) == "is empty"
    assert "cd" in md5_fault("ab", "cd", 3)
