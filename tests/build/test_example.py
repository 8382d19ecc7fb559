"""The example under examples/: another workflow uses ours as a module, changes values, and has a rule of its own."""

import os
import shutil
import time
from pathlib import Path

import pytest
import yaml

from belle import strict_yaml
from trials.worlds import World, copy_checkout

NOTE = """

rule note:
    input:
        "report.md",
    output:
        "note.md",
    script:
        "note.py"
"""


class Example(World):
    """The example's folder in a copy of the checkout, whose modules are used."""

    def run(self, *words: str, check: bool = True, **environment: str):
        words = (*words, "--cores", "2") if words[0] == "snakemake" else words
        return super().run(*words, check=check, PYTHONPATH=str(self.folder.parents[1] / "src"), **environment)

    def give(self, key: str, value) -> None:
        """Set a value in config.yaml."""
        path = self.folder / "config.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        inner = values
        *outer, last = key.split(".")
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def made(folder: Path) -> Example:
    example = Example(copy_checkout(folder) / "examples" / "my-model")
    example.run("dvc", "init", "-q", "--subdir")
    return example


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Example:
    """The example, built."""
    folder = tmp_path_factory.mktemp("library") / "checkout"
    folder.mkdir()
    found = made(folder)
    found.run("snakemake")
    return found


@pytest.fixture
def unbuilt(tmp_path: Path) -> Example:
    (tmp_path / "checkout").mkdir()
    return made(tmp_path / "checkout")


def test_the_example_is_built_and_then_has_nothing_to_do(example: Example):
    assert (example.folder / "report.md").read_text(encoding="utf-8").startswith("# My model beside its base\n")
    assert {line["outcome"] for line in example.history()} == {"executed"}
    assert "Nothing to be done" in example.run("snakemake", "-n").stdout
    assert "up to date" in example.run("dvc", "status").stdout
    values = strict_yaml.load(example.folder / "params.yaml")
    assert values["datasets"]["tiny"]["seeds"] == "../../data/seeds/seed_tasks.jsonl"
    assert values["corpus"]["tiny"] == {"sentences": 400, "seed": 1234}, "merged key by key"
    root = example.folder.parents[1]
    assert not (root / "models").exists(), "nothing is built in our checkout"
    assert not (root / ".belle").exists()


def test_the_pipeline_is_written_from_the_rules_there_too(example: Example):
    example.run("belle", "dvc-yaml")
    text = (example.folder / "dvc.yaml").read_text(encoding="utf-8")
    assert "../../src/belle/prompts/self_instruct.txt" in text
    lines = [line.strip() for line in text.splitlines()]
    assert not {"- report.py", "report:"} & set(lines), "a rule of one's own is no stage of ours"
    example.run("dvc", "repro", "-q", "fingerprint")
    assert "up to date" in example.run("dvc", "status").stdout
    assert example.build() == {}


def test_an_override_reruns_its_stage_and_the_own_rule_only_where_the_table_changed(example: Example):
    report = example.folder / "report.md"
    before = report.stat().st_mtime_ns
    example.give("clean.tiny.max_output_chars", 199)
    assert set(example.roots()) == {"clean-tiny"}
    assert example.build() == {"clean-tiny": "executed"}
    example.give("tables.mine.title", "Mine")
    assert set(example.roots()) == {"table-mine"}
    assert example.build() == {"table-mine": "executed"}
    assert report.read_text(encoding="utf-8").startswith("# Mine\n")
    assert report.stat().st_mtime_ns != before
    assert "Nothing to be done" in example.run("snakemake", "-n").stdout


def test_times_say_nothing_to_the_own_rule_and_its_input_s_bytes_do(example: Example):
    table = example.folder / "results" / "tables" / "mine.json"
    now = time.time() + 1000
    os.utime(table, (now, now))
    assert "Nothing to be done" in example.run("snakemake", "-n").stdout
    before = table.read_bytes()
    table.unlink()
    table.write_bytes(before.replace(b"Mine", b"Hers").replace(b"My model beside", b"A model beside"))
    assert "rule report:" in example.run("snakemake", "-n", "report.md").stdout
    table.unlink()
    table.write_bytes(before)
    assert "Nothing to be done" in example.run("snakemake", "-n").stdout


def test_an_own_rule_s_script_counts_by_its_content(example: Example):
    whole = example.folder / "Snakefile"
    before, script = whole.read_text(encoding="utf-8"), example.folder / "note.py"
    whole.write_text(before + NOTE, encoding="utf-8")
    script.write_text("open(snakemake.output[0], 'w').write(open(snakemake.input[0]).readline())\n", encoding="utf-8")
    example.run("snakemake", "note.md")
    assert "Nothing to be done" in example.run("snakemake", "-n", "note.md").stdout
    moment = time.time() + 1000
    os.utime(script, (moment, moment))
    assert "Nothing to be done" in example.run("snakemake", "-n", "note.md").stdout
    script.write_text("open(snakemake.output[0], 'w').write('another')\n", encoding="utf-8")
    os.utime(script, (0, 0))
    assert "input note.py changed" in example.run("snakemake", "note.md").stdout
    assert (example.folder / "note.md").read_text(encoding="utf-8") == "another"
    assert "Nothing to be done" in example.run("snakemake", "-n", "note.md").stdout
    whole.write_text(before, encoding="utf-8")


def test_all_faults_of_the_config_are_told_at_once(unbuilt: Example):
    unbuilt.give("sft.mine.learning_rat", 1.0)
    unbuilt.give("models.my-model.dataset", "nobodys")
    unbuilt.give("gptq.bits", 5)
    ended = unbuilt.run("snakemake", "-n", check=False)
    assert ended.returncode == 2
    assert "did you mean 'learning_rate'" in ended.stdout
    assert "gptq.bits" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_a_params_yaml_of_somebody_else_is_not_overwritten(unbuilt: Example):
    (unbuilt.folder / "params.yaml").write_text("mine: 1\n", encoding="utf-8")
    ended = unbuilt.run("snakemake", "--until", "belle_corpus", check=False)
    assert ended.returncode == 1
    assert "overwrite a file of yours" in ended.stdout
    assert (unbuilt.folder / "params.yaml").read_text(encoding="utf-8") == "mine: 1\n"


def test_a_folder_without_a_repository_of_its_own_is_refused(unbuilt: Example):
    shutil.rmtree(unbuilt.folder / ".dvc")
    ended = unbuilt.run("snakemake", "--until", "belle_corpus", check=False)
    assert ended.returncode == 1
    assert "dvc init" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_config_on_our_own_command_line_is_refused(built_once: Path):
    ended = World(built_once).run("snakemake", "-n", "--config", "gptq=1", check=False)
    assert ended.returncode == 2
    assert "dvc exp run -S" in ended.stdout
