"""`belle history` on lines as builds write them, a torn one among them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from belle import cli
from belle.build import history
from belle.views.past import last_made, runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with five runs of three stages; the sixth was torn by a kill."""
    monkeypatch.chdir(tmp_path)
    started = datetime.now(UTC) - timedelta(seconds=10)
    for stage, reason, outcome in (
        ("sft-belle-tiny", "never built here", history.FAILED),
        ("sft-belle-tiny", "never built here", history.EXECUTED),
        ("sft-belle-tiny-lora", "never built here", history.EXECUTED),
        ("gptq-belle-tiny", "param gptq.bits: 4 → 3", history.EXECUTED),
        ("gptq-belle-tiny", "param gptq.bits: 3 → 4", history.RESTORED),
    ):
        history.record(tmp_path, stage, reason, outcome, started)
    with open(tmp_path / history.HISTORY, "a", encoding="utf-8") as file:
        file.write('{"stage": "gptq-belle-ti')
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["history", *words]) == 0
    return capsys.readouterr().out


def test_the_last_runs_stand_first_and_the_totals_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys).splitlines()
    assert "restored  gptq-belle-tiny" in lines[0]
    assert lines[0].endswith("param gptq.bits: 3 → 4")
    assert "5 runs: 3 executed, 1 restored, 1 failed; 50 s in all" in lines[5]
    assert lines[6].startswith("1 line(s) that could not be read")


def test_a_stage_by_its_name_or_by_its_beginning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact = json.loads(shown(capsys, "sft-belle-tiny", "--json"))
    assert [run["outcome"] for run in exact["runs"]] == ["executed", "failed"]
    begun = json.loads(shown(capsys, "sft", "--json"))
    assert begun["totals"]["executed"] == 2
    assert cli.main(["history", "nothing"]) == 2
    assert "name one of gptq-belle-tiny, sft-belle-tiny, sft-belle-tiny-lora" in capsys.readouterr().err


def test_only_so_many_and_totals_of_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(shown(capsys, "-n", "2", "--json"))
    assert [run["stage"] for run in report["runs"]] == ["gptq-belle-tiny"] * 2
    assert (report["totals"]["executed"], report["unreadable_lines"]) == (3, 1)
    assert len(json.loads(shown(capsys, "-n", "0", "--json"))["runs"]) == 5
    assert cli.main(["history", "-n", "-1"]) == 2


def test_a_params_file_that_is_being_edited_is_no_hindrance(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "params.yaml").write_text("bases: [", encoding="utf-8")
    assert shown(capsys)


def test_a_folder_in_which_nothing_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(capsys).startswith("0 runs: 0 executed, 0 restored, 0 failed")


def test_what_stands_there_was_made_by_the_last_run_that_did_not_fail(folder: Path) -> None:
    history.record(folder, "gptq-belle-tiny", "forced", history.FAILED, datetime.now(UTC))
    # the torn line and the one after it are one line now: both are passed over
    found, torn = runs()
    assert torn == 1
    assert last_made(found)["gptq-belle-tiny"].reason == "param gptq.bits: 3 → 4"
