"""Everything that a person or a machine could change, one at a time, and which stages truly depend on it.

The roots are stated by hand for settings, rules and files, and by tracing for code: what must run besides them follows
from the bytes of a build from nothing (``trials.truth.affected``).
"""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from belle import strict_yaml
from trials.truth import Truth
from trials.worlds import World

APART = ("belle/build/", "belle/cli.py", "belle/config.py", "belle/entries.py", "belle/commands/")
"""Code that runs in a stage's process and that no result depends on."""
MODELS = ("tiny-base", "belle-tiny", "belle-tiny-gptq")
NONE: frozenset[str] = frozenset()


def each(stage: str) -> frozenset[str]:
    """The stages of one rule, a stage for each model."""
    return frozenset(f"{stage}-tiny-{model}" for model in MODELS)


def one(*stages: str) -> frozenset[str]:
    """These stages."""
    return frozenset(stages)


@dataclass(frozen=True)
class Mutation:
    """One change, and what it makes necessary by itself.

    Attributes:
        kind: The group that it is counted under.
        name: What is changed, to what.
        apply: Makes the change in a built world.
        roots: Stages that depend on what is changed; what follows from their outputs is not listed.
        restored: Stages whose outputs must be brought back without running them.
        environment: Variables that the build is started with.
    """

    kind: str
    name: str
    apply: Callable[[World], None]
    roots: frozenset[str] = NONE
    restored: frozenset[str] = NONE
    environment: dict[str, str] = field(default_factory=dict)


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
    "clean.tiny.filters": ([["output_empty", "gpt_self_reference"], ["output_empty"]], CLEAN),
    "clean.tiny.compare": (["instruction"], CLEAN),
    "clean.tiny.novelty_threshold": ([0.7, 1.02], CLEAN),
    "clean.tiny.min_output_chars": ([3], CLEAN),
    "clean.tiny.max_output_chars": ([20, 199], CLEAN),
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
    "sft.tiny.threads": ([2], SFT),
    "sft.tiny.seed": ([7], SFT),
    "gptq.bits": ([8, 3], GPTQ),
    "gptq.group_size": ([64], GPTQ),
    "gptq.damp_percent": ([0.05], GPTQ),
    "gptq.calibration_rows": ([9], GPTQ),
    "gptq.calibration_max_length": ([32], GPTQ),
    "gptq.seed": ([7], GPTQ),
    "evals.tiny.path": (["data/seeds/questions.jsonl"], each("answer")),
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
    "sft.tiny-lora.lora_r": ([8], NONE),
    "sft.belle-7b.learning_rate": ([1e-5], NONE),
    "sft.belle-7b.deepspeed": ([""], NONE),
    "models.belle-tiny-lora.sft": (["tiny"], NONE),
    "models.belle-tiny-quarter.data_fraction": ([0.3], NONE),
    "models.belle-7b.gpus": ([4], NONE),
    "generate.belle-2m.rows": ([1000], NONE),
    "clean.published.max_output_chars": ([3000], NONE),
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


def _comments(world: World) -> None:
    path = world.folder / "params.yaml"
    values = strict_yaml.load(path)
    text = yaml.safe_dump(dict(reversed(values.items())), allow_unicode=True, sort_keys=True, width=60)
    path.write_text("# written otherwise\n" + text, encoding="utf-8")


def rules(jobs: Truth) -> Iterator[Mutation]:
    """Each rule: its command, and what is no part of its command."""
    roots: dict[str, set[str]] = {}
    for job in jobs.jobs:
        roots.setdefault(job.command.split()[1], set()).add(job.name)

    def edited(rule: str, change: Callable[[str], str]) -> Callable[[World], None]:
        def apply(world: World) -> None:
            for path in (world.folder / "rules").glob("*.smk"):
                text = path.read_text(encoding="utf-8")
                body = re.search(rf"^rule {rule}:\n(?:    .*\n|\n)+", text, re.M)
                if body:
                    changed = change(body[0])
                    assert changed != body[0], f"the rule {rule} was not changed"
                    path.write_text(text.replace(body[0], changed), encoding="utf-8")
                    return
            raise AssertionError(f"there is no rule {rule}")

        return apply

    def command(body: str) -> str:
        return (
            re.sub(r"(belle \w+ [^\"']*(?:\n?.*?))([\"'])(\s*\)\s*)$", r"\1 2>\&1\2\3", body.rstrip(), flags=re.S)
            + "\n\n\n"
        )

    def comment(body: str) -> str:
        return body.replace("    shell:", "    # only a comment\n    shell:", 1)

    def resources(body: str) -> str:
        return body.replace("    shell:", '    priority: 3\n    message: "another message"\n    shell:', 1)

    for rule, stages in sorted(roots.items()):
        yield Mutation("rule", f"{rule}: another command", edited(rule, command), frozenset(stages))
        yield Mutation("rule, cosmetic", f"{rule}: a comment", edited(rule, comment))
        yield Mutation("rule, cosmetic", f"{rule}: priority and message", edited(rule, resources))
    for rule in ("fetch_dataset", "decrypt"):
        yield Mutation("rule", f"{rule} (no default target): another command", edited(rule, command))
    yield Mutation("setting, cosmetic", "params.yaml: order, width, comments", _comments)


def code(executed: dict[str, set[tuple[str, str]]], source: Path, chance: random.Random) -> Iterator[Mutation]:
    """Each module: a statement more in a function that stages were seen to execute; then only its looks."""
    callers: dict[str, dict[str, set[str]]] = {}
    for stage, functions in executed.items():
        for path, name in functions:
            callers.setdefault(path, {}).setdefault(name, set()).add(stage)
    for file in sorted(source.rglob("*.py")):
        path = str(file.relative_to(source))
        functions = _functions(file)
        known = {name: stages for name, stages in callers.get(path, {}).items() if name in functions}
        if known and not path.startswith(APART):
            name = chance.choice(sorted(known))
            yield Mutation("code", f"{path}: {name}", _statement(path, functions[name]), frozenset(known[name]))
        elif functions:
            name = chance.choice(sorted(functions))
            yield Mutation("code, of no stage", f"{path}: {name}", _statement(path, functions[name]))
        yield Mutation("code, cosmetic", f"{path}: comments, blank lines, docstring", _looks(path))


def _functions(file: Path) -> dict[str, int]:
    """Qualified name → line of the first statement, for functions whose body is on lines of its own."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                body = [item for item in child.body if not _is_text(item)]
                if body and body[0].lineno > child.lineno and not isinstance(body[0], ast.FunctionDef | ast.ClassDef):
                    found[prefix + child.name] = body[0].lineno
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(file.read_bytes()), "")
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _statement(path: str, line: int) -> Callable[[World], None]:
    def apply(world: World) -> None:
        file = world.folder / "src" / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        indent = re.match(r" *", lines[line - 1])
        assert indent
        lines.insert(line - 1, f"{indent[0]}mutated = 1\n")
        file.write_text("".join(lines), encoding="utf-8")

    return apply


def _looks(path: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        file = world.folder / "src" / path
        text = file.read_text(encoding="utf-8")
        text = re.sub(r'^("""|#)', r"\1Another look. ", text, count=1) if text.startswith(('"""', "#")) else text
        text = re.sub(r"^(def |class |async def )", r"# only a comment\n\n\n\1", text, flags=re.M)
        file.write_text(text + "\n\n# the end\n", encoding="utf-8")

    return apply


def artifacts(truth: Truth, chance: random.Random) -> Iterator[Mutation]:
    """Each stage's output: changed, truncated, touched, replaced by equal bytes, removed."""
    for job in truth.jobs:
        out = chance.choice(job.outputs)
        for what, damage in DAMAGES.items():
            # an intermediate that is gone is fetched only when something needs it
            lost = damage in (_changed, _truncated) or (damage is _removed and out in truth.targets)
            yield Mutation(
                "output " + what, f"{out}: {what}", _damaged(out, damage), NONE, one(job.name) if lost else NONE
            )


def _file_of(world: World, out: str) -> Path:
    path = world.folder / out
    return (
        max((item for item in path.rglob("*") if item.is_file()), key=lambda item: item.stat().st_size)
        if path.is_dir()
        else path
    )


def _changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def _truncated(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


def _touched(path: Path) -> None:
    moment = time.time() + 3600
    os.utime(path, (moment, moment), follow_symlinks=False)


def _equal(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def _removed(path: Path) -> None:
    path.unlink()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "changed": _changed, "truncated": _truncated, "touched": _touched, "equal bytes": _equal, "removed": _removed,
}  # fmt: skip


def _damaged(out: str, damage: Callable[[Path], None]) -> Callable[[World], None]:
    def apply(world: World) -> None:
        if damage is _removed and (world.folder / out).is_dir():
            shutil.rmtree(world.folder / out)
        else:
            damage(_file_of(world, out))

    return apply
