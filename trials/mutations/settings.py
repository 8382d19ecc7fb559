"""Changes of params.yaml: each of its values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from belle import strict_yaml
from trials.mutations.mutation import NONE, Mutation, each, one
from trials.worlds import World

GENERATE, CLEAN, BASE, SFT, GPTQ = (
    one(name) for name in ("generate-tiny", "clean-tiny", "base-tiny-base", "sft-belle-tiny", "gptq-belle-tiny")
)
SETTINGS: dict[str, tuple[list[Any], frozenset[str]]] = {
    "corpus.tiny.sentences": ([380, 401], one("corpus-tiny")),
    "corpus.tiny.seed": ([7], one("corpus-tiny")),
    "evalset.tiny.rows_per_split": ([18], one("evalset-tiny")),
    "evalset.tiny.seed": ([7], one("evalset-tiny")),
    "datasets.tiny.seeds": (["data/seeds/other.jsonl"], GENERATE),
    "datasets.tiny.generate": (["other"], GENERATE),
    "datasets.tiny.clean": (["published", "generated"], CLEAN),
    "generate.tiny.model": (["teacher-of-another-name"], GENERATE),
    "generate.tiny.rows": ([50, 61], GENERATE),
    "generate.tiny.shots": ([2], GENERATE),
    "generate.tiny.tasks": ([9], GENERATE),
    "generate.tiny.temperature": ([0.9], GENERATE),
    "generate.tiny.top_p": ([0.9], GENERATE),
    "generate.tiny.max_tokens": ([700], GENERATE),
    "generate.tiny.stop": ([["\\n20", "20."]], GENERATE),
    "generate.tiny.seed": ([7], GENERATE),
    "clean.tiny.filters": ([["output_empty", "gpt_self_reference"], ["output_empty", "input_too_long:40"]], CLEAN),
    "clean.tiny.decontaminate": ([[]], CLEAN),
    "clean.tiny.contamination_share": ([0.3], CLEAN),
    "clean.tiny.contamination_text_share": ([0.3], CLEAN),
    "clean.tiny.contamination_run": ([20], CLEAN),
    "clean.tiny.compare": (["instruction"], CLEAN),
    "clean.tiny.near_duplicate_threshold": ([0.7], CLEAN),
    "clean.tiny.novelty_threshold": ([0.7, 1.02], CLEAN),
    "clean.tiny.min_output_chars": ([3], CLEAN),
    "clean.tiny.max_output_chars": ([20, 199], CLEAN),
    "clean.tiny.semantic_threshold": ([1.02], CLEAN),
    "bases.tiny-base.corpus": (["other"], BASE),
    "bases.tiny-base.base": (["other"], BASE),
    "base.tiny.vocab_size": ([1900], BASE),
    "base.tiny.hidden_size": ([256], BASE),
    "base.tiny.num_hidden_layers": ([2], BASE),
    "base.tiny.num_attention_heads": ([2], BASE),
    "base.tiny.intermediate_size": ([512], BASE),
    "base.tiny.context_length": ([48], BASE),
    "base.tiny.steps": ([3], BASE),
    "base.tiny.per_device_train_batch_size": ([4], BASE),
    "base.tiny.learning_rate": ([1e-3], BASE),
    "base.tiny.warmup_ratio": ([0.5], BASE),
    "base.tiny.weight_decay": ([0.1], BASE),
    "base.tiny.adam_beta2": ([0.9], BASE),
    "base.tiny.threads": ([2], BASE),
    "base.tiny.seed": ([7], BASE),
    "models.belle-tiny.data_fraction": ([0.5], SFT),
    "models.belle-tiny.sft": (["tiny-lora", "other"], SFT),
    "models.belle-tiny.gpus": ([0], NONE),
    "sft.tiny.prompt_format": (["alpaca"], SFT),
    "sft.tiny.cutoff_len": ([48], SFT),
    "sft.tiny.per_device_train_batch_size": ([4], SFT),
    "sft.tiny.gradient_accumulation_steps": ([2], SFT),
    "sft.tiny.num_train_epochs": ([2], SFT),
    "sft.tiny.learning_rate": ([1e-3], SFT),
    "sft.tiny.lr_scheduler_type": (["cosine"], SFT),
    "sft.tiny.warmup_ratio": ([0.5], SFT),
    "sft.tiny.weight_decay": ([0.1], SFT),
    "sft.tiny.adam_beta2": ([0.9], SFT),
    "sft.tiny.gradient_checkpointing": ([True], SFT),
    "sft.tiny.lora_dropout": ([0.1], SFT),
    "sft.tiny.devices": ([2], SFT),
    "sft.tiny.threads": ([2], SFT),
    "sft.tiny.seed": ([7], SFT),
    "gptq.bits": ([8, 3], GPTQ),
    "gptq.group_size": ([64], GPTQ),
    "gptq.damp_percent": ([0.05], GPTQ),
    "gptq.calibration_rows": ([9], GPTQ),
    "gptq.calibration_max_length": ([32], GPTQ),
    "gptq.seed": ([7], GPTQ),
    "evals.tiny.path": (["data/seeds/questions.jsonl"], each("answer") | CLEAN),
    "evals.tiny.answer": (["other"], each("answer")),
    "evals.tiny.judge": (["other"], each("judge")),
    "answer.tiny.max_new_tokens": ([5], each("answer")),
    "answer.tiny.batch_size": ([32], each("answer")),
    "answer.tiny.do_sample": ([True], each("answer")),
    "answer.tiny.prompt_format": (["alpaca"], each("answer")),
    "answer.tiny.seed": ([7], each("answer")),
    "judge.tiny.model": (["judge-of-another-name"], each("judge")),
    "judge.tiny.temperature": ([0.1], each("judge")),
    "judge.tiny.max_tokens": ([2000], each("judge")),
    "tables.tiny.title": (["Another title"], one("table-tiny")),
    "tables.tiny.models": (
        [["belle-tiny-gptq", "belle-tiny", "tiny-base"], ["tiny-base", "belle-tiny"]],
        one("table-tiny"),
    ),
    # what no default target reads, or no result depends on
    "pace.in_flight": ([2], NONE),
    "pace.timeout_s": ([59], NONE),
    "pace.save_steps": ([50], NONE),
    "budget.max_cost_usd": ([11.0], NONE),
    "launch.master_address": (["10.0.0.1"], NONE),
    "sft.tiny-lora.lora_r": ([8], NONE),
    "sft.belle-7b.learning_rate": ([1e-5], NONE),
    "sft.belle-7b.deepspeed": ([""], NONE),
    "models.belle-tiny-lora.sft": (["tiny"], NONE),
    "models.belle-tiny-quarter.data_fraction": ([0.3], NONE),
    "models.belle-7b.gpus": ([4], NONE),
    "generate.belle-2m.rows": ([1000], NONE),
    "ask.tiny-math.rows": ([40], NONE),
    "categories.tiny.dataset": (["tiny-math"], NONE),
    "clean.published.max_output_chars": ([3000], NONE),
    "weigh.tiny.layer": ([0], NONE),
    "datasets.tiny-clean.sets": ([["tiny-math", "tiny"]], NONE),
    "answer.belle.max_new_tokens": ([512], NONE),
    "judge.chatgpt.model": (["gpt-4"], NONE),
    "datasets.belle-2m.revision": (["v1"], NONE),
    "bases.bloomz-7b1-mt.parameters": ([7000000000], NONE),
    "tables.release.title": (["Another"], NONE),
}
"""Key → the values to try, and the stages that read it."""


def _recipe(section: str, key: str) -> Callable[[World], None]:
    """Choose another recipe that differs in one number from the one before."""
    changes = {"generate": ("rows", 55), "corpus": ("sentences", 350), "base": ("steps", 3), "sft": ("seed", 5),
               "answer": ("max_new_tokens", 6), "judge": ("max_tokens", 1000)}  # fmt: skip

    def apply(world: World) -> None:
        values = strict_yaml.load(world.folder / "params.yaml")
        field_name, value = changes[section]
        values[section]["other"] = {**values[section]["tiny"], field_name: value}
        _write_params(world, values)
        world.set(key, "other")

    return apply


def _write_params(world: World, values: Any) -> None:
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    (world.folder / "params.yaml").write_text(text, encoding="utf-8")


def _other_file(key: str, path: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        source = "data/seeds/seed_tasks.jsonl" if "seed" in key else "data/eval/tiny.jsonl"
        lines = (world.folder / source).read_text(encoding="utf-8").splitlines(keepends=True)
        (world.folder / path).write_text("".join(lines[:-1]), encoding="utf-8")
        world.set(key, path)

    return apply


def settings() -> Iterator[Mutation]:
    """Each value of params.yaml."""
    for key, (values, roots) in SETTINGS.items():
        for value in values:
            if value == "other":
                section = key.rpartition(".")[2]
                apply = _recipe(section, key)
            elif str(value).startswith("data/"):
                apply = _other_file(key, value)
            else:

                def apply(world: World, key: str = key, value: Any = value) -> None:
                    world.set(key, value)

            yield Mutation("setting", f"{key} = {json.dumps(value, ensure_ascii=False)}", apply, roots)
    yield Mutation("setting, cosmetic", "params.yaml: order, width, comments", _comments)


def _comments(world: World) -> None:
    path = world.folder / "params.yaml"
    values = strict_yaml.load(path)
    text = yaml.safe_dump(dict(reversed(values.items())), allow_unicode=True, sort_keys=True, width=60)
    path.write_text("# written otherwise\n" + text, encoding="utf-8")
