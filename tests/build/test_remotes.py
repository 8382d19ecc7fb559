"""Remotes: a sample of the faults of `python -m trials.corruption`, and what a build brings from them."""

from pathlib import Path

from trials.corruption.trial import trial
from trials.worlds import World

SCORE = "results/scores/tiny/tiny-base.json"


def test_one_fault_of_each_kind_in_every_place_is_found_and_healed(monkeypatch, built_once: Path):
    monkeypatch.setattr("trials.corruption.trial.built_miniature", lambda: built_once)
    results = trial(faults=46, seed=3, seconds=float("inf"))
    assert len(results) == 46
    assert [result for result in results if not (result["found"] and result["healed"])] == []


def test_a_colleagues_change_executes_nothing(miniature: World, tmp_path: Path):
    miniature.set("clean.tiny.max_output_chars", 150)
    assert miniature.build("data/clean/tiny.jsonl") == {"clean-tiny": "executed"}
    miniature.set("clean.tiny.max_output_chars", 200)
    miniature.run("dvc", "push", "-q", "--run-cache")
    clone = World(tmp_path / "clone")
    miniature.run("git", "clone", "-q", ".", str(clone.folder))
    clone.run("dvc", "pull", "-q")
    clone.set("clean.tiny.max_output_chars", 150)
    assert clone.build("data/clean/tiny.jsonl") == {"clean-tiny": "restored"}


def test_a_pull_of_one_target_brings_only_it(miniature: World, tmp_path: Path):
    clone = World(tmp_path / "clone")
    miniature.run("git", "clone", "-q", ".", str(clone.folder))
    clone.run("dvc", "pull", "-q", SCORE)
    objects = [path for path in (clone.folder / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert len(objects) == 1
    assert (clone.folder / SCORE).exists()
