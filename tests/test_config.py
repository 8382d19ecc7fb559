"""params.yaml: every fault at once, with its line, before anything starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from belle import config
from belle.errors import InputError

ROOT = Path(__file__).parents[1]


def write(tmp_path: Path, change) -> Path:
    values = yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def faults(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        config.load(path)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_the_project_s_own_file_is_accepted():
    params = config.load(ROOT / "params.yaml")
    assert params.gptq.bits == 4
    assert params.models["belle-7b"].base == "bloomz-7b1-mt"


def test_every_fault_in_one_message(tmp_path):
    def change(values):
        values["gptq"]["bitz"] = 4
        values["gptq"]["bits"] = 5
        values["sft"]["tiny"]["learning_rate"] = "fast"
        values["sft"]["tiny"]["warmup_ratio"] = 1.5
        del values["answer"]["tiny"]["seed"]
        values["judge"]["tiny"]["base_url"] = "ftp://x"

    message = faults(write(tmp_path, change))
    assert "6 faults, nothing was started" in message
    assert re.search(r"line \d+: gptq.bitz: unknown key; did you mean 'bits'\?", message)
    assert re.search(r"line \d+: gptq.bits: .*found 5", message)
    assert "sft.tiny.learning_rate" in message
    assert "found 'fast'" in message
    assert "sft.tiny.warmup_ratio" in message
    assert re.search(r"answer.tiny.seed: missing", message)
    assert "judge.tiny.base_url" in message


def test_unknown_names_are_all_told(tmp_path):
    def change(values):
        values["models"]["belle-tiny"]["base"] = "tiny-bas"
        values["models"]["belle-tiny"]["dataset"] = "tinny"
        values["tables"]["tiny"]["models"].append("belle-large")
        values["datasets"]["tiny"]["clean"] = "none"
        values["evals"]["tiny"]["judge"] = "nobody"
        values["default_tables"] = ["tinyy"]

    message = faults(write(tmp_path, change))
    assert "6 faults" in message
    assert "models.belle-tiny.base: unknown base or model 'tiny-bas'; did you mean 'tiny-base'?" in message
    assert "unknown dataset 'tinny'; did you mean 'tiny'?" in message
    assert "unknown base or model 'belle-large'" in message
    assert "default_tables: unknown table 'tinyy'; did you mean 'tiny'?" in message


@pytest.mark.parametrize("name", ["belle-7b-0.2m", "Belle", "a_b", "x-gptq", "x-enc"])
def test_names_that_would_not_hold(tmp_path, name):
    """A dot would split DVC's keys, and -gptq and -enc are added by rules."""

    def change(values):
        values["models"][name] = values["models"]["belle-tiny"]

    assert f"models.{name}" in faults(write(tmp_path, change))


def test_a_model_cannot_be_trained_on_itself(tmp_path):
    def change(values):
        values["models"]["belle-tiny"]["base"] = "belle-tiny-lora"
        values["models"]["belle-tiny-lora"]["base"] = "belle-tiny"

    assert "trained on itself" in faults(write(tmp_path, change))


def test_a_base_and_a_model_cannot_share_a_name(tmp_path):
    def change(values):
        values["bases"]["belle-tiny"] = values["bases"]["tiny-base"]

    assert "a base has the same name" in faults(write(tmp_path, change))


def test_records_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.load(ROOT / "params.yaml").gptq.bits = 3


def test_snakemake_stops_with_status_2_and_no_traceback(checkout):
    path = checkout / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("bits: 4", "bits: four").replace("desc_act", "descact"))
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake"], cwd=checkout, capture_output=True, text=True, env=os.environ
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "gptq.bits" in ended.stderr
    assert "gptq.descact" in ended.stderr
    assert "gptq.desc_act: missing" in ended.stderr
    assert not (checkout / ".belle" / "history.jsonl").exists()


def test_a_local_data_set_says_what_it_is(tmp_path):
    entry = {"kind": "local", "path": "rows.jsonl", "categories": [], "format": "auto", "licence": "mit",
             "clean": "published"}  # fmt: skip

    def change(values):
        values["datasets"]["good"] = entry
        values["datasets"]["bad"] = {
            **entry,
            "format": "alpacca",
            "licence": "",
            "categories": ["a", "b"],
            "clean": "x",
        }
        values["datasets"]["less"] = {key: value for key, value in entry.items() if key != "licence"}
        values["datasets"]["less"]["formt"] = "auto"

    message = faults(write(tmp_path, change))
    assert "datasets.good" not in message
    assert re.search(r"datasets.bad.format: .*'instruction'.*found 'alpacca'", message)
    assert "datasets.bad.licence" in message
    assert "datasets.bad.categories" in message
    assert "datasets.less.licence: missing" in message
    assert "datasets.less.formt: unknown key; did you mean 'format'?" in message
