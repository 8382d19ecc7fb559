"""params.yaml read and checked: every fault at once, unknown keys refused, before any job starts."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from belle import strict_yaml
from belle.entries import (
    BUILT_ON,
    AskedDataset,
    Categories,
    Eval,
    GeneratedDataset,
    HubBase,
    JudgedPairs,
    LocalDataset,
    LocalPairs,
    PreferredModel,
    PublishedDataset,
    ReinforcedModel,
    ReleasedModel,
    RewardModel,
    ScratchBase,
    Table,
    Text,
    TrainedModel,
)  # fmt: skip
from belle.errors import InputError
from belle.params import Params
from belle.settings import (
    SECTIONS,
    Budget,
    Pace,
)  # fmt: skip

RESERVED_ENDINGS = ("-gptq", "-enc")
"""Endings that rules add to a model's name, so no entry may carry them."""


_POSSIBLE_KIND = re.compile(
    r"^(generated|asked|published|local|scratch|hub|trained|released|preferred|reinforced|judged)$"
)


def _close(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def _fields_at(raw: Any, path: list[str]) -> list[str]:
    """The keys that the schema knows at ``path``, for a hint about an unknown key."""
    model: Any = Params
    if len(path) >= 2 and path[0] in {"datasets", "bases", "models", "pairs"}:
        kind = raw.get(path[0], {}).get(path[1], {}).get("kind")
        kinds: dict[str, Any] = {
            "generated": GeneratedDataset, "asked": AskedDataset, "published": PublishedDataset,
            "local": LocalDataset, "scratch": ScratchBase, "hub": HubBase, "trained": TrainedModel,
            "released": ReleasedModel, "preferred": PreferredModel, "reinforced": ReinforcedModel,
            "judged": JudgedPairs,
        }  # fmt: skip
        model = LocalPairs if path[0] == "pairs" and kind == "local" else kinds.get(kind)
    elif path:
        registry = {"evals": Eval, "tables": Table, "categories": Categories, "texts": Text, "rewards": RewardModel}
        model = {**SECTIONS, **registry, "pace": Pace, "budget": Budget}.get(path[0])
    return list(model.model_fields) if model else []


def _schema_faults(raw: Any, error: ValidationError) -> list[tuple[list[str], str]]:
    faults = []
    for item in error.errors():
        path = [str(part) for part in item["loc"] if not _POSSIBLE_KIND.match(str(part))]
        value = item.get("input")
        if item["type"] == "extra_forbidden":
            text = f"unknown key{_close(path[-1], _fields_at(raw, path[:-1]))}"
        elif item["type"] == "missing":
            text = "missing"
        else:
            text = f"{item['msg'][0].lower()}{item['msg'][1:]}, found {value!r}"
        faults.append((path, text))
    return faults


def _reference_faults(params: Params) -> list[tuple[list[str], str]]:
    faults: list[tuple[list[str], str]] = []

    def known(path: list[str], name: str, what: str, names: list[str]) -> None:
        if name not in names:
            faults.append((path, f"unknown {what} {name!r}{_close(name, names)}"))

    weights = [*params.bases, *params.models]
    for name, dataset in params.datasets.items():
        if isinstance(dataset, GeneratedDataset):
            known(["datasets", name, "generate"], dataset.generate, "recipe of generate", list(params.generate))
        if isinstance(dataset, AskedDataset):
            known(["datasets", name, "ask"], dataset.ask, "recipe of ask", list(params.ask))
        known(["datasets", name, "clean"], dataset.clean, "recipe of clean", list(params.clean))
    for name, recipe in params.ask.items():
        if recipe.kind == "multiturn" and recipe.tasks != 1:
            faults.append((["ask", name, "tasks"], f"must be 1 for multiturn (one dialogue), found {recipe.tasks}"))
        if recipe.kind in ("school_math", "crawl") and recipe.exchanges != 1:
            faults.append((["ask", name, "exchanges"], f"must be 1 for {recipe.kind}, found {recipe.exchanges}"))
    for name, found in params.categories.items():
        known(["categories", name, "dataset"], found.dataset, "dataset", list(params.datasets))
        known(["categories", name, "label"], found.label, "recipe of label", list(params.label))
        known(["categories", name, "classifier"], found.classifier, "recipe of classifier", list(params.classifier))
    for name, cleaning in params.clean.items():
        for eval_name in cleaning.decontaminate:
            known(["clean", name, "decontaminate"], eval_name, "evaluation set", list(params.evals))
    for name, base in params.bases.items():
        if isinstance(base, ScratchBase):
            known(["bases", name, "corpus"], base.corpus, "recipe of corpus", list(params.corpus))
            known(["bases", name, "base"], base.base, "recipe of base", list(params.base))
    for name, model in params.models.items():
        known(["models", name, "dataset"], model.dataset, "dataset", list(params.datasets))
        if isinstance(model, TrainedModel):
            known(["models", name, "base"], model.base, "base or model", weights)
            known(["models", name, "sft"], model.sft, "recipe of sft", list(params.sft))
        elif isinstance(model, PreferredModel | ReinforcedModel):
            known(["models", name, "base"], model.base, "base or model", weights)
        elif "/" not in model.key:
            known(["models", name, "key"], model.key, "base or model", weights)
        if name in params.bases:
            faults.append((["models", name], "a base has the same name; both would be built as models/" + name))
        if name.endswith(RESERVED_ENDINGS):
            faults.append((["models", name], f"a name must not end in {' or '.join(RESERVED_ENDINGS)}"))
    _alignment_faults(params, known, faults)
    for name, entry in params.evals.items():
        known(["evals", name, "answer"], entry.answer, "recipe of answer", list(params.answer))
        known(["evals", name, "judge"], entry.judge, "recipe of judge", list(params.judge))
    for name, table in params.tables.items():
        known(["tables", name, "eval"], table.eval, "evaluation set", list(params.evals))
        for model_name in table.models:
            known(["tables", name, "models"], model_name, "base or model", params.scored_names())
    for name, text in params.texts.items():
        known(["texts", name, "clean_text"], text.clean_text, "recipe of clean_text", list(params.clean_text))
    for name in params.default_tables:
        known(["default_tables"], name, "table", list(params.tables))
    for name, loop in params.models.items():
        seen, current = {name}, loop
        while isinstance(current, BUILT_ON) and current.base in params.models:
            if current.base in seen:
                faults.append((["models", name, "base"], "a model cannot be trained on itself"))
                break
            seen.add(current.base)
            current = params.models[current.base]
    return faults


def _alignment_faults(params: Params, known: Any, faults: list[tuple[list[str], str]]) -> None:
    """What is wrong with pairs, reward models, and the models trained by them."""
    weights = [*params.bases, *params.models]
    for name, pairs in params.pairs.items():
        if isinstance(pairs, JudgedPairs):
            known(["pairs", name, "model"], pairs.model, "base or model", weights)
            known(["pairs", name, "dataset"], pairs.dataset, "dataset", list(params.datasets))
            known(["pairs", name, "sample"], pairs.sample, "recipe of sample", list(params.sample))
            known(["pairs", name, "prefer"], pairs.prefer, "recipe of prefer", list(params.prefer))
    for name, reward in params.rewards.items():
        known(["rewards", name, "base"], reward.base, "base or model", weights)
        known(["rewards", name, "pairs"], reward.pairs, "set of pairs", list(params.pairs))
        known(["rewards", name, "reward"], reward.reward, "recipe of reward", list(params.reward))
        if name in weights:
            same = "a base or model has the same name; both would be built as models/" + name
            faults.append((["rewards", name], same))
    for name, model in params.models.items():
        if isinstance(model, PreferredModel):
            known(["models", name, "pairs"], model.pairs, "set of pairs", list(params.pairs))
            known(["models", name, "dpo"], model.dpo, "recipe of dpo", list(params.dpo))
            drawn_by = params.pairs.get(model.pairs)
        elif isinstance(model, ReinforcedModel):
            known(["models", name, "reward"], model.reward, "reward model", list(params.rewards))
            known(["models", name, "ppo"], model.ppo, "recipe of ppo", list(params.ppo))
            drawn_by = params.pairs.get(params.rewards[model.reward].pairs) if model.reward in params.rewards else None
        else:
            continue
        if isinstance(drawn_by, JudgedPairs) and name in {drawn_by.model, *_bases_of(params, drawn_by.model)}:
            faults.append((["models", name], "the pairs that it is trained on are drawn from itself"))
    for name, recipe in params.ppo.items():
        if recipe.batch_size % recipe.mini_batch_size:
            faults.append((["ppo", name, "mini_batch_size"], f"must divide batch_size {recipe.batch_size}"))
        if recipe.batch_size % recipe.samples_per_prompt:
            faults.append((["ppo", name, "samples_per_prompt"], f"must divide batch_size {recipe.batch_size}"))
        if recipe.algorithm == "grpo" and recipe.samples_per_prompt < 2:
            faults.append((["ppo", name, "samples_per_prompt"], "must be at least 2 for grpo, which compares them"))


def _bases_of(params: Params, name: str) -> set[str]:
    """The models under a model, its own name left out; loops end."""
    found: set[str] = set()
    model = params.models.get(name)
    while isinstance(model, BUILT_ON) and model.base not in found:
        found.add(model.base)
        model = params.models.get(model.base)
    return found


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
        ("sft", "deepspeed"),
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
        faults = _reference_faults(params)
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
