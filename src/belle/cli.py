"""The ``belle`` command: the stages of ``belle.stages``, and what ``belle.commands`` has about the build itself."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from belle import config
from belle.errors import BelleError
from belle.stages import ASKING, LEDGER, STAGES, add_stage
from belle.train import watching

TRAINING = frozenset({"base", "pretrain", "sft", "reward", "dpo", "ppo"})
"""The stages that train a model, and are looked on at while they do."""


def budget(path: Path = Path("params.yaml")) -> Any:
    """What params.yaml allows to spend (``belle.api.budget.Budget``); None where it sets no limit."""
    section = config.load(path).budget if path.exists() else None
    if section is None:
        return None
    from belle.api import prices
    from belle.api.budget import Budget

    own = {model: (price.prompt, price.completion) for model, price in section.prices.items()}
    return Budget(section.max_cost_usd, prices.load(own))


def pace(path: Path = Path("params.yaml")) -> Any:
    """How fast a stage may go, from params.yaml; its defaults where there is none."""
    return config.load(path).pace if path.exists() else config.Params.model_fields["pace"].default


def launch(path: Path = Path("params.yaml")) -> Any:
    """Where a training on several GPUs runs, from params.yaml; on this host where it says nothing."""
    return config.load(path).launch if path.exists() else config.Params.model_fields["launch"].default


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
        add_stage(commands, name, command, arguments)
        if name in TRAINING:
            commands.choices[name].epilog = (
                "Curves of loss, speed and memory: `tensorboard --logdir .belle/tensorboard`; what a training took: "
                "`belle runs`."
            )
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
    from belle.build import environment, history
    from belle.build.parents import build_pid, end_with
    from belle.build.pipeline import find, refuse_stale, resolve
    from belle.build.state import State

    root = Path(os.environ.get("DVC_ROOT", "."))
    environment.enter(command, root)
    end_with(build_pid() | {os.getppid()})
    state = State()
    config.load()
    _, entry = find(name)
    refuse_stale(name, entry, state)
    reason = os.environ.get(environment.REASON, "")
    if not reason:  # DVC started this by itself
        reason = "; ".join(state.reasons(resolve(name, entry, state))) or "an output is missing"
        state.hashes.save()
    if mark := os.environ.get(environment.EXECUTED_MARK, ""):
        Path(mark).touch()
    started, outcome = history.now(), history.FAILED
    try:
        yield
        outcome = history.EXECUTED
    finally:
        history.record(root, name, reason, outcome, started)
        if command in ASKING and not os.environ.get(environment.BUILD_PID):
            from belle.build.persistence import track

            track((str(LEDGER),))


@contextmanager
def watched(args: argparse.Namespace) -> Iterator[None]:
    """Look on at a stage that trains, and say at its end what it took; no result depends on it."""
    if args.command not in TRAINING:
        yield
        return
    made: list[Any] = []

    def make() -> Any:
        from belle.train.tracking import Tracking  # it imports torch, whose environment the stage sets up first

        made.append(Tracking(args.checkpoints.name))
        return made[-1]

    watching.WATCHERS.append(make)
    try:
        yield
    finally:
        watching.WATCHERS.remove(make)
    for watch in made:
        if words := watch.last_words():
            print(words, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run ``belle``; returns the exit status: 0, 1 for a fault outside, 2 for something given that is refused."""
    args = parser().parse_args(argv)
    try:
        with as_stage(args.command):
            # here, so that no stage's fingerprint reaches what no result depends on
            if args.command in STAGES:
                args.pace, args.launch = pace(), launch  # the latter is asked by few
                args.words = sys.argv[1:] if argv is None else argv
            if args.command in ASKING:
                args.budget = budget()
            with watched(args):
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
