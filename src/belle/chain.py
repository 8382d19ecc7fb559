"""What a model is made of by the registry, for its card: what lies under it, its data, its recipe, its scores."""

from __future__ import annotations

from typing import Any

from belle.entries import (
    BUILT_ON,
    TOKENS,
    AskedDataset,
    ConvertedBase,
    ExpandedBase,
    GeneratedDataset,
    JudgedPairs,
    MergedModel,
    PreferredModel,
    PretrainedBase,
    RecoveredModel,
    ReinforcedModel,
    ReleasedModel,
    ScratchBase,
    TrainedModel,
)  # fmt: skip
from belle.params import Params

Found = list[tuple[str, list[str]]]
"""Paths, each with the keys of params.yaml that chose it."""
Chosen = tuple[str, list[str]] | None
"""A key of params.yaml, and the keys that chose it; None where there is none."""

RECIPES = {
    "trained": "sft", "preferred": "dpo", "reinforced": "ppo", "merged": "merge", "scratch": "base",
    "converted": "convert", "expanded": "vocabulary", "pretrained": "pretrain",
}  # fmt: skip
"""The section that the recipe of a kind of entry stands in."""

META = "-meta"


class Chain:
    """Functions of a rule's wildcard ``model``: a base's or a model's name."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def _entry(self, wildcards: Any) -> tuple[Any, str]:
        name = wildcards.model
        section = "models" if name in self.params.models else "bases"
        return getattr(self.params, section)[name], f"{section}.{name}"

    def entry(self, wildcards: Any) -> Chosen:
        """The entry itself."""
        return self._entry(wildcards)[1], []

    def recipe(self, wildcards: Any) -> Chosen:
        """The settings that it is made with."""
        entry, key = self._entry(wildcards)
        section = RECIPES.get(entry.kind)
        return (f"{section}.{getattr(entry, section)}", [f"{key}.{section}"]) if section else None

    def dataset(self, wildcards: Any) -> Chosen:
        """The data set that it was trained on, or whose prompts its pairs are made of."""
        entry, key = self._entry(wildcards)
        if isinstance(entry, PreferredModel):
            pairs, by = self.params.pairs[entry.pairs], [f"{key}.pairs", f"pairs.{entry.pairs}.dataset"]
            return (f"datasets.{pairs.dataset}", by) if isinstance(pairs, JudgedPairs) else None
        return (f"datasets.{entry.dataset}", [f"{key}.dataset"]) if hasattr(entry, "dataset") else None

    def asked(self, wildcards: Any) -> Chosen:
        """How the data set was asked for, where a chat API was."""
        if (found := self.dataset(wildcards)) is None:
            return None
        key, by = found
        entry = self.params.datasets[key.removeprefix("datasets.")]
        if isinstance(entry, GeneratedDataset):
            return f"generate.{entry.generate}", [*by, f"{key}.generate"]
        if isinstance(entry, AskedDataset):
            return f"ask.{entry.ask}", [*by, f"{key}.ask"]
        return None

    def gptq(self, wildcards: Any) -> Chosen:
        """How the 4-bit twin is made, where a table has one."""
        twin = f"{wildcards.model}-gptq"
        return ("gptq", []) if any(twin in table.models for table in self.params.tables.values()) else None

    def cards(self, wildcards: Any) -> Found:
        """The cards of what lies directly under it."""
        entry, key = self._entry(wildcards)
        under: list[tuple[str, str]] = []
        if isinstance(entry, (*BUILT_ON, PretrainedBase, ExpandedBase)):
            under.append((entry.base, f"{key}.base"))
        if isinstance(entry, RecoveredModel) and "/" not in entry.base:
            under.append((entry.base, f"{key}.base"))
        if isinstance(entry, ReleasedModel) and "/" not in entry.key:
            under.append((entry.key, f"{key}.key"))
        if isinstance(entry, MergedModel):
            under += [(name, f"{key}.adapters") for name in entry.adapters if "/" not in name]
        if isinstance(entry, ConvertedBase) and entry.source.startswith("models/") and entry.source.endswith(META):
            under.append((entry.source.removeprefix("models/").removesuffix(META), f"{key}.source"))
        return [(f"results/cards/{name}.json", [by]) for name, by in under]

    def data(self, wildcards: Any) -> Found:
        """The files that it was trained on."""
        entry, key = self._entry(wildcards)
        if isinstance(entry, PreferredModel):
            return self.params.pairs_of_model(wildcards)
        if hasattr(entry, "dataset"):
            return [(f"data/clean/{entry.dataset}.jsonl", [f"{key}.dataset"])]
        if isinstance(entry, ScratchBase):
            return [(f"data/corpus/{entry.corpus}.txt", [f"{key}.corpus"])]
        if isinstance(entry, PretrainedBase):
            return [(path, [f"{key}.texts"]) for path in dict.fromkeys(entry.texts)]
        return [(entry.text, [f"{key}.text"])] if isinstance(entry, ExpandedBase) else []

    def texts(self, wildcards: Any) -> str:
        """A flag where the texts that it read are all this project's own: generated here, and cleaned."""
        entry, _ = self._entry(wildcards)
        paths = entry.texts if isinstance(entry, PretrainedBase) else []
        paths = [entry.text] if isinstance(entry, ExpandedBase) else paths
        return "--ours" if paths and all(map(self._is_ours, paths)) else ""

    def _is_ours(self, path: str) -> bool:
        if path.startswith("data/text/"):
            text = self.params.texts.get(path.removeprefix("data/text/").removesuffix(".jsonl"))
            return text is not None and text.documents.startswith("data/webtext/")
        return path.startswith("data/corpus/")

    def raw(self, wildcards: Any) -> Found:
        """The report of its data set's raw rows, which says the licence."""
        return self._of_dataset(wildcards, "data/raw/{}.report.json")

    def cleaned(self, wildcards: Any) -> Found:
        """The report of its data set's clean rows."""
        return self._of_dataset(wildcards, "data/clean/{}.report.json")

    def _of_dataset(self, wildcards: Any, path: str) -> Found:
        found = self.dataset(wildcards)
        return [(path.format(found[0].removeprefix("datasets.")), found[1])] if found else []

    def curve(self, wildcards: Any) -> Found:
        """The loss of each step of its training."""
        entry, _ = self._entry(wildcards)
        curved = isinstance(entry, TrainedModel | PretrainedBase)
        return [(f"results/training/{wildcards.model}.csv", [])] if curved else []

    def reports(self, wildcards: Any) -> Found:
        """What the stage that made it reports of it, or of the pairs that it learnt from."""
        entry, key = self._entry(wildcards)
        found: Found = []
        if isinstance(entry, PreferredModel | ReinforcedModel):
            found.append((f"models/{wildcards.model}.report.json", []))
        if isinstance(entry, PreferredModel) and isinstance(self.params.pairs[entry.pairs], JudgedPairs):
            found.append((f"data/pairs/{entry.pairs}.report.json", [f"{key}.pairs"]))
        if isinstance(entry, ReinforcedModel):
            found.append((f"models/{entry.reward}.report.json", [f"{key}.reward"]))
        if isinstance(entry, ExpandedBase):
            found.append((f"results/vocabulary/{wildcards.model}.json", []))
        return found

    def _scored(self, wildcards: Any) -> dict[str, tuple[list[str], list[str]]]:
        """Its score files and its 4-bit twin's, each with the pages that show it and the keys that chose it.

        They are those of the tables that name it; of one that no table names, those that claims compare it by.
        """
        found: dict[str, tuple[list[str], list[str]]] = {}
        named = (wildcards.model, f"{wildcards.model}-gptq")

        def add(of: str, scored: str, page: str, keys: list[str]) -> None:
            pages, by = found.setdefault(f"results/scores/{of}/{scored}.json", ([], []))
            pages.extend([page] if page not in pages else [])
            by.extend(key for key in keys if key not in by)

        for name, table in self.params.tables.items():
            for scored in named:
                if scored in table.models:
                    add(
                        table.eval,
                        scored,
                        f"results/tables/{name}.md",
                        [f"tables.{name}.eval", f"tables.{name}.models"],
                    )
        if found:
            return found
        for name, directions in self.params.directions.items():
            for claim_name, claim in directions.claims.items():
                if claim.measure == TOKENS:
                    continue
                stem = f"directions.{name}"
                of, by = (
                    (claim.eval, f"{stem}.claims.{claim_name}.eval")
                    if claim.eval
                    else (directions.eval, f"{stem}.eval")
                )
                for side in ("better", "worse"):
                    for scored in named:
                        if scored in getattr(claim, side):
                            keys = [by, f"{stem}.claims.{claim_name}.{side}"]
                            add(of, scored, f"results/directions/{name}.md", keys)
        return found

    def scores(self, wildcards: Any) -> Found:
        """Its scores and its 4-bit twin's."""
        return [(path, keys) for path, (_, keys) in self._scored(wildcards).items()]

    def pages(self, wildcards: Any) -> str:
        """The same as flags, each with the pages that show it."""
        return " ".join(f"--{path} {' '.join(pages)}" for path, (pages, _) in self._scored(wildcards).items())
