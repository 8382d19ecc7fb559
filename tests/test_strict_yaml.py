"""params.yaml must mean the same to us and to DVC."""

import pytest
from dvc.utils.serialize import load_yaml

from belle import strict_yaml
from belle.errors import InputError

SAME = """
a: 8e-6
b: 1e3
c: on
d: no
e: 010
f: 1:30
g: 2024-01-01
h: 0o17
i: 0x1F
j: ~
k:
l: .5
m: -.inf
n: "1"
o: 1_000
p: [1, 2.0, true, null, x]
q: {r: {s: t}}
u: 图片
"""


def test_reads_every_scalar_as_dvc_does(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(SAME, encoding="utf-8")
    ours, theirs = strict_yaml.load(path), load_yaml(str(path))
    # ruamel makes dates of dates even in 1.2; our sections hold none, and strict types refuse one
    ours.pop("g"), theirs.pop("g")
    theirs_o, ours_o = theirs.pop("o"), ours.pop("o")
    assert {key: (type(value), value) for key, value in ours.items()} == {
        key: (type(value), value) for key, value in theirs.items()
    }
    assert ours_o == "1_000"
    assert theirs_o in ("1_000", 1000)


def test_refuses_a_key_that_comes_twice_with_its_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(InputError, match=r"params.yaml:3: .*'a' comes twice"):
        strict_yaml.load(path)


def test_names_the_line_of_broken_yaml(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(InputError, match=r"params.yaml:3: not YAML"):
        strict_yaml.load(path)


def test_lines_of_keys(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a:\n  b:\n    c: 1\n  d: 2\n")
    _, lines = strict_yaml.load_with_lines(path)
    assert strict_yaml.line_of(lines, ["a", "b", "c"]) == 3
    assert strict_yaml.line_of(lines, ["a", "d", "missing"]) == 4
