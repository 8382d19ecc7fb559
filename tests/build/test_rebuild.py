"""The rebuild decision in a miniature world: what runs, why, and what does not."""

import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from trials.worlds import World

MODELS = ["tiny-base", "belle-tiny", "belle-tiny-gptq"]


def each(stage: str, models=MODELS) -> set[str]:
    return {f"{stage}-tiny-{model}" for model in models}


def scramble(folder: Path) -> None:
    """Give every file a random modification time within ten years."""
    chance = random.Random(7)
    for root, _, files in os.walk(folder):
        if "/.git" in root:
            continue
        for name in files:
            moment = time.time() - chance.uniform(0, 3e8)
            os.utime(os.path.join(root, name), (moment, moment), follow_symlinks=False)


def test_a_second_build_has_nothing_to_do(miniature: World):
    assert "Nothing to be done" in miniature.run("snakemake", "-n").stdout
    assert miniature.build() == {}
    assert "up to date" in miniature.run("dvc", "status").stdout
    assert miniature.run("git", "status", "--porcelain").stdout == ""


def test_touching_every_file_changes_nothing(miniature: World):
    scramble(miniature.folder)
    assert miniature.planned() == {}
    assert "up to date" in miniature.run("dvc", "status").stdout


def test_fresh_clone_pull_and_scrambled_times(miniature: World, tmp_path: Path):
    clone = World(tmp_path / "clone")
    miniature.run("git", "clone", "-q", ".", str(clone.folder))
    clone.run("dvc", "pull", "-q")
    scramble(clone.folder)
    assert "Nothing to be done" in clone.run("snakemake", "-n").stdout
    assert "up to date" in clone.run("dvc", "status").stdout
    assert clone.build() == {}


@pytest.mark.parametrize("held", ["committed", "staged"])
def test_a_damaged_table_comes_back_from_git(miniature: World, held: str):
    path = miniature.folder / "results" / "tables" / "tiny.md"
    whole = path.read_bytes()
    if held == "staged":
        miniature.set("tables.tiny.title", "Not committed")
        assert miniature.build() == {"table-tiny": "executed"}
        whole = path.read_bytes()
        miniature.run("git", "add", "results")
    path.write_bytes(whole[: len(whole) // 2])
    assert miniature.build() == {"table-tiny": "restored"}
    assert path.read_bytes() == whole
    # what nobody holds is made again
    miniature.run("git", "rm", "-q", "--cached", "results/tables/tiny.md")
    miniature.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "less")
    path.unlink()
    assert miniature.build() == {"table-tiny": "executed"}
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("key", "value", "cause", "roots"),
    [
        ("corpus.tiny.sentences", 401, "param corpus.tiny.sentences: 400 → 401", {"corpus-tiny"}),
        ("evalset.tiny.seed", 1, "param evalset.tiny.seed: 1234 → 1", {"evalset-tiny"}),
        ("generate.tiny.temperature", 0.9, "param generate.tiny.temperature: 1.0 → 0.9", {"generate-tiny"}),
        ("clean.tiny.max_output_chars", 150, "param clean.tiny.max_output_chars: 200 → 150", {"clean-tiny"}),
        ("base.tiny.steps", 5, "param base.tiny.steps: 4 → 5", {"base-tiny-base"}),
        ("sft.tiny.seed", 5, "param sft.tiny.seed: 1234 → 5", {"sft-belle-tiny"}),
        ("gptq.bits", 3, "param gptq.bits: 4 → 3", {"gptq-belle-tiny"}),
        ("answer.tiny.max_new_tokens", 5, "param answer.tiny.max_new_tokens: 4 → 5", each("answer")),
        ("judge.tiny.max_tokens", 99, "param judge.tiny.max_tokens: 3000 → 99", each("judge")),
        ("tables.tiny.title", "Other", "param tables.tiny.title: The tiny world → Other", {"table-tiny"}),
        ("models.belle-tiny.data_fraction", 0.5, "data_fraction: 1.0 → 0.5", {"sft-belle-tiny"}),
        ("sft.belle-7b.learning_rate", 1.0e-5, "", set()),
        ("models.belle-tiny-lora.sft", "tiny", "", set()),
    ],
)
def test_one_value_names_its_stages_and_itself(built_once: Path, miniature: World, key, value, cause, roots):
    miniature.set(key, value)
    found = miniature.roots()
    assert set(found) == roots
    assert all(cause in reason for reason in found.values()), found


def test_a_value_reruns_its_stage_and_only_what_truly_changed_below(miniature: World):
    miniature.set("gptq.bits", 8)
    ran = miniature.build()
    assert ran.pop("gptq-belle-tiny") == "executed"
    assert ran.pop("answer-tiny-belle-tiny-gptq") == "executed"
    # whether the answers came out otherwise decides about the rest; nothing beside the branch may run
    assert set(ran) <= {"judge-tiny-belle-tiny-gptq", "score-tiny-belle-tiny-gptq", "table-tiny"}
    assert "param gptq.bits: 4 → 8" in miniature.history()[-len(ran) - 2]["reason"]
    miniature.set("gptq.bits", 4)
    back = miniature.build()
    assert set(back.values()) == {"restored"}
    assert "up to date" in miniature.run("dvc", "status").stdout


def test_the_same_bytes_stop_the_wave(miniature: World):
    miniature.set("clean.tiny.max_output_chars", 199)
    assert len(miniature.planned()) > 3
    assert miniature.build() == {"clean-tiny": "executed"}
    assert miniature.planned() == {}


def test_comments_docstrings_and_formatting_rerun_nothing(miniature: World):
    miniature.edit("src/belle/train/sft.py", "\ndef sft(", "\n# only a comment\n\n\ndef sft(")
    assert miniature.planned() == {}
    miniature.edit("src/belle/errors.py", '"""Errors that a user can mend.', '"""Errors, and how to mend them.')
    assert miniature.planned() == {}
    miniature.edit(
        "src/belle/stages.py", "def gptq(args: Arguments) -> None:", "def gptq(\n    args: Arguments,\n) -> None:"
    )
    assert miniature.planned() == {}
    assert miniature.build() == {}
    assert "up to date" in miniature.run("dvc", "status").stdout


def test_every_module_can_be_commented_without_a_rebuild(miniature: World):
    for path in (miniature.folder / "src" / "belle").rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# a comment at the end\n", encoding="utf-8")
    assert miniature.planned() == {}


def test_a_constant_reruns_the_stages_that_reach_it(miniature: World):
    miniature.edit("src/belle/evaluate/score.py", "def score(", "_ADDED = 1\n\n\ndef score(")
    assert miniature.roots() == {}  # nothing reaches it yet
    miniature.edit("src/belle/evaluate/score.py", "def score(", "def unused():\n    return _ADDED\n\n\ndef score(")
    assert miniature.roots() == {}
    path = miniature.folder / "src/belle/jsonl.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('separators=(", ", ": ")', 'separators=(",", ":")'), encoding="utf-8")
    found = miniature.roots()
    assert {"evalset-tiny", "generate-tiny", "clean-tiny", *each("answer")} <= set(found)
    assert set(found.values()) == {"code belle.jsonl changed"}
    assert {"corpus-tiny", "base-tiny-base"}.isdisjoint(miniature.planned())


def test_a_file_changed_by_hand_is_restored_without_running_the_stage(miniature: World):
    config = miniature.folder / "models" / "belle-tiny" / "config.json"
    before = config.read_bytes()
    config.unlink()
    config.write_bytes(before.replace(b"llama", b"lama"))
    found = miniature.roots()
    assert found.pop("sft-belle-tiny") == "output models/belle-tiny was changed by hand"
    assert found == dict.fromkeys(("gptq-belle-tiny", "answer-tiny-belle-tiny"), "input models/belle-tiny changed")
    assert miniature.build() == {"sft-belle-tiny": "restored"}
    assert config.read_bytes() == before


def test_a_lost_output_is_restored(miniature: World):
    shutil.rmtree(miniature.folder / "models" / "belle-tiny-gptq")
    (miniature.folder / "results" / "scores" / "tiny" / "belle-tiny.json").unlink()
    assert set(miniature.build("models/belle-tiny-gptq", "results/scores/tiny/belle-tiny.json").values()) == {
        "restored"
    }


def test_forcing_runs_the_stage_itself(miniature: World):
    ran = miniature.build("-R", "score", "--until", "score")
    assert ran == dict.fromkeys(each("score"), "executed")


def test_dvc_repro_alone_does_the_same(miniature: World):
    miniature.set("clean.tiny.max_output_chars", 198)
    status = miniature.run("dvc", "status").stdout
    assert "clean-tiny:" in status
    assert "sft-belle-tiny:" not in status
    miniature.run("dvc", "repro")
    last = miniature.history()[-1]
    assert (last["stage"], last["outcome"]) == ("clean-tiny", "executed")
    assert "param clean.tiny.max_output_chars: 200 → 198" in last["reason"]
    assert miniature.planned() == {}
    miniature.edit("src/belle/evaluate/score.py", "round(", "0.0 + round(")
    miniature.run("dvc", "repro")
    assert miniature.planned() == {}
    assert {line["stage"] for line in miniature.history()[-3:]} == each("score")


def test_dvc_refuses_a_pipeline_older_than_the_registry(miniature: World):
    miniature.set("models.belle-tiny.base", "belle-tiny-lora")
    assert "sft-belle-tiny" in miniature.run("dvc", "status").stdout
    ended = miniature.run("dvc", "repro", check=False)
    assert ended.returncode != 0
    assert "models.belle-tiny.base: tiny-base → belle-tiny-lora" in ended.stdout
    assert "belle dvc-yaml" in ended.stdout


def test_dvc_shows_metrics_and_params(miniature: World):
    assert "Score" in miniature.run("dvc", "metrics", "show").stdout
    miniature.set("gptq.bits", 3)
    assert "gptq.bits" in miniature.run("dvc", "params", "diff").stdout


def test_dvc_push_takes_the_ledger_along(miniature: World, tmp_path: Path):
    assert "up to date" in miniature.run("dvc", "push").stdout
    clone = World(tmp_path / "clone")
    miniature.run("git", "clone", "-q", ".", str(clone.folder))
    clone.run("dvc", "pull", "-q", "data/ledger")
    ours = {path.name: path.read_bytes() for path in (miniature.folder / "data/ledger").iterdir() if path.is_file()}
    theirs = {path.name: path.read_bytes() for path in (clone.folder / "data/ledger").iterdir() if path.is_file()}
    assert theirs
    assert theirs == {name: ours[name] for name in theirs}


def test_history_lines(built_once: Path):
    lines = World(built_once).history()
    assert all(set(line) == {"stage", "reason", "outcome", "started", "seconds"} for line in lines)
    assert {line["outcome"] for line in lines} == {"executed"}
    assert len({line["stage"] for line in lines}) == len(lines)


def test_a_failed_stage_is_told_and_leaves_no_half_output(miniature: World):
    bad = miniature.folder / "data" / "broken.jsonl"
    bad.write_text('{"question": "1", "class": "math"}\n', encoding="utf-8")
    miniature.set("evals.tiny.path", "data/broken.jsonl")
    ended = miniature.run("snakemake", check=False)
    assert ended.returncode == 1
    assert "data/broken.jsonl, row 1: `std_answer` must be text" in ended.stdout
    assert miniature.history()[-1]["outcome"] == "failed"
    assert "Traceback" not in ended.stdout


def test_a_release_is_decrypted_in_the_graph_and_declared_apart(miniature: World):
    assert miniature.build("models/belle-tiny-released") == {
        "encrypt-belle-tiny": "executed",
        "decrypt-belle-tiny-released": "executed",
    }
    ours, theirs = (miniature.folder / "models" / name for name in ("belle-tiny", "belle-tiny-released"))
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    assert miniature.run("git", "diff", "--name-only", "dvc.yaml").stdout == ""
    assert "decrypt-belle-tiny-released" in (miniature.folder / "ondemand/dvc.yaml").read_text(encoding="utf-8")
    assert miniature.planned("models/belle-tiny-released") == {}
    assert "up to date" in miniature.run("dvc", "status").stdout
    assert miniature.planned() == {}


def test_a_difference_is_taken_and_added_again_in_the_graph(miniature: World):
    target = "models/belle-tiny-recovered"
    assert miniature.build(target) == {"make_diff-belle-tiny": "executed", "recover-belle-tiny-recovered": "executed"}
    ours, theirs = (load_file(miniature.folder / "models" / name / "model.safetensors") for name in (
        "belle-tiny", "belle-tiny-recovered",
    ))  # fmt: skip
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(theirs[name], value, rtol=0, atol=1e-6) for name, value in ours.items())
    assert miniature.planned(target) == {}
    miniature.set("models.belle-tiny-recovered.check_sum", 1e9)
    assert set(miniature.roots(target)) == {"recover-belle-tiny-recovered"}
    ended = miniature.run("snakemake", target, check=False)
    assert "and 1000000000.0000 was published" in ended.stdout
