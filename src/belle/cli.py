"""The ``belle`` command: one subcommand per stage, and those of ``belle.commands`` about the build itself.

A stage's files are positional, its settings are flags named as in params.yaml. Heavy imports stand inside commands, so
``belle --help`` is quick and a stage loads only what it needs. Environment variables are read here and nowhere below.
"""

from __future__ import annotations

import argparse
import os
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from belle import config
from belle.errors import BelleError, InputError

LEDGER = Path("data/ledger")
"""Where every paid request and reply is kept; outside every stage's outputs, tracked by DVC."""

Arguments = argparse.Namespace


def numeric_environment(threads: int) -> None:
    """Pin what the bytes of a result on a CPU depend on; must run before torch is imported.

    AVX2 is what every x86 machine of the last ten years has: with it the tiny world comes out equal on all of them.
    """
    os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    os.environ["MKL_ENABLE_INSTRUCTIONS"] = "AVX2"
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, threads))  # gptqmodel fails with fewer than two
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(".belle/torch-extensions").absolute())
    os.environ["HF_HUB_OFFLINE"] = "1"  # models are folders here; a wrong path must not wait for the network
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def api_key() -> str:
    """The key of the chat API, from the environment only."""
    return os.environ.get("OPENAI_API_KEY", "")


def budget(path: Path = Path("params.yaml")) -> Any:
    """What params.yaml allows to spend (``belle.api.budget.Budget``); None where it sets no limit."""
    section = config.load(path).budget if path.exists() else None
    if section is None:
        return None
    from belle.api import prices
    from belle.api.budget import Budget

    own = {model: (price.prompt, price.completion) for model, price in section.prices.items()}
    return Budget(section.max_cost_usd, prices.load(own))


def pace(path: Path = Path("params.yaml")) -> config.Pace:
    """How fast a stage may go, from params.yaml; its defaults where there is none."""
    return config.load(path).pace if path.exists() else config.Params.model_fields["pace"].default


def corpus(args: Arguments) -> None:
    """Write the plain-text corpus of the tiny world."""
    from belle.data.corpus import corpus

    corpus(out=args.out, **settings(args, config.Corpus))


def evalset(args: Arguments) -> None:
    """Write the tiny world's evaluation set: held-out entities and held-out phrasings."""
    from belle.data.evalset import evalset

    evalset(out=args.out, **settings(args, config.Evalset))


def fetch_dataset(args: Arguments) -> None:
    """Fetch a published data set by its hub name (or a local folder) as raw rows."""
    from belle.data.fetch_dataset import fetch_dataset

    fetch_dataset(hub=args.hub, out=args.out, revision=args.revision, split=args.split)


def fetch_model(args: Arguments) -> None:
    """Fetch a published base model by its hub name."""
    from belle.weights.fetch_model import fetch_model

    fetch_model(hub=args.hub, out=args.out, revision=args.revision)


def generate(args: Arguments) -> None:
    """Ask a chat API for rows by Self-Instruct; every reply is kept in the ledger and never paid twice."""
    from belle.data.generate import generate

    given = settings(args, config.Generate)
    given["stop"] = [text.replace(r"\n", "\n") for text in given["stop"]]  # a command is one line
    generate(
        seeds=args.seeds, prompt=args.prompt, out=args.out, report=args.report,
        ledger=args.ledger, api_key=api_key(), budget=args.budget,
        in_flight=args.pace.in_flight, timeout_s=args.pace.timeout_s, **given,
    )  # fmt: skip


def clean(args: Arguments) -> None:
    """Filter raw rows; each ends as a clean row or as a counted reason."""
    from belle.data.clean import clean

    clean(raw=args.raw, out=args.out, report=args.report, **settings(args, config.Clean))


def base(args: Arguments) -> None:
    """Train a tokenizer and a tiny LLaMA-shaped base model from scratch."""
    numeric_environment(args.threads)
    from belle.train.base import base

    base(corpus=args.corpus, out=args.out, checkpoints=args.checkpoints, **settings(args, config.Base))


def encrypt(args: Arguments) -> None:
    """XOR a model (or file) with a key, in the form BELLE released its LLaMA models."""
    from belle.weights.encrypt import encrypt

    encrypt(plain=args.plain, key=args.key, out=args.out)


def decrypt(args: Arguments) -> None:
    """Undo `encrypt`, or BELLE's own releases; an output gets its name only when its hash holds."""
    from belle.weights.decrypt import decrypt

    decrypt(encrypted=args.encrypted, key=args.key, out=args.out)


def sft(args: Arguments) -> None:
    """Fine-tune a model, fully or by LoRA with merge; resumes after a kill."""
    numeric_environment(args.threads)
    from belle.train.sft import sft

    sft(
        base=args.base, data=args.data, out=args.out, checkpoints=args.checkpoints,
        data_fraction=args.data_fraction, save_steps=args.pace.save_steps, **settings(args, config.Sft),
    )  # fmt: skip


def gptq(args: Arguments) -> None:
    """Quantise a model by GPTQ, calibrated on its own training rows."""
    numeric_environment(args.threads)
    from belle.quantize.gptq import gptq

    gptq(model=args.model, data=args.data, out=args.out, **settings(args, config.Gptq))


def answer(args: Arguments) -> None:
    """Let a model answer an evaluation set."""
    numeric_environment(args.threads)
    from belle.evaluate.answer import answer

    answer(model=args.model, questions=args.questions, out=args.out, name=args.name, **settings(args, config.Answer))


def judge(args: Arguments) -> None:
    """Let a judge score answers; every verdict is kept in the ledger and never paid twice."""
    from belle.evaluate.judge import judge

    judge(
        answers=args.answers, prompts=args.prompts, out=args.out,
        ledger=args.ledger, api_key=api_key(), budget=args.budget,
        in_flight=args.pace.in_flight, timeout_s=args.pace.timeout_s, **settings(args, config.Judge),
    )  # fmt: skip


def score(args: Arguments) -> None:
    """Average verdicts by class, as the papers do."""
    from belle.evaluate.score import score

    score(verdicts=args.verdicts, out=args.out)


def table(args: Arguments) -> None:
    """Write one table of several models' scores, in Markdown, CSV and JSON."""
    from belle.evaluate.table import table

    table(scores=args.scores, out_md=args.out_md, out_csv=args.out_csv, out_json=args.out_json, title=args.title)


Command = Callable[[Arguments], None]

STAGES: dict[str, tuple[Command, str]] = {
    "corpus": (corpus, "out"),
    "evalset": (evalset, "out"),
    "fetch_dataset": (fetch_dataset, "hub= out --revision= --split="),
    "fetch_model": (fetch_model, "hub= out --revision="),
    "generate": (generate, "seeds prompt out report --ledger"),
    "clean": (clean, "raw out report"),
    "base": (base, "corpus out checkpoints"),
    "encrypt": (encrypt, "plain key out"),
    "decrypt": (decrypt, "encrypted key out"),
    "sft": (sft, "base data out checkpoints --data_fraction"),
    "gptq": (gptq, "model data out"),
    "answer": (answer, "model questions out name="),
    "judge": (judge, "answers prompts out --ledger"),
    "score": (score, "verdicts out"),
    "table": (table, "out_md out_csv out_json title= scores*"),
}
"""Stage → its function and its arguments: a path, ``name=`` text, ``name*`` several paths, ``--name`` an option."""

ASKING = frozenset({"generate", "judge"})
"""The stages that add to the ledger."""


def settings(args: Arguments, section: type[config.Section]) -> dict[str, Any]:
    """The flags of a section as keyword arguments.

    Raises:
        InputError: a value out of range; the message names each.
    """
    given = {field: getattr(args, field) for field in section.model_fields}
    try:
        return section.model_validate(given).model_dump()
    except ValueError as error:
        raise InputError(f"{error}", where="command line") from None


def _option(parser: argparse.ArgumentParser, name: str, annotation: Any) -> None:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    origin = typing.get_origin(annotation)
    if annotation is bool:
        parser.add_argument(f"--{name}", action="store_true")
    elif origin is list:
        parser.add_argument(f"--{name}", nargs="*", default=[])
    elif origin is typing.Literal:
        choices = typing.get_args(annotation)
        parser.add_argument(f"--{name}", type=type(choices[0]), choices=choices, required=True)
    else:
        parser.add_argument(f"--{name}", type=annotation, required=True)


def _add_stage(commands: Any, name: str, command: Command, arguments: str) -> None:
    parser = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
    for argument in arguments.split():
        if argument == "--ledger":
            parser.add_argument(argument, type=Path, default=LEDGER, help="folder (default: %(default)s)")
        elif argument == "--data_fraction":
            parser.add_argument(argument, type=float, default=1.0, help="share of the rows (default: %(default)s)")
        elif argument.startswith("--"):
            parser.add_argument(argument.rstrip("="), default="main" if "revision" in argument else "train")
        elif argument.endswith("="):
            parser.add_argument(argument[:-1])
        elif argument.endswith("*"):
            parser.add_argument(argument[:-1], type=Path, nargs="+")
        else:
            parser.add_argument(argument, type=Path)
    section = config.SECTIONS.get(name)
    for field, annotation in typing.get_type_hints(section, include_extras=True).items() if section else ():
        if field in section.model_fields:  # type: ignore[union-attr]
            _option(parser, field, annotation)
    parser.set_defaults(run=command, command=name)


def _modules() -> Iterator[Any]:
    """The modules of belle.commands: each is a subcommand that is no stage."""
    import importlib
    import pkgutil

    from belle import commands

    for info in pkgutil.iter_modules(commands.__path__):
        yield importlib.import_module(f"belle.commands.{info.name}")


def _first_line(module: Any) -> str:
    return (module.__doc__ or "").partition("\n")[0].rstrip(".").replace("%", "%%")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(prog="belle", description=sys.modules["belle"].__doc__)
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (command, arguments) in STAGES.items():
        _add_stage(commands, name, command, arguments)
    for module in _modules():
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        extra = commands.add_parser(name, help=_first_line(module), description=module.__doc__)
        module.add_arguments(extra)
        extra.set_defaults(run=module.run, command=name)
    return root


@contextmanager
def as_stage(command: str) -> Iterator[None]:
    """What surrounds a stage that DVC runs: params.yaml is checked, the run gets its line in the history.

    A subcommand typed by hand is no stage run, and nothing of this happens.
    """
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    if not name or command not in STAGES:
        yield
        return
    from belle.build import environment, history, run
    from belle.build.pipeline import find, refuse_stale, resolve
    from belle.build.state import State

    root = Path(os.environ.get("DVC_ROOT", "."))
    environment.enter(command, root)
    run.end_with(run.build_pid() | {os.getppid()})
    state = State()
    config.load()
    _, entry = find(name)
    refuse_stale(name, entry, state)
    reason = os.environ.get(run.REASON, "")
    if not reason:  # DVC started this by itself
        reason = "; ".join(state.reasons(resolve(name, entry, state))) or "an output is missing"
        state.hashes.save()
    if mark := os.environ.get(run.EXECUTED_MARK, ""):
        Path(mark).touch()
    started, outcome = history.now(), history.FAILED
    try:
        yield
        outcome = history.EXECUTED
    finally:
        history.record(root, name, reason, outcome, started)
        if command in ASKING and not os.environ.get(run.BUILD_PID):
            from belle.build.persistence import track

            track((str(LEDGER),))


def main(argv: list[str] | None = None) -> int:
    """Run ``belle``; returns the exit status: 0, 1 for a fault outside, 2 for something given that is refused."""
    args = parser().parse_args(argv)
    try:
        with as_stage(args.command):
            # here, so that no stage's fingerprint reaches what no result depends on
            args.pace = pace()
            if args.command in ASKING:
                args.budget = budget()
            args.run(args)
    except BelleError as error:
        print(f"belle {args.command}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(f"belle {args.command}: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
