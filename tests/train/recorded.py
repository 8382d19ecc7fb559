"""Run ``belle sft`` as the command line does, and write the loss, gradient norm and learning rate of every step.

    python recorded.py LOSSES.json [--save_steps N] sft BASE DATA OUT CURVE CHECKPOINTS TOKENS --…

Started by tests, in one process or by ``belle.train.launch`` in several.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from belle import cli
from belle.train import sft, trainer


class Record(TrainerCallback):
    """Log every step, and keep what is logged."""

    def on_train_begin(self, args, state, control, **kwargs):
        state.logging_steps = 1

    def on_train_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            steps = [line for line in state.log_history if "loss" in line]
            Path(sys.argv[1]).write_text(json.dumps(steps))


class Recorded(trainer.FiniteTrainer):
    """The Trainer with a record of its steps."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "callbacks": [*kwargs["callbacks"], Record()]})


if __name__ == "__main__":
    trainer.FiniteTrainer = Recorded
    assert sft.train is trainer.train
    words = sys.argv[2:]
    if words[0] == "--save_steps":
        pace = cli.pace().model_copy(update={"save_steps": int(words[1])})
        cli.pace = lambda: pace
        words = words[2:]
    status = cli.main(words)
    # Python that ends while gloo's threads run is aborted in some of a hundred runs
    assert status or not torch.distributed.is_initialized(), "the process has not parted from the others"
    sys.exit(status)
