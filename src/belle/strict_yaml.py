"""YAML as DVC reads it (version 1.2), so that both sides of the build see the same values.

PyYAML follows YAML 1.1: ``8e-6`` would be text, ``on`` a boolean, ``010`` eight, ``1:30`` ninety. DVC reads the
same file with YAML 1.2, where they are a number, text, ten and text. Keys that come twice are refused.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from belle.errors import InputError

Lines = dict[tuple[str, ...], int]

_Parent: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Parent):  # type: ignore[misc]
    """The safe loader with YAML 1.2's core scalars and no duplicate keys."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x") else int(text)


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    keys: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} comes twice", key_node.start_mark)
        keys.add(key)
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _fault(path: Path, error: yaml.YAMLError) -> InputError:
    mark = getattr(error, "problem_mark", None)
    place = f"{path}:{mark.line + 1}" if mark else str(path)
    return InputError(f"not YAML: {getattr(error, 'problem', None) or error}", where=place, fix="mend that line")


def _text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            "there is no such file", where=str(path), fix="run this in the folder that holds the Snakefile"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=str(path), fix="save it as UTF-8") from None


def load(path: Path) -> Any:
    """Load a YAML file; raises ``InputError`` with the line where it is no YAML."""
    try:
        return yaml.load(_text(path), Loader=_Loader)
    except yaml.YAMLError as error:
        raise _fault(path, error) from None


def load_with_lines(path: Path) -> tuple[Any, Lines]:
    """Load a YAML file together with the line (from 1) at which each key path stands."""
    value = load(path)
    lines: Lines = {}

    def walk(node: Any, keys: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                inner = (*keys, str(key_node.value))
                lines[inner] = key_node.start_mark.line + 1
                walk(value_node, inner)

    root = yaml.compose(_text(path), Loader=_Loader)
    walk(root, ())
    return value, lines


def line_of(lines: Lines, keys: list[str]) -> int:
    """The line of a key path, or of its nearest parent that stands in the file (1 where none does)."""
    path = tuple(keys)
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
