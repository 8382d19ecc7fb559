"""The flags that users of Snakemake and DVC know do here what they expect, or say why they cannot."""

import json
from pathlib import Path

import pytest

from trials.worlds import World, commit, copy_world

MODELS = ["tiny-base", "belle-tiny", "belle-tiny-gptq"]
BRANCH = {f"{stage}-tiny-belle-tiny-gptq" for stage in ("answer", "judge", "score")}


def each(stage: str) -> set[str]:
    return {f"{stage}-tiny-{model}" for model in MODELS}


@pytest.fixture(scope="module")
def edited(built_once: Path, tmp_path_factory) -> World:
    """A built world in which gptq.bits was changed and nothing was built since; no test may build in it."""
    world = copy_world(built_once, tmp_path_factory.mktemp("edited") / "world")
    world.set("gptq.bits", 3)
    return world


def test_force_all_takes_every_stage(edited: World):
    planned = edited.planned("-F")
    assert {"corpus-tiny", "base-tiny-base", "sft-belle-tiny", "table-tiny"} <= set(planned)
    assert set(planned.values()) == {"Forced execution"}


def test_forcerun_takes_rules_and_files(edited: World):
    by_rule = edited.planned("--forcerun", "score")
    assert each("score") <= set(by_rule)
    by_file = edited.planned("--forcerun", "data/clean/tiny.jsonl")
    assert by_file["clean-tiny"].startswith("Forced")
    assert "corpus-tiny" not in by_file


def test_until_and_omit_from_cut_the_plan(edited: World):
    assert set(edited.planned("--until", "gptq")) == {"gptq-belle-tiny"}
    assert set(edited.planned("--omit-from", "judge")) == {"gptq-belle-tiny", "answer-tiny-belle-tiny-gptq"}
    assert set(edited.planned()) == {"gptq-belle-tiny", "table-tiny"} | BRANCH


def test_summary_says_what_a_clone_can_know(edited: World, tmp_path: Path):
    """Snakemake's own records are not in a clone; the columns come from dvc.lock."""
    commit(edited.folder, "bits")
    clone = World(tmp_path / "clone")
    edited.run("git", "clone", "-q", ".", str(clone.folder))
    edited.run("cp", "-r", "models", "data", "results", str(clone.folder))
    for flag, inputs in (("--summary", False), ("--detailed-summary", True)):
        lines = [line.split("\t") for line in clone.run("snakemake", flag).stdout.splitlines() if "\t" in line]
        rows = {line[0]: line for line in lines}
        gptq = rows["models/belle-tiny-gptq"]
        assert gptq[2:4] == ["gptq", "logs/gptq-belle-tiny.log"]
        assert gptq[-2:] == ["params changed", "update pending"]
        assert rows["models/belle-tiny"][-2:] == ["ok", "no update"]
        if inputs:
            assert gptq[4] == "data/clean/tiny.jsonl,models/belle-tiny"
            assert gptq[5].startswith("belle gptq models/belle-tiny ")


def test_list_changes_by_kind(edited: World):
    def listed(kind: str) -> set[str]:
        return {
            line
            for line in edited.run("snakemake", "--list-changes", kind).stdout.split()
            if "/tiny" in line or "belle-" in line
        }

    assert "models/belle-tiny-gptq" in listed("params")
    assert listed("code") == set()
    path = edited.folder / "src" / "belle" / "evaluate" / "score.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("round(", "0.0 + round("), encoding="utf-8")
    try:
        assert listed("code") == {f"results/scores/tiny/{model}.json" for model in MODELS}
        assert not listed("params") & listed("code")
    finally:
        path.write_text(text, encoding="utf-8")


def test_report_knows_every_stage(edited: World, tmp_path: Path):
    told = edited.run("snakemake", "--report", str(tmp_path / "report.html")).stdout
    assert "Missing metadata" not in told
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "gptq" in page
    assert "belle-tiny" in page


def test_touch_and_cleanup_metadata_name_what_to_do_instead(edited: World):
    touched = edited.run("snakemake", "--touch", check=False)
    assert touched.returncode == 1
    assert "`dvc commit -f " in touched.stdout
    cleaned = edited.run("snakemake", "--cleanup-metadata", "models/belle-tiny", check=False)
    assert cleaned.returncode == 1
    assert "`dvc commit -f sft-belle-tiny`" in cleaned.stdout
    assert "gptq-belle-tiny" in edited.planned()


def test_a_rerun_trigger_that_would_miss_changes_is_refused(edited: World):
    ended = edited.run("snakemake", "-n", "--rerun-triggers", "mtime", check=False)
    assert ended.returncode == 1
    assert "would miss changes" in ended.stdout


def test_unlock_rerun_incomplete_quiet_and_printing(edited: World):
    assert "Unlocked" in edited.run("snakemake", "--unlock").stdout
    assert "gptq-belle-tiny" in edited.planned("--rerun-incomplete")
    assert "rule gptq" not in edited.run("snakemake", "-n", "--quiet").stdout
    assert "belle gptq models/belle-tiny data/clean/tiny.jsonl" in edited.run("snakemake", "-n", "-p").stdout


def test_delete_all_output_lists_what_it_would_delete(edited: World):
    told = edited.run("snakemake", "--delete-all-output", "--dry-run").stdout
    assert "Would delete models/belle-tiny" in told
    assert "data/seeds" not in told
    assert "data/ledger" not in told
    assert (edited.folder / "models" / "belle-tiny").exists()


def test_commit_accepts_what_stands(miniature: World):
    miniature.set("clean.tiny.max_output_chars", 150)
    assert set(miniature.roots()) == {"clean-tiny"}
    miniature.run("dvc", "commit", "-f", "clean-tiny")
    assert miniature.planned() == {}
    assert "clean-tiny" not in miniature.run("dvc", "status").stdout


def test_force_executes_and_keep_going_goes_on(miniature: World):
    assert miniature.build("-F", "--until", "corpus", "evalset") == {
        "corpus-tiny": "executed",
        "evalset-tiny": "executed",
    }
    miniature.set("generate.tiny.max_tokens", 1023)  # the rows stay the same, so only force takes clean along
    forced = miniature.build("-R", "clean", "--until", "clean")
    assert forced == {"generate-tiny": "executed", "clean-tiny": "executed"}
    bad = miniature.folder / "data" / "broken.jsonl"
    bad.write_text('{"question": "1", "class": "math"}\n', encoding="utf-8")
    miniature.set("clean.tiny.decontaminate", [])  # else clean would stop at the broken set, too
    miniature.set("evals.tiny.path", "data/broken.jsonl")
    miniature.set("clean.tiny.max_output_chars", 151)
    before = len(miniature.history())
    ended = miniature.run("snakemake", "--keep-going", check=False)
    assert ended.returncode == 1
    told = {line["stage"]: line["outcome"] for line in miniature.history()[before:]}
    assert told["clean-tiny"] == "executed"
    assert {told[name] for name in each("answer")} == {"failed"}, "each was tried"


def test_dvc_repro_of_one_stage_and_by_force(miniature: World):
    miniature.run("dvc", "repro", "--force", "-s", "score-tiny-tiny-base")
    last = miniature.history()[-1]
    assert (last["stage"], last["outcome"]) == ("score-tiny-tiny-base", "executed")
    miniature.set("corpus.tiny.sentences", 401)
    miniature.set("clean.tiny.max_output_chars", 150)
    miniature.run("dvc", "repro", "clean-tiny")
    assert set(miniature.roots()) == {"corpus-tiny"}


def test_experiments_in_the_workspace(miniature: World):
    miniature.run("dvc", "exp", "run", "-q", "-n", "shorter", "-S", "clean.tiny.max_output_chars=197")
    last = miniature.history()[-1]
    assert (last["stage"], last["outcome"]) == ("clean-tiny", "executed")
    assert "param clean.tiny.max_output_chars: 200 → 197" in last["reason"]
    assert miniature.planned() == {}, "Snakemake sees what the experiment built"
    shown = json.loads(miniature.run("dvc", "exp", "show", "--json").stdout)
    names = {exp.get("name") for row in shown for exp in row.get("experiments") or []}
    assert "shorter" in names
    params = shown[0]["data"]["params"]["params.yaml"]["data"]
    assert params["clean"]["tiny"]["max_output_chars"] == 197


def test_a_frozen_stage_is_left_alone_by_both_sides(miniature: World):
    miniature.run("belle", "freeze", "gptq-belle-tiny")
    miniature.set("gptq.bits", 3)
    assert miniature.planned() == {}
    assert "is frozen" in miniature.run("dvc", "status").stdout
    assert "gptq-belle-tiny" not in miniature.planned("-F")
    assert miniature.build("-R", "score", "--until", "score") == dict.fromkeys(each("score"), "executed")
    assert "frozen: true" in (miniature.folder / "dvc.yaml").read_text(encoding="utf-8"), "a build keeps the mark"
    assert "stale" not in miniature.run("belle", "dvc-yaml", "--check").stdout
    forced = miniature.run("snakemake", "-R", "models/belle-tiny-gptq", check=False)
    assert forced.returncode == 1
    assert "belle unfreeze" in forced.stdout
    miniature.run("belle", "unfreeze", "gptq-belle-tiny")
    assert set(miniature.roots()) == {"gptq-belle-tiny"}


def test_a_change_before_a_frozen_stage_passes_it_by(miniature: World):
    miniature.run("belle", "freeze", "gptq-belle-tiny")
    miniature.set("sft.tiny.seed", 5)
    planned = set(miniature.planned())
    assert {"sft-belle-tiny", "answer-tiny-belle-tiny", "table-tiny"} <= planned
    assert not planned & {"gptq-belle-tiny", *BRANCH}


def test_dvc_freeze_refuses_stages_whose_values_stand_in_params(miniature: World):
    """Why there is `belle freeze`: this holds DVC's limit, and would tell when it is gone."""
    ended = miniature.run("dvc", "freeze", "gptq-belle-tiny", check=False)
    assert ended.returncode == 1
    assert "cannot dump a parametrized stage" in ended.stdout
    miniature.run("dvc", "freeze", "score-tiny-tiny-base")
    miniature.edit("src/belle/evaluate/score.py", "round(", "0.0 + round(")
    assert set(miniature.roots()) == each("score") - {"score-tiny-tiny-base"}
