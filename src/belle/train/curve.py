"""The loss of every optimizer step; a run that was killed ends with the same file as one that was not."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from belle.files import atomic_file

NAME = "curve.csv"
HEADER = "step,loss\n"


class Curve(TrainerCallback):
    """Collects what the trainer adds for each batch, and writes it into every checkpoint."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sum = 0.0

    def add(self, loss: float) -> None:
        """Count one batch of the step under way; the losses of a step's batches add up to the step's."""
        self.sum += loss

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint's curve; the steps of one that has none are missing."""
        path = checkpoint / NAME
        self.lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:] if path.is_file() else []

    def write(self, path: Path) -> None:
        """Write ``step,loss`` lines, every digit of the loss."""
        with atomic_file(path) as file:
            file.write(HEADER + "".join(self.lines))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close a step."""
        self.lines.append(f"{state.global_step},{self.sum!r}\n")
        self.sum = 0.0

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Put the curve so far beside the checkpoint's files."""
        if state.is_world_process_zero and args.output_dir is not None:
            self.write(Path(args.output_dir) / f"checkpoint-{state.global_step}" / NAME)
