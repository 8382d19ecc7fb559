"""What rules say about params.yaml: settings, values and paths that remember the keys they came from.

A rule's ``params:`` and ``input:`` are built with the functions of ``Registry``. Each returns a function of the
wildcards, so a rule is written once for all entries, and a value keeps its key: dvc.yaml can refer to it as ``${key}``
and the rebuild decision can name it.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from belle.build.state import look_up

WIRED = "belle_wired"
"""The Snakemake flag on an input path that lists the keys of params.yaml which chose it."""


class Setting:
    """A value of params.yaml with its key and the keys that chose it.

    ``str()`` is the text that DVC puts where a command says ``${key}``: a mapping becomes flags.
    """

    def __init__(self, key: str, value: Any, wired: dict[str, Any] | None = None) -> None:
        self.key, self.value, self.wired = key, value, wired or {}

    @property
    def keys(self) -> list[str]:
        """Every key of params.yaml that this value depends on."""
        return [*self.wired, self.key]

    def __str__(self) -> str:
        return as_dvc_writes(self.value)

    def __format__(self, spec: str) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"{self.key}={self.value!r}"


def as_dvc_writes(value: Any) -> str:
    """The text that DVC's interpolation makes of a value in a command (``dvc.parsing.interpolate.to_str``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, dict):
        return str(value)
    words: list[str] = []
    for key, item in _flat(value):
        if isinstance(item, bool):
            words += [f"--{key}"] if item else []
        elif isinstance(item, list):
            words += [f"--{key}", *(_word(part) for part in item)] if item else []
        else:
            words += [f"--{key}", _word(item)]
    return " ".join(words)


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a mapping has within as ``outer.inner``, as DVC flattens it."""
    for key, item in values.items():
        if isinstance(item, dict):
            yield from ((f"{key}.{inner}", within) for inner, within in _flat(item))
        else:
            yield key, item


def _word(value: Any) -> str:
    return shlex.quote(value) if isinstance(value, str) else str(value)


class Registry:
    """The checked content of params.yaml, as rules use it."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def names(self, section: str, **fields: str) -> str:
        """A wildcard constraint that holds for the entries of ``section`` whose fields are as given."""
        found = [
            re.escape(name)
            for name, entry in self.values[section].items()
            if all(entry.get(field) == value for field, value in fields.items())
        ]
        return "|".join(found) or r"(?!)"

    def value(self, key: str) -> Callable[[Any], Setting]:
        """One value, as ``value("models.{model}.data_fraction")``."""

        def resolve(wildcards: Any) -> Setting:
            filled = key.format(**dict(wildcards.items()))
            return Setting(filled, look_up(filled, self.values))

        return resolve

    def plain(self, key: str) -> Callable[[Any], Any]:
        """One value without its key, for resources: what they are is no part of a result."""

        def resolve(wildcards: Any) -> Any:
            return self.value(key)(wildcards).value

        return resolve

    def settings(self, section: str, entry: str = "") -> Callable[[Any], Setting]:
        """All settings of a stage as flags.

        Args:
            section: The stage's section of params.yaml.
            entry: The registry entry whose field of the section's name says which recipe, as ``models.{model}``;
                empty where the section has no recipes.
        """

        def resolve(wildcards: Any) -> Setting:
            if not entry:
                return Setting(section, look_up(section, self.values))
            chooser = f"{entry}.{section}".format(**dict(wildcards.items()))
            recipe = look_up(chooser, self.values)
            key = f"{section}.{recipe}"
            return Setting(key, look_up(key, self.values), {chooser: recipe})

        return resolve

    def described(self, found: Callable[[Any], tuple[str, list[str]] | None]) -> Callable[[Any], Any]:
        """All values at a key that a function of the wildcards finds, with the keys that chose it; none where it
        finds none."""

        def resolve(wildcards: Any) -> Any:
            chosen = found(wildcards)
            if chosen is None:
                return ""
            key, by = chosen
            return Setting(key, look_up(key, self.values), {each: look_up(each, self.values) for each in by})

        return resolve

    def overriding(self, key: str) -> Callable[[Any], Any]:
        """Settings of one entry that go before those of its recipe, as flags; nothing where the entry has none."""

        def resolve(wildcards: Any) -> Any:
            filled = key.format(**dict(wildcards.items()))
            entry, _, field = filled.rpartition(".")
            found = look_up(entry, self.values).get(field)
            return Setting(filled, found) if found else ""

        return resolve

    def path(self, pattern: str, **keys: str) -> Callable[[Any], list[str]]:
        """Paths chosen by the registry, as ``path("models/{base}", base="models.{model}.base")``.

        A key whose value is a list gives one path for each of its items. Wildcards may stand in both.
        """
        from snakemake.io import flag

        def resolve(wildcards: Any) -> list[str]:
            known = dict(wildcards.items())
            filled = {field: key.format(**known) for field, key in keys.items()}
            wired = {key: look_up(key, self.values) for key in filled.values()}
            choices = [_as_list(wired[key]) for key in filled.values()]
            return [
                flag(pattern.format(**known, **dict(zip(filled, choice, strict=True))), WIRED, wired)
                for choice in itertools.product(*choices)
            ]

        return resolve

    def given(self, found: Callable[[Any], Iterable[tuple[str, list[str]]]]) -> Callable[[Any], list[str]]:
        """Paths that a function of the wildcards finds, each with the keys of params.yaml that chose it."""
        from snakemake.io import flag

        def resolve(wildcards: Any) -> list[str]:
            return [
                flag(path, WIRED, {key: look_up(key, self.values) for key in keys}) for path, keys in found(wildcards)
            ]

        return resolve

    def brought(self, found: Callable[[Any], list[str]]) -> Callable[[Any], list[str]]:
        """Those of the paths that rules make or that are here: a plan needs none of what a person has to bring."""
        return lambda wildcards: [path for path in found(wildcards) if not _absent(path)]

    def absent(self, *found: Callable[[Any], list[str]]) -> Callable[[Any], str]:
        """The other ones, for a rule's resource ``files``: a build stops before any work and names them."""
        return lambda wildcards: ", ".join(str(path) for each in found for path in each(wildcards) if _absent(path))

    def through(self, section: str, entry: str, field: str, path: str) -> Callable[[Any], list[str]]:
        """Paths of the registry's entries that a recipe lists by name.

        Args:
            section, entry: The recipe, as in ``settings``.
            field: The recipe's list of names.
            path: The key of each one's path, as ``evals.{name}.path``.
        """
        from snakemake.io import flag

        def resolve(wildcards: Any) -> list[str]:
            chooser = f"{entry}.{section}".format(**dict(wildcards.items()))
            recipe = look_up(chooser, self.values)
            listed = f"{section}.{recipe}.{field}"
            names = look_up(listed, self.values)
            found = []
            for name in names:
                key = path.format(name=name)
                wired = {chooser: recipe, listed: names, key: look_up(key, self.values)}
                found.append(flag(wired[key], WIRED, wired))
            return found

        return resolve

    def weights(self, key: str) -> Callable[[Any], list[str]]:
        """A model's folder where the registry names a model, or the path that stands there instead."""

        def resolve(wildcards: Any) -> list[str]:
            name = look_up(key.format(**dict(wildcards.items())), self.values)
            chosen = (
                self.brought(self.path("{path}", path=key)) if "/" in name else self.path("models/{name}", name=key)
            )
            return chosen(wildcards)

        return resolve


MADE = ("models", "data", "results")
"""The folders that rules write to."""


def _absent(path: str) -> bool:
    return Path(path).parts[0] not in MADE and not Path(path).exists()


def _as_list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]
