"""Values stand in commands as DVC writes them."""

import pytest
from dvc.parsing.interpolate import to_str

from belle.build.registry import Registry, Setting, as_dvc_writes
from belle.config import load

VALUES = [
    1, 1.5, 8e-6, 2e-3, 0.0, 1e22, True, False, "text", "with space", "it's", "",
    {"a": 1, "b": 1e-5, "c": True, "d": False, "e": "x y", "f": ["p", "q r", 3], "g": [], "h": "20.", "i": "\n20"},
    {"stop": ["\n20", "20."], "url": "https://example.org/v1?x=1&y=2"},
    {"kind": "trained", "override": {"seed": 2, "deep": {"on": True, "off": False, "list": ["a b"]}}, "last": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_as_dvc_does(value):
    assert as_dvc_writes(value) == to_str(value)


def test_every_section_of_params_yaml(project):
    values = load(project / "params.yaml").model_dump()
    for section in ("generate", "clean", "base", "sft", "answer", "judge"):
        for recipe in values[section].values():
            assert as_dvc_writes(recipe) == to_str(recipe)


class Wildcards(dict):
    pass


def test_settings_remember_what_chose_them():
    registry = Registry({"models": {"m": {"sft": "r"}}, "sft": {"r": {"lr": 1.0}}})
    setting = registry.settings("sft", "models.{model}")(Wildcards(model="m"))
    assert isinstance(setting, Setting)
    assert setting.keys == ["models.m.sft", "sft.r"]
    assert str(setting) == "--lr 1.0"


def test_paths_are_the_product_of_lists_and_remember_their_keys():
    registry = Registry({"tables": {"t": {"eval": "e", "models": ["a", "b"]}}})
    paths = registry.path("{eval}/{model}", eval="tables.{table}.eval", model="tables.{table}.models")(
        Wildcards(table="t")
    )
    assert [str(path) for path in paths] == ["e/a", "e/b"]
    assert paths[0].flags["belle_wired"] == {"tables.t.eval": "e", "tables.t.models": ["a", "b"]}


def test_a_constraint_without_entries_matches_nothing():
    import re

    assert not re.fullmatch(Registry({"models": {}}).names("models"), "")
