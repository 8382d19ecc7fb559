"""The whole of params.yaml as one typed, frozen record, and what follows from its entries by their names.

One section per stage, keyed by recipe where the two worlds differ; a field of a section is a flag of the stage's
subcommand and a keyword of its function, under one name. No field has a default: params.yaml is the whole truth. Only
``pace``, ``budget`` and ``launch``, which no result depends on, may be left out.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from belle.entries import (
    AskedDataset,
    BaseEntry,
    Categories,
    Dataset,
    Eval,
    Model,
    Table,
    Text,
    TrainedModel,
)  # fmt: skip
from belle.settings import (
    Answer,
    Ask,
    Base,
    Budget,
    Classifier,
    Clean,
    CleanText,
    Corpus,
    Evalset,
    Generate,
    Gptq,
    Judge,
    Label,
    Launch,
    Name,
    Pace,
    Section,
    Sft,
    Webtext,
)  # fmt: skip


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
    corpus: dict[Name, Corpus]
    evalset: dict[Name, Evalset]
    generate: dict[Name, Generate]
    ask: dict[Name, Ask]
    label: dict[Name, Label]
    classifier: dict[Name, Classifier]
    clean: dict[Name, Clean]
    webtext: dict[Name, Webtext]
    clean_text: dict[Name, CleanText]
    base: dict[Name, Base]
    sft: dict[Name, Sft]
    gptq: Gptq
    answer: dict[Name, Answer]
    judge: dict[Name, Judge]
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

    def offline_sets(self) -> list[str]:
        """The data sets of every kind but Self-Instruct that the offline teacher is asked for."""
        asked = {name: entry for name, entry in self.datasets.items() if isinstance(entry, AskedDataset)}
        return [name for name, entry in asked.items() if self.ask[entry.ask].base_url == "offline"]

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
            return {}
        stem = f"models.{name.removesuffix('-gptq')}"
        before = self.datasets_behind(model.base) if isinstance(model, TrainedModel) else {}
        chosen = [f"{stem}.base"] if isinstance(model, TrainedModel) else []
        return {
            **{dataset: [*chosen, *keys] for dataset, keys in before.items()},
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

    def deepspeed_of(self, wildcards: Any) -> list[tuple[str, list[str]]]:
        """The DeepSpeed settings that a model is trained with, if any, and the keys of params.yaml that chose them."""
        model = self.models[wildcards.model]
        path = self.sft[model.sft].deepspeed if isinstance(model, TrainedModel) else ""
        return [(path, [f"models.{wildcards.model}.sft"])] if path else []

    def default_artifacts(self) -> list[str]:
        """What the default tables rest on. Tables stand in git, so in a fresh clone they would not ask for it."""
        rows = [
            (self.tables[table].eval, model) for table in self.default_tables for model in self.tables[table].models
        ]
        kinds = (("answers", "jsonl"), ("verdicts", "jsonl"), ("scores", "json"))
        results = [f"results/{kind}/{eval_}/{model}.{end}" for eval_, model in rows for kind, end in kinds]
        return [*(f"models/{model}" for _, model in rows), *results]
