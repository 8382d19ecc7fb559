"""GPU-hours by arithmetic, for a stated GPU at a stated share of its peak. Good for a plan, not for an invoice.

Training costs 6 FLOPs per parameter and token (arXiv 2001.08361), 4 where weights are frozen, and 2 more where
activations are computed a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from belle import jsonl
from belle.entries import (
    AskedDataset,
    GeneratedDataset,
    JudgedPairs,
    MixedDataset,
    PreferredModel,
    PretrainedBase,
    PublishedDataset,
    ReinforcedModel,
    RewardModel,
    TrainedModel,
)  # fmt: skip
from belle.params import Params
from belle.train.estimate import flops_a_parameter, settings_of
from belle.views.graph import Step
from belle.views.interval import NOTHING, Interval, total

GPU = "A100 80 GB"
PEAK_FLOPS = 312e12
"""bf16, dense."""
UTILISATION = Interval(0.40, 0.50, 0.25)
"""The share of the peak that training gets; its low number is the fast case."""

TOKENS_A_ROW = Interval(160, 80, 320)
"""A row of BELLE's sets with its prompt, in tokens of a multilingual vocabulary; used where the rows are not here."""
KEPT_BY_CLEAN = Interval(0.9, 0.7, 1.0)

PROMPTS_WITH_A_PAIR = Interval(0.6, 0.3, 1.0)
"""The share of prompts whose drawn answers score differently: 0.66 of the tiny world's."""

HUB_ROWS = {
    "BelleGroup/train_2M_CN": 2_000_000, "BelleGroup/train_1M_CN": 900_000, "BelleGroup/train_0.5M_CN": 500_000,
    "BelleGroup/train_3.5M_CN": 3_500_000, "BelleGroup/multiturn_chat_0.8M": 800_000,
    "BelleGroup/generated_chat_0.4M": 400_000, "BelleGroup/school_math_0.25M": 250_000,
}  # fmt: skip
"""Rows of published sets, as their names or cards say."""

QUANTISING_H_PER_BILLION = Interval(0.03, 0.022, 0.1)
"""GPTQ's paper (arXiv 2210.17323) took 10 minutes for 7.1 billion parameters; libraries take longer."""

STEP_S = Interval(0.030, 0.015, 0.060)
"""One token for a whole batch of a 7B model: bound by memory and by launching kernels, not by FLOPs."""
ANSWER_TOKENS = Interval(300, 100, 1024)
"""The longest answer in a batch, which the others wait for."""
STEP_BILLIONS = 7.0


class Compute:
    """GPU-hours of the stages that use GPUs; the tiny world's use none."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def gpu_hours(self, step: Step) -> Interval | None:
        """What a stage takes; None where the number of rows cannot be told."""
        if not step.resources.get("gpus"):
            return NOTHING
        if step.command == "weigh":
            return self._weigh(step)
        if step.command == "pretrain":
            return self._pretrain(step.wildcards["base"])
        if step.command in ("sample", "reward", "dpo", "ppo"):
            return self._aligned(step)
        model = step.wildcards["model"]
        size = self._parameters(model)
        if step.command == "sft":
            return self._sft(model, size)
        if step.command == "gptq":
            return QUANTISING_H_PER_BILLION * (size / 1e9)
        if step.command == "answer":
            return self._answer(step, size)
        return NOTHING

    def rows(self, dataset: str) -> Interval | None:
        """The clean rows of a data set: counted where they are here, else by its recipe."""
        here = Path(f"data/clean/{dataset}.jsonl")
        if here.exists():
            return Interval.exactly(sum(1 for _ in jsonl.read(here)))
        entry = self.params.datasets[dataset]
        if isinstance(entry, GeneratedDataset):
            return KEPT_BY_CLEAN * self.params.generate[entry.generate].rows
        if isinstance(entry, AskedDataset):
            return KEPT_BY_CLEAN * self.params.ask[entry.ask].rows
        if isinstance(entry, MixedDataset):
            return self._of_sets(entry, self.rows)
        known = HUB_ROWS.get(entry.hub) if isinstance(entry, PublishedDataset) else None
        return KEPT_BY_CLEAN * known if known else None

    def raw_rows(self, dataset: str) -> Interval | None:
        """The raw rows of a data set: counted where they are here, else by its recipe."""
        here = Path(f"data/raw/{dataset}.jsonl")
        if here.exists():
            return Interval.exactly(sum(1 for _ in jsonl.read(here)))
        entry = self.params.datasets[dataset]
        if isinstance(entry, GeneratedDataset):
            return Interval.exactly(self.params.generate[entry.generate].rows)
        if isinstance(entry, AskedDataset):
            return Interval.exactly(self.params.ask[entry.ask].rows)
        if isinstance(entry, MixedDataset):
            return self._of_sets(entry, self.raw_rows)
        known = HUB_ROWS.get(entry.hub) if isinstance(entry, PublishedDataset) else None
        return Interval.exactly(known) if known else None

    def _of_sets(self, entry: MixedDataset, rows: Callable[[str], Interval | None]) -> Interval | None:
        parts = [rows(name) for name in entry.sets]
        return None if None in parts else total([part for part in parts if part is not None])

    def _weigh(self, step: Step) -> Interval | None:
        """Reading rows once: two FLOPs a parameter and token."""
        rows = self.raw_rows(step.wildcards["dataset"])
        if rows is None:
            return None
        size = self._parameters(self.params.weighers[step.wildcards["weigher"]].base)
        flops = rows * TOKENS_A_ROW * (2 * size)
        return Interval(flops.mean / UTILISATION.mean, flops.low / UTILISATION.low, flops.high / UTILISATION.high) * (
            1 / PEAK_FLOPS / 3600
        )

    def _parameters(self, name: str) -> float:
        return self.params.parameters(name)

    def _sft(self, model: str, size: float) -> Interval | None:
        entry = self.params.models[model]
        assert isinstance(entry, TrainedModel)
        rows, recipe = self.rows(entry.dataset), self.params.sft[entry.sft]
        if rows is None:
            return None
        longest = float(recipe.cutoff_len)
        a_row = Interval(*(min(longest, value) for value in (TOKENS_A_ROW.mean, TOKENS_A_ROW.low, TOKENS_A_ROW.high)))
        tokens = rows * a_row * (entry.data_fraction * recipe.num_train_epochs)
        flops = tokens * (size * flops_a_parameter(settings_of(recipe)))
        return Interval(flops.mean / UTILISATION.mean, flops.low / UTILISATION.low, flops.high / UTILISATION.high) * (
            1 / PEAK_FLOPS / 3600
        )

    def _pretrain(self, name: str) -> Interval | None:
        entry = self.params.bases[name]
        assert isinstance(entry, PretrainedBase)
        recipe = self.params.pretrain[entry.pretrain]
        if not recipe.steps:
            return None  # it depends on texts that are tokenised only then
        a_step = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * recipe.devices
        flops = self._parameters(name) * (8 if recipe.gradient_checkpointing else 6)
        flops *= recipe.steps * a_step * recipe.block_size
        return Interval(flops / UTILISATION.mean, flops / UTILISATION.low, flops / UTILISATION.high) * (
            1 / PEAK_FLOPS / 3600
        )

    def _aligned(self, step: Step) -> Interval:
        """Drawing answers, and training by preferences: FLOPs by tokens, and steps of one token where any are drawn."""
        if step.command == "sample":
            pairs = self.params.pairs[step.wildcards["pairs"]]
            assert isinstance(pairs, JudgedPairs)
            draws = self.params.sample[pairs.sample]
            batches = math.ceil(draws.rows * draws.answers / draws.batch_size)
            return self._drawing(self._parameters(pairs.model), batches, draws.max_new_tokens)
        if step.command == "ppo":
            model = self.params.models[step.wildcards["model"]]
            assert isinstance(model, ReinforcedModel)
            ppo, size = self.params.ppo[model.ppo], self._parameters(model.base)
            reward = self._parameters(self.params.rewards[model.reward].base)
            tokens = at_most(ppo.max_prompt_length + ppo.max_new_tokens, TOKENS_A_ROW) * (ppo.steps * ppo.batch_size)
            # Policy, base and reward model look at every answer once, then the policy learns from it.
            learnt = (8 if ppo.gradient_checkpointing else 6) * ppo.ppo_epochs
            flops = tokens * (2 * (2 * size + reward) + learnt * size)
            return hours_of(flops) + self._drawing(size, ppo.steps, ppo.max_new_tokens)
        entry = (
            self.params.rewards[step.wildcards["reward"]]
            if step.command == "reward"
            else self.params.models[step.wildcards["model"]]
        )
        assert isinstance(entry, RewardModel | PreferredModel)
        recipe = self.params.reward[entry.reward] if isinstance(entry, RewardModel) else self.params.dpo[entry.dpo]
        size = self._parameters(entry.base)
        tokens = self._pairs(entry.pairs) * at_most(recipe.max_length, TOKENS_A_ROW) * 2
        once = 2 if isinstance(entry, PreferredModel) else 0  # the base's log-probabilities
        return hours_of(
            tokens * (size * (once + (8 if recipe.gradient_checkpointing else 6) * recipe.num_train_epochs))
        )

    def _pairs(self, name: str) -> Interval:
        """The pairs of a set: counted where they are here, else at most one for each prompt."""
        entry = self.params.pairs[name]
        here = Path(f"data/pairs/{name}.jsonl" if isinstance(entry, JudgedPairs) else entry.path)
        if here.exists():
            return Interval.exactly(sum(1 for _ in jsonl.read(here)))
        rows = self.params.sample[entry.sample].rows if isinstance(entry, JudgedPairs) else 0
        return PROMPTS_WITH_A_PAIR * rows

    def _drawing(self, size: float, batches: int, longest: int) -> Interval:
        return at_most(longest, ANSWER_TOKENS) * STEP_S * (batches * max(1.0, size / 1e9 / STEP_BILLIONS) / 3600)

    def _answer(self, step: Step, size: float) -> Interval:
        entry = self.params.evals[step.wildcards["eval"]]
        recipe = self.params.answer[entry.answer]
        batches = math.ceil(questions(entry.path) / recipe.batch_size)
        longest = float(recipe.max_new_tokens)
        tokens = Interval(
            *(min(longest, value) for value in (ANSWER_TOKENS.mean, ANSWER_TOKENS.low, ANSWER_TOKENS.high))
        )
        return tokens * STEP_S * (batches * max(1.0, size / 1e9 / STEP_BILLIONS) / 3600)


def at_most(longest: float, value: Interval) -> Interval:
    """A length with its bounds, cut at ``longest``."""
    return Interval(*(min(float(longest), bound) for bound in (value.mean, value.low, value.high)))


def hours_of(flops: Interval) -> Interval:
    """Hours of one GPU at the share of its peak that training gets."""
    return Interval(flops.mean / UTILISATION.mean, flops.low / UTILISATION.low, flops.high / UTILISATION.high) * (
        1 / PEAK_FLOPS / 3600
    )


def questions(path: str) -> int:
    """How many questions an evaluation set has; 0 where it is not here yet."""
    return sum(1 for _ in jsonl.read(Path(path))) if Path(path).exists() else 0


def disk_gb(step: Step, locked: dict[str, Any]) -> float:
    """What a stage's outputs take: as it declares it, else as large as the last ones were."""
    declared = float(step.resources.get("disk_gb") or 0)
    return declared or sum(item.get("size") or 0 for item in locked.get("outs", [])) / 1e9
