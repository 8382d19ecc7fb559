"""What is wrong with params.yaml beside its schema: names that nothing has, settings that contradict each other."""

from __future__ import annotations

import difflib
from typing import Any

from belle.entries import (
    BUILT_ON,
    OTHERS,
    SCORE,
    TOKENS,
    AskedDataset,
    ConvertedBase,
    ExpandedBase,
    GeneratedDataset,
    JudgedPairs,
    MergedModel,
    MixedDataset,
    PreferredModel,
    PretrainedBase,
    RecoveredModel,
    ReinforcedModel,
    ReleasedModel,
    ScratchBase,
    TrainedModel,
)  # fmt: skip
from belle.params import Params
from belle.records import INSTRUCTION_CLASSES
from belle.settings import (
    Pretrain,
    Sft,
)  # fmt: skip

RESERVED_ENDINGS = ("-gptq", "-enc", "-diff", "-meta")
"""Endings that rules add to a model's name, so no entry may carry them."""


def close(word: str, known: list[str]) -> str:
    """What to add to the message about an unknown name: the known one nearest to it, or all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def _other_batch(params: Params, name: str) -> str | None:
    """What is wrong with an entry's number of GPUs: its recipe's global batch is no whole number of their batches."""
    found = params.trained_by(name)
    if found is None or not found.gpus:
        return None
    recipe = found.recipe
    whole = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * recipe.devices
    together = recipe.per_device_train_batch_size * found.gpus
    if whole % together == 0:
        return None
    return (
        f"{found.stage}.{found.name} has a global batch of {whole} rows, no multiple of the {together} that "
        f"{found.gpus} GPUs take at once; choose a number that divides {whole // recipe.per_device_train_batch_size}"
    )


def reference_faults(params: Params) -> list[tuple[list[str], str]]:
    """Each entry or recipe that names something unknown or contradicts itself: its key's path, and what is wrong."""
    faults: list[tuple[list[str], str]] = []

    def known(path: list[str], name: str, what: str, names: list[str]) -> None:
        if name not in names:
            faults.append((path, f"unknown {what} {name!r}{close(name, names)}"))

    weights = [*params.bases, *params.models]
    for name, dataset in params.datasets.items():
        if isinstance(dataset, GeneratedDataset):
            known(["datasets", name, "generate"], dataset.generate, "recipe of generate", list(params.generate))
        if isinstance(dataset, AskedDataset):
            known(["datasets", name, "ask"], dataset.ask, "recipe of ask", list(params.ask))
        if isinstance(dataset, MixedDataset):
            for part in dataset.sets:
                known(["datasets", name, "sets"], part, "dataset", list(params.datasets))
                if isinstance(params.datasets.get(part), MixedDataset):
                    faults.append((["datasets", name, "sets"], f"{part} is mixed itself: name its sets"))
            if twice := sorted({part for part in dataset.sets if dataset.sets.count(part) > 1}):
                faults.append((["datasets", name, "sets"], f"named twice: {', '.join(twice)}"))
        known(["datasets", name, "clean"], dataset.clean, "recipe of clean", list(params.clean))
    for name, recipe in params.ask.items():
        if recipe.kind == "multiturn" and recipe.tasks != 1:
            faults.append((["ask", name, "tasks"], f"must be 1 for multiturn (one dialogue), found {recipe.tasks}"))
        if recipe.kind in ("school_math", "crawl") and recipe.exchanges != 1:
            faults.append((["ask", name, "exchanges"], f"must be 1 for {recipe.kind}, found {recipe.exchanges}"))
    for name, questions in params.evalset.items():
        for cls in questions.classes:
            known(["evalset", name, "classes"], cls, "class", list(INSTRUCTION_CLASSES))
        for field, listed in (("splits", list[str](questions.splits)), ("classes", questions.classes)):
            if twice := sorted({word for word in listed if listed.count(word) > 1}):
                faults.append((["evalset", name, field], f"named twice: {', '.join(twice)}"))
    for name, found in params.categories.items():
        known(["categories", name, "dataset"], found.dataset, "dataset", list(params.datasets))
        known(["categories", name, "label"], found.label, "recipe of label", list(params.label))
        known(["categories", name, "classifier"], found.classifier, "recipe of classifier", list(params.classifier))
    for name, cleaning in params.clean.items():
        for eval_name in cleaning.decontaminate:
            known(["clean", name, "decontaminate"], eval_name, "evaluation set", list(params.evals))
        faults += _weight_faults(params, name)
    for name, weigher in params.weighers.items():
        known(["weighers", name, "base"], weigher.base, "base or model", weights)
        known(["weighers", name, "weigh"], weigher.weigh, "recipe of weigh", list(params.weigh))
    for name, base in params.bases.items():
        if isinstance(base, ScratchBase):
            known(["bases", name, "corpus"], base.corpus, "recipe of corpus", list(params.corpus))
            known(["bases", name, "base"], base.base, "recipe of base", list(params.base))
        if isinstance(base, ConvertedBase):
            known(["bases", name, "convert"], base.convert, "recipe of convert", list(params.convert))
        if isinstance(base, ExpandedBase):
            known(["bases", name, "base"], base.base, "base or model", weights)
            known(["bases", name, "vocabulary"], base.vocabulary, "recipe of vocabulary", list(params.vocabulary))
        if name.endswith(RESERVED_ENDINGS):
            faults.append((["bases", name], f"a name must not end in {' or '.join(RESERVED_ENDINGS)}"))
        if isinstance(base, PretrainedBase):
            known(["bases", name, "base"], base.base, "base or model", weights)
            known(["bases", name, "pretrain"], base.pretrain, "recipe of pretrain", list(params.pretrain))
            asked = params.pretrain.get(base.pretrain)
            if asked and asked.ratios and len(asked.ratios) != len(base.texts):
                fault = f"{len(base.texts)} texts, and {len(asked.ratios)} ratios in pretrain.{base.pretrain}"
                faults.append((["bases", name, "texts"], fault))
    for name, model in params.models.items():
        known(["models", name, "dataset"], model.dataset, "dataset", list(params.datasets))
        if isinstance(model, TrainedModel):
            known(["models", name, "base"], model.base, "base or model", weights)
            known(["models", name, "sft"], model.sft, "recipe of sft", list(params.sft))
        elif isinstance(model, MergedModel):
            known(["models", name, "base"], model.base, "base or model", weights)
            known(["models", name, "merge"], model.merge, "recipe of merge", list(params.merge))
            for adapter in model.adapters:
                if "/" not in adapter:
                    known(["models", name, "adapters"], adapter, "model", list(params.models))
        elif isinstance(model, PreferredModel | ReinforcedModel):
            known(["models", name, "base"], model.base, "base or model", weights)
        elif isinstance(model, ReleasedModel) and "/" not in model.key:
            known(["models", name, "key"], model.key, "base or model", weights)
        elif isinstance(model, RecoveredModel) and "/" not in model.base:
            known(["models", name, "base"], model.base, "base or model", weights)
        if name in params.bases:
            faults.append((["models", name], "a base has the same name; both would be built as models/" + name))
        if name.endswith(RESERVED_ENDINGS):
            faults.append((["models", name], f"a name must not end in {' or '.join(RESERVED_ENDINGS)}"))
    for section, entries in (("bases", params.bases), ("models", params.models), ("rewards", params.rewards)):
        for name in entries:
            if (kept := _other_batch(params, name)) is not None:
                faults.append(([section, name, "gpus"], kept))
    for section, recipes in (("sft", params.sft), ("pretrain", params.pretrain)):
        faults += [fault for name, recipe in recipes.items() for fault in _training_faults([section, name], recipe)]
    _alignment_faults(params, known, faults)
    _direction_faults(params, known, faults)
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
    for section, entries in (("bases", params.bases), ("models", params.models)):
        for name in entries:
            if name in _under(params, name):
                what = "a model cannot be trained on itself" if section == "models" else "a base cannot rest on itself"
                faults.append(([section, name, "base"], what))
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
        if isinstance(drawn_by, JudgedPairs) and name in {drawn_by.model, *_under(params, drawn_by.model)}:
            faults.append((["models", name], "the pairs that it is trained on are drawn from itself"))
    for name, recipe in params.ppo.items():
        if recipe.batch_size % recipe.mini_batch_size:
            faults.append((["ppo", name, "mini_batch_size"], f"must divide batch_size {recipe.batch_size}"))
        if recipe.batch_size % recipe.samples_per_prompt:
            faults.append((["ppo", name, "samples_per_prompt"], f"must divide batch_size {recipe.batch_size}"))
        if recipe.algorithm == "grpo" and recipe.samples_per_prompt < 2:
            faults.append((["ppo", name, "samples_per_prompt"], "must be at least 2 for grpo, which compares them"))


def _direction_faults(params: Params, known: Any, faults: list[tuple[list[str], str]]) -> None:
    """What is wrong with claims about which way a change goes."""
    for name, entry in params.directions.items():
        known(["directions", name, "eval"], entry.eval, "evaluation set", list(params.evals))
        for claim_name, claim in entry.claims.items():
            place = ["directions", name, "claims", claim_name]
            measures = [SCORE, OTHERS, TOKENS, *INSTRUCTION_CLASSES]
            known([*place, "measure"], claim.measure, "measure", measures)
            if claim.eval is not None:
                known([*place, "eval"], claim.eval, "evaluation set", list(params.evals))
            if len(claim.better) != len(claim.worse):
                fault = f"{len(claim.better)} better and {len(claim.worse)} worse: name one of each for every seed"
                faults.append(([*place, "worse"], fault))
            for side in ("better", "worse"):
                listed = getattr(claim, side)
                for model in listed:
                    known([*place, side], model, "base or model", params.scored_names())
                if claim.measure == TOKENS and side == "worse":
                    continue
                if twice := sorted({model for model in listed if listed.count(model) > 1}):
                    faults.append(([*place, side], f"named twice: {', '.join(twice)}; every seed needs its own"))
            for better, worse in zip(claim.better, claim.worse, strict=False):
                base = params.bases.get(better)
                if claim.measure == TOKENS and not isinstance(base, ExpandedBase):
                    faults.append(([*place, "better"], f"{better} is no expanded base: {TOKENS} is of vocabularies"))
                elif claim.measure == TOKENS and isinstance(base, ExpandedBase) and base.base != worse:
                    faults.append(([*place, "worse"], f"{better} is made of {base.base}, found {worse}"))
                elif better == worse:
                    faults.append(([*place, "worse"], f"{worse} would be compared with itself"))


def _training_faults(path: list[str], recipe: Sft | Pretrain) -> list[tuple[list[str], str]]:
    """Settings of a training that contradict each other."""
    faults = []
    if recipe.bf16 and recipe.fp16:
        faults.append(([*path, "fp16"], "bf16 is true as well; choose one"))
    if recipe.quantised_base and not recipe.lora_r:
        faults.append(([*path, "quantised_base"], "only adapters can be trained on a quantised base, and lora_r is 0"))
    if isinstance(recipe, Sft):
        if recipe.packing and recipe.attention == "eager":
            faults.append(([*path, "attention"], "eager would look from one packed row into the next"))
        if recipe.lora_modules_to_save and not recipe.lora_r:
            faults.append(([*path, "lora_modules_to_save"], "lora_r is 0, which trains every module"))
    else:
        if (recipe.trains == "adapters") != bool(recipe.lora_r):
            faults.append(([*path, "lora_r"], f"must be {'1 or more' if recipe.trains == 'adapters' else 0} where "
                           f"trains is {recipe.trains}, found {recipe.lora_r}"))  # fmt: skip
        if not recipe.steps and not recipe.num_train_epochs:
            faults.append(([*path, "steps"], "steps and num_train_epochs are both 0"))
    return faults


def _weight_faults(params: Params, name: str) -> list[tuple[list[str], str]]:
    """What is wrong with what a recipe of clean asks of a model."""
    recipe = params.clean[name]
    asks = bool(recipe.max_perplexity or recipe.max_answer_perplexity or recipe.perplexity_cut)
    asks = asks or recipe.semantic_threshold <= 1
    place = ["clean", name, "weigher"]
    if not recipe.weigher:
        what = "max_perplexity, max_answer_perplexity, perplexity_cut or semantic_threshold is set: name an entry of "
        return [(place, f"{what}`weighers:`, or set them to 0, 0, 0 and over 1")] if asks else []
    if recipe.weigher not in params.weighers:
        return [(place, f"unknown weigher {recipe.weigher!r}{close(recipe.weigher, list(params.weighers))}")]
    faults = []
    if not asks:
        faults.append((place, "no limit asks for its weights: leave it empty, or set one"))
    behind = params.datasets_behind(params.weighers[recipe.weigher].base)
    for dataset, entry in params.datasets.items():
        if entry.clean == name and dataset in behind:
            faults.append((place, f"its model is trained on {dataset}, whose rows it would weigh first"))
    return faults


def _under(params: Params, name: str) -> set[str]:
    """Every base and model that one is made of, itself too where they go round."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        at = waiting.pop()
        entry: Any = params.models.get(at) or params.bases.get(at)
        before = [entry.base] if isinstance(entry, (*BUILT_ON, ExpandedBase, PretrainedBase)) else []
        before += [item for item in entry.adapters if "/" not in item] if isinstance(entry, MergedModel) else []
        waiting += [item for item in before if item not in found]
        found |= set(before)
    return found
