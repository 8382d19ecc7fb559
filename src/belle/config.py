"""params.yaml read and checked: every fault at once, unknown keys refused, before any job starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from belle import strict_yaml
from belle.entries import (
    ENTRIES,
    Categories,
    Claim,
    Directions,
    Eval,
    RewardModel,
    Table,
    Text,
    Weigher,
)  # fmt: skip
from belle.errors import InputError
from belle.params import Params
from belle.references import close, reference_faults
from belle.settings import (
    SECTIONS,
    Budget,
    Launch,
    Pace,
)  # fmt: skip

_POSSIBLE_KIND = re.compile(f"^({'|'.join(kind for kinds in ENTRIES.values() for kind in kinds)})$")


def _fields_at(raw: Any, path: list[str]) -> list[str]:
    """The keys that the schema knows at ``path``, for a hint about an unknown key."""
    model: Any = Params
    if len(path) >= 2 and path[0] in ENTRIES:
        kind = raw.get(path[0], {}).get(path[1], {}).get("kind")
        model = ENTRIES[path[0]].get(kind)
    elif path:
        registry = {
            "evals": Eval, "tables": Table, "categories": Categories, "texts": Text, "weighers": Weigher,
            "rewards": RewardModel, "directions": Claim if len(path) > 2 else Directions,
        }  # fmt: skip
        about_the_build = {"pace": Pace, "budget": Budget, "launch": Launch}
        model = {**SECTIONS, **registry, **about_the_build}.get(path[0])
    return list(model.model_fields) if model else []


def _schema_faults(raw: Any, error: ValidationError) -> list[tuple[list[str], str]]:
    faults = []
    for item in error.errors():
        # an entry's kind stands third in the path; further on, a field may have the name of a kind
        path = [str(part) for at, part in enumerate(item["loc"]) if at != 2 or not _POSSIBLE_KIND.match(str(part))]
        value = item.get("input")
        if item["type"] == "extra_forbidden":
            text = f"unknown key{close(path[-1], _fields_at(raw, path[:-1]))}"
        elif item["type"] == "missing":
            text = "missing"
        else:
            text = f"{item['msg'][0].lower()}{item['msg'][1:]}, found {value!r}"
        faults.append((path, text))
    return faults


def load(path: Path = Path("params.yaml")) -> Params:
    """Load and check params.yaml.

    Raises:
        InputError: the file is missing, no YAML, or any value is refused; the message lists every fault with its line.
    """
    raw, lines = strict_yaml.load_with_lines(path)
    return _checked(raw, lines, str(path), "mend the lines above; every key and its unit is described in params.yaml")


def load_overridden(path: Path, overrides: dict[str, Any], checkout: str) -> tuple[Params, dict[str, Any]]:
    """params.yaml of a checkout that another workflow uses as a module, with that workflow's values in its place.

    Mappings are merged key by key, all else is replaced. Files of the checkout that the result still names are
    given the path that they have from the other workflow's folder.

    Args:
        overrides: The module's ``config``.
        checkout: The path of the checkout from the other workflow's folder.

    Returns:
        The checked record, and the values as they are to be written.

    Raises:
        InputError: values refused, all in one message.
    """
    raw = strict_yaml.load(path)
    for section, field in (
        ("datasets", "seeds"),
        ("datasets", "path"),
        ("evals", "path"),
        ("weighers", "reference"),
        ("sft", "deepspeed"),
        ("pretrain", "deepspeed"),
        ("pairs", "path"),
        ("reward", "deepspeed"),
        ("dpo", "deepspeed"),
    ):
        for entry in raw[section].values():
            if _of_checkout(path.parent, entry.get(field), set(raw["evalset"])):
                entry[field] = f"{checkout}/{entry[field]}"
    merged = _merged(raw, overrides)
    fix = "mend these keys in the module's config; every key and its unit is described in the module's params.yaml"
    return _checked(merged, {}, "the module's config", fix), merged


def _of_checkout(folder: Path, name: str | None, written: set[str]) -> bool:
    """Whether a path names a file that comes with the checkout, other than an evaluation set that a stage writes."""
    return bool(name) and (folder / str(name)).is_file() and Path(str(name)).stem not in written


def _merged(ours: Any, theirs: Any) -> Any:
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return theirs
    if ours.get("kind", 0) != theirs.get("kind", ours.get("kind", 0)):
        return theirs  # an entry of another kind has other fields
    return {**ours, **{key: _merged(ours[key], value) if key in ours else value for key, value in theirs.items()}}


def _checked(raw: Any, lines: strict_yaml.Lines, where: str, fix: str) -> Params:
    try:
        params = Params.model_validate(raw)
        faults = reference_faults(params)
    except ValidationError as error:
        faults = _schema_faults(raw, error)
    if not faults:
        return params
    listed = []
    for keys, text in sorted(faults, key=lambda fault: strict_yaml.line_of(lines, fault[0])):
        place = f"line {strict_yaml.line_of(lines, keys)}: " if lines else ""
        listed.append(f"  {place}{'.'.join(keys) or '(top)'}: {text}")
    count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
    raise InputError("\n".join([f"{count}, nothing was started", *listed]), where=where, fix=fix)
