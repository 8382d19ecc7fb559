"""The whole of params.yaml as one typed, frozen record, and what follows from its entries by their names.

One section per stage, keyed by recipe where the two worlds differ; a field of a section is a flag of the stage's
subcommand and a keyword of its function, under one name. No field has a default: params.yaml is the whole truth. Only
``pace``, ``budget`` and ``launch``, which no result depends on, may be left out, and a model's ``override`` and a
claim's ``eval``, which go before what else would hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from belle.entries import (
    BUILT_ON,
    TOKENS,
    AskedDataset,
    BaseEntry,
    Categories,
    ConvertedBase,
    Dataset,
    Directions,
    Eval,
    ExpandedBase,
    HubBase,
    LocalPairs,
    MergedModel,
    MixedDataset,
    Model,
    Pairs,
    PreferredModel,
    PretrainedBase,
    RecoveredModel,
    ReinforcedModel,
    ReleasedModel,
    RewardModel,
    ScratchBase,
    Table,
    Text,
    TrainedModel,
    Weigher,
)  # fmt: skip
from belle.settings import (
    Answer,
    Ask,
    Base,
    Budget,
    Classifier,
    Clean,
    CleanText,
    Convert,
    Corpus,
    Dpo,
    Evalset,
    Generate,
    Gptq,
    Judge,
    Label,
    Launch,
    Merge,
    Name,
    Pace,
    Ppo,
    Prefer,
    Pretrain,
    Reward,
    Sample,
    Section,
    Sft,
    Training,
    Unconvert,
    Vocabulary,
    Webtext,
    Weigh,
)  # fmt: skip


def width(parameters: float) -> float:
    """About how wide a LLaMA of so many parameters is: 4096 at 6.7 billion (exact there), 5509 at 13 (5120)."""
    return 4096 * (parameters / 6.738e9) ** 0.45


TRAINED = (TrainedModel, PretrainedBase, PreferredModel, RewardModel)
"""Entries that the Hugging Face Trainer trains."""


def named(wildcards: Any) -> str:
    """The entry that a rule's wildcards name: a model, a base or a reward model."""
    return str(next(filter(None, (getattr(wildcards, kind, None) for kind in ("model", "base", "reward")))))


@dataclass(frozen=True)
class Trained:
    """By which stage, recipe (under which name) and number of GPUs an entry is trained; ``key`` names its recipe."""

    stage: str
    name: str
    recipe: Training
    gpus: int
    key: str


class Params(Section):
    """The whole of params.yaml."""

    default_tables: Annotated[list[str], Field(min_length=1)]
    datasets: dict[Name, Dataset]
    bases: dict[Name, BaseEntry]
    models: dict[Name, Model]
    evals: dict[Name, Eval]
    tables: dict[Name, Table]
    categories: dict[Name, Categories]
    texts: dict[Name, Text]
    weighers: dict[Name, Weigher]
    pairs: dict[Name, Pairs]
    rewards: dict[Name, RewardModel]
    directions: dict[Name, Directions]
    corpus: dict[Name, Corpus]
    evalset: dict[Name, Evalset]
    generate: dict[Name, Generate]
    ask: dict[Name, Ask]
    label: dict[Name, Label]
    classifier: dict[Name, Classifier]
    clean: dict[Name, Clean]
    weigh: dict[Name, Weigh]
    webtext: dict[Name, Webtext]
    clean_text: dict[Name, CleanText]
    base: dict[Name, Base]
    convert: dict[Name, Convert]
    unconvert: Unconvert
    merge: dict[Name, Merge]
    vocabulary: dict[Name, Vocabulary]
    sft: dict[Name, Sft]
    pretrain: dict[Name, Pretrain]
    gptq: Gptq
    answer: dict[Name, Answer]
    judge: dict[Name, Judge]
    sample: dict[Name, Sample]
    prefer: dict[Name, Prefer]
    reward: dict[Name, Reward]
    dpo: dict[Name, Dpo]
    ppo: dict[Name, Ppo]
    pace: Pace = Pace(in_flight=32, timeout_s=120, mode="chat", save_steps=200)
    budget: Budget | None = None
    launch: Launch = Launch(
        hostfile="",
        remote="ssh -o BatchMode=yes -o ServerAliveInterval=5 -o ServerAliveCountMax=3 {host}",
        master_address="",
    )

    def scored_names(self) -> list[str]:
        """Every name that can be answered and scored: bases, models, and the 4-bit twins of models."""
        return [*self.bases, *self.models, *(f"{model}-gptq" for model in self.models)]

    def parameters(self, name: str) -> float:
        """How many parameters a base has, or the base under a model; 0 in the tiny world, and where nobody says."""
        model = self.models.get(name.removesuffix("-gptq"))
        if isinstance(model, ReleasedModel | RecoveredModel) and model.parameters:
            return float(model.parameters)
        if model is not None:
            return self.parameters(model.key if isinstance(model, ReleasedModel) else model.base)
        base = self.bases.get(name)
        if isinstance(base, PretrainedBase):
            return self.parameters(base.base)
        if isinstance(base, ExpandedBase):
            before = self.parameters(base.base)
            return before + 2 * self.vocabulary[base.vocabulary].pieces * width(before) if before else 0.0
        return float(base.parameters) if isinstance(base, HubBase | ConvertedBase) else 0.0

    def adapters_of(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The folders of a merged model's adapters, and the key of params.yaml that chose them."""
        entry = self.models[wildcards.model]
        names = entry.adapters if isinstance(entry, MergedModel) else []
        key = f"models.{wildcards.model}.adapters"
        return [(name if "/" in name else f"models/{name}", [key]) for name in names]

    def offline_sets(self) -> list[str]:
        """The data sets of every kind but Self-Instruct that the offline teacher is asked for."""
        asked = {name: entry for name, entry in self.datasets.items() if isinstance(entry, AskedDataset)}
        return [name for name, entry in asked.items() if self.ask[entry.ask].base_url == "offline"]

    def mixed_sets(self, wildcards: Any) -> list[str]:
        """The sets that a mixed data set is made of, in their order."""
        entry = self.datasets[wildcards.dataset]
        return list(entry.sets) if isinstance(entry, MixedDataset) else []

    def weights_of(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """What a model said of a data set's rows, where its recipe names one, and the keys that chose it."""
        entry = self.datasets[wildcards.dataset]
        weigher = self.clean[entry.clean].weigher
        keys = [f"datasets.{wildcards.dataset}.clean", f"clean.{entry.clean}.weigher"]
        return [(f"data/weighed/{weigher}/{wildcards.dataset}", keys)] if weigher else []

    def offline_categories(self) -> list[tuple[str, str]]:
        """Classifiers that the offline teacher labels rows for, each with the data set that it is for."""
        return [
            (name, entry.dataset)
            for name, entry in self.categories.items()
            if self.label[entry.label].base_url == "offline"
        ]

    def datasets_behind(self, name: str) -> dict[str, list[str]]:
        """The data sets that a scored model was trained on, its base's first, and the keys that say so of each."""
        model = self.models.get(name.removesuffix("-gptq"))
        if model is None:
            base = self.bases.get(name)
            before = self.datasets_behind(base.base) if isinstance(base, PretrainedBase | ExpandedBase) else {}
            return {dataset: [f"bases.{name}.base", *keys] for dataset, keys in before.items()}
        stem = f"models.{name.removesuffix('-gptq')}"
        under = [(model.base, f"{stem}.base")] if isinstance(model, BUILT_ON) else []
        if isinstance(model, MergedModel):
            under += [(adapter, f"{stem}.adapters") for adapter in model.adapters if "/" not in adapter]
        return {
            **{dataset: [key, *keys] for at, key in under for dataset, keys in self.datasets_behind(at).items()},
            model.dataset: [f"{stem}.dataset"],
        }

    def trained_models(self, wildcards: Any) -> list[str]:
        """The models of a table that were trained, each once for every data set behind it."""
        return [model for model in self.tables[wildcards.table].models for _ in self.datasets_behind(model)]

    def reports_behind(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """For each of ``trained_models`` the report of a data set, and the keys of params.yaml that chose it."""
        return [
            (f"data/clean/{dataset}.report.json", [f"tables.{wildcards.table}.models", *keys])
            for model in self.tables[wildcards.table].models
            for dataset, keys in self.datasets_behind(model).items()
        ]

    def pairs_of_reward(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The pairs that a reward model is trained on, and the keys of params.yaml that chose them."""
        return self._pairs(self.rewards[wildcards.reward].pairs, f"rewards.{wildcards.reward}.pairs")

    def pairs_of_model(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The pairs that a preferred model is trained on, and the keys of params.yaml that chose them."""
        entry = self.models[wildcards.model]
        assert isinstance(entry, PreferredModel)
        return self._pairs(entry.pairs, f"models.{wildcards.model}.pairs")

    def _pairs(self, name: str, chosen_by: str) -> list[tuple[str, list[str]]]:
        entry = self.pairs[name]
        if isinstance(entry, LocalPairs):
            return [(entry.path, [chosen_by, f"pairs.{name}.path"])]
        return [(f"data/pairs/{name}.jsonl", [chosen_by])]

    def trained_by(self, name: str) -> Trained | None:
        """How the Hugging Face Trainer trains an entry; None for any other, and where its recipe is not there."""
        for section, entry in (("bases", self.bases.get(name)), ("models", self.models.get(name)),
                               ("rewards", self.rewards.get(name))):  # fmt: skip
            if isinstance(entry, TRAINED):
                stage = {PretrainedBase: "pretrain", PreferredModel: "dpo", RewardModel: "reward"}.get(
                    type(entry), "sft"
                )
                recipe = getattr(entry, stage)
                given = getattr(self, stage).get(recipe)
                return Trained(stage, recipe, given, entry.gpus, f"{section}.{name}.{stage}") if given else None
        return None

    def deepspeed_of(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The DeepSpeed settings that an entry is trained with, if any, and the keys of params.yaml that chose them."""
        found = self.trained_by(named(wildcards))
        return [(found.recipe.deepspeed, [found.key])] if found and found.recipe.deepspeed else []

    def _compared(self, name: str) -> list[tuple[str, str, str, list[str]]]:
        """Everything that claims compare: the better and the worse of each seed in turn, the expanded vocabulary or
        else the evaluation set that it is about, and the keys of params.yaml that chose it."""
        found = []
        for claim, entry in self.directions[name].claims.items():
            stem = f"directions.{name}.claims.{claim}"
            by = f"{stem}.eval" if entry.eval else f"directions.{name}.eval"
            for better, worse in zip(entry.better, entry.worse, strict=True):
                for side, model in (("better", better), ("worse", worse)):
                    if entry.measure == TOKENS:
                        found.append((model, better, "", [f"{stem}.{side}"]))
                    else:
                        found.append((model, "", entry.eval or self.directions[name].eval, [by, f"{stem}.{side}"]))
        return found

    def results_of_directions(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The scores that claims compare, or the reports of vocabularies, and the keys that chose them."""
        return [
            (f"results/vocabulary/{expanded}.json" if expanded else f"results/scores/{of}/{model}.json", keys)
            for model, expanded, of, keys in self._compared(wildcards.directions)
        ]

    def verdicts_of_directions(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The verdicts behind those scores, and the keys that chose them."""
        return [
            (f"results/verdicts/{of}/{model}.jsonl", keys)
            for model, expanded, of, keys in self._compared(wildcards.directions)
            if not expanded
        ]

    def names_of_directions(self, wildcards: Any) -> list[str]:
        """The name of everything that claims compare."""
        return [model for model, _, _, _ in self._compared(wildcards.directions)]

    def recipes_of_directions(self, wildcards: Any) -> list[str]:
        """The recipe and the seed of everything that claims compare."""
        return [self.made_by(model) for model, _, _, _ in self._compared(wildcards.directions)]

    def claims_of_directions(self, field: str) -> Any:
        """A function of the wildcards for a word of every claim: ``name``, ``eval``, number of ``seeds``, a field."""

        def words(wildcards: Any) -> list[str]:
            found = self.directions[wildcards.directions].claims
            if field == "name":
                return list(found)
            if field == "seeds":
                return [str(len(claim.better)) for claim in found.values()]
            if field == "eval":
                return [claim.eval or self.directions[wildcards.directions].eval for claim in found.values()]
            return [getattr(claim, field) for claim in found.values()]

        return words

    def made_by(self, name: str) -> str:
        """The recipe and the seed that a base or model was made with, and what it was made of where that has a seed."""
        if name.endswith("-gptq"):
            return f"gptq of {name.removesuffix('-gptq')}"
        entry: Any = self.models.get(name) or self.bases[name]
        kinds: dict[Any, str] = {
            ScratchBase: "base", PretrainedBase: "pretrain", ExpandedBase: "vocabulary", TrainedModel: "sft",
            PreferredModel: "dpo", ReinforcedModel: "ppo",
        }  # fmt: skip
        kind = kinds.get(type(entry))
        if kind is None:
            return str(entry.kind)
        recipe = getattr(entry, kind)
        override = getattr(entry, "override", None)
        seed = (override or getattr(self, kind)[recipe]).seed
        of = {"base": getattr(entry, "corpus", ""), "vocabulary": getattr(entry, "text", "")}.get(kind, "")
        made = f"{kind} {recipe}{f' of {of}' if of else ''}, seed {seed}"
        return made if kind == "base" else f"{made}, on {entry.base}"

    def default_artifacts(self) -> list[str]:
        """What the default tables rest on. Tables stand in git, so in a fresh clone they would not ask for it."""
        rows = [
            (self.tables[table].eval, model) for table in self.default_tables for model in self.tables[table].models
        ]
        kinds = (("answers", "jsonl"), ("verdicts", "jsonl"), ("scores", "json"))
        results = [f"results/{kind}/{eval_}/{model}.{end}" for eval_, model in rows for kind, end in kinds]
        return [*(f"models/{model}" for _, model in rows), *results]
