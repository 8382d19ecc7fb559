"""One training of ``trials.training``, which may kill itself: ``python -m trials.training_child JSON``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from belle.stages import numeric_environment


def train(asked: dict[str, Any]) -> None:
    """Run the stage that ``asked`` describes; see ``trials.training.run``."""
    numeric_environment(1)
    from transformers import TrainerCallback

    from belle.train import trainer
    from belle.train.pretrain import pretrain
    from belle.train.sft import sft

    step, saving = asked["step"], asked["saving"]

    class AtStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            Path(asked["seen"]).write_text(str(state.global_step))
            if step and not saving and state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)

    class Killed(trainer.FiniteTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(AtStep())

        def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
            if step and saving and self.state.global_step >= step:
                (Path(output_dir) / "optimizer.pt").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            super()._save_optimizer_and_scheduler(output_dir)

    trainer.FiniteTrainer = Killed  # type: ignore[misc]
    paths = {
        key: [*map(Path, value)] if isinstance(value, list) else Path(value) for key, value in asked["paths"].items()
    }
    stage: Any = pretrain if "texts" in paths else sft
    stage(**paths, **asked["settings"])


def forked(asked: dict[str, Any], log: Path, work: Callable[[dict[str, Any]], None] = train) -> int:
    """Do ``work`` in a fork of this process, which must not have computed anything; returns its exit status.

    What is loaded here need not be loaded again, so that a run of seconds takes seconds.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        end = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(end, 1)
        os.dup2(end, 2)
        work(asked)
        status = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
    finally:
        os._exit(status)


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
