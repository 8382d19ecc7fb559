"""Filters as params.yaml names them: all faults at once, and the same words on every way to the stage."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
import yaml

from belle import config, filter_names, stages
from belle.build.registry import as_dvc_writes
from belle.data import filters as library
from belle.errors import InputError

ROOT = Path(__file__).parents[1]


def test_every_name_is_a_filter_and_every_filter_has_a_name():
    assert set(filter_names.PLAIN) == set(library.FILTERS)
    row = {"instruction": "字" * 9, "input": "字" * 9, "output": "好"}
    for name in filter_names.LIMITS:
        assert library.named(f"{name}:9")(row) is None
        assert library.named(f"{name}:{10 if 'short' in name else 8}")(row) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("refussal", "unknown filter 'refussal'; did you mean 'refusal'"),
        ("", "unknown filter ''; there are instruction_empty"),
        ("refusal:3", "refusal takes no value, found '3'"),
        ("input_too_long", "takes a number of characters from 1 on, as input_too_long:40; found ''"),
        ("input_too_long:0", "found '0'"),
        ("input_too_long:-4", "found '-4'"),
        ("input_too_long:4.5", "found '4.5'"),
        ("input_too_long:九", "found '九'"),
        ("input_too_long:99999999999999999999", "takes a number"),
        ("blacklist:", "takes words divided by commas"),
        ("blacklist:图片,,链接", "found ''"),
        ("blacklist:图片, 链接", "found ' 链接'"),
        ("blacklist:a\nb", "no line end"),
        ("blacklist:${x}", "found '${x}'"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        filter_names.parse(text)


def test_own_words_replace_belles():
    own = library.named("blacklist:枪手,it's {x},a b")
    assert own({"instruction": "图片", "input": "", "output": "链接"}) is None
    for word in ("枪手", "it's {x}", "a b"):
        assert own({"instruction": f"问{word}吗", "input": "", "output": ""}) == "blacklist"
    assert library.named("blacklist")({"instruction": "图片", "input": "", "output": ""}) == "blacklist"


@pytest.mark.parametrize(
    "words", ["图片,链接", 'it\'s,"q"', "a b,c", "$HOME,`ls`,$(ls)", "{x},{{y}}", "a*?,[b],~,#", "%d,\\n,!x", "-x"]
)
def test_words_come_whole_to_the_stage(words):
    """Through DVC's text of a setting, the shell's words and the command line."""
    from dvc.parsing.interpolate import to_str

    filters = ["output_empty", f"blacklist:{words}", "input_too_long:5"]
    text = as_dvc_writes({"filters": filters})
    assert to_str({"filters": filters}, {"parsing": {"bool": "store_true", "list": "nargs"}}) == text
    parser = argparse.ArgumentParser()
    stages._option(parser, "filters", list[str])
    assert parser.parse_args(shlex.split(text)).filters == filters
    assert set(filter_names.parse(filters[1]).words) == set(words.split(","))


def faults(tmp_path, change):
    values = yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        config.load(path)
    return str(caught.value)


def test_every_fault_of_filters_at_once(tmp_path):
    def change(values):
        values["clean"]["tiny"]["filters"] = ["output_emty", "refusal", "input_too_long:many", "blacklist:a,,b"]
        values["clean"]["tiny-sets"]["filters"] = ["refusal", "blacklist:甲", "blacklist:乙"]

    message = faults(tmp_path, change)
    assert "4 faults, nothing was started" in message
    assert re.search(r"line \d+: clean.tiny.filters.0: .*did you mean 'output_empty'", message)
    assert "clean.tiny.filters.2" in message
    assert "clean.tiny.filters.3" in message
    assert re.search(r"clean.tiny-sets.filters: .*named twice: blacklist", message)


def test_every_fault_of_weighing_and_mixing_at_once(tmp_path):
    def change(values):
        values["clean"]["tiny"]["weigher"] = "tiny"  # nothing asks for it, and its base is fine
        values["clean"]["tiny-sets"]["semantic_threshold"] = 0.9  # and no weigher
        values["clean"]["tiny-clean"]["weigher"] = "tyny"
        values["clean"]["belle-clean"]["weigher"] = "trained"  # whose model is trained on the set that it weighs
        values["weighers"]["trained"] = {**values["weighers"]["tiny"], "base": "of-the-clean"}
        values["weighers"]["lost"] = {"base": "tiny-bas", "reference": "x.jsonl", "weigh": "tinny"}
        values["models"]["of-the-clean"] = {**values["models"]["belle-tiny"], "dataset": "belle-500k-clean"}
        sets = ["tiny-clean", "tiny", "tiny", "no"]
        values["datasets"]["mixed"] = {"kind": "mixed", "sets": sets, "clean": "published"}

    message = faults(tmp_path, change)
    for text in (
        "clean.tiny.weigher: no limit asks for its weights",
        "clean.tiny-sets.weigher: max_perplexity, max_answer_perplexity, perplexity_cut or semantic_threshold is set",
        "clean.tiny-clean.weigher: unknown weigher 'tyny'; did you mean 'tiny'?",
        "clean.belle-clean.weigher: its model is trained on belle-500k-clean, whose rows it would weigh first",
        "weighers.lost.base: unknown base or model 'tiny-bas'; did you mean 'tiny-base'?",
        "weighers.lost.weigh: unknown recipe of weigh 'tinny'; did you mean 'tiny'?",
        "datasets.mixed.sets: tiny-clean is mixed itself: name its sets",
        "datasets.mixed.sets: named twice: tiny",
        "datasets.mixed.sets: unknown dataset 'no'",
    ):
        assert text in message, message
    assert "9 faults" in message
