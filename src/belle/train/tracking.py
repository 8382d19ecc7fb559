"""What a training does while it runs: TensorBoard's curves, tokens a second, utilisation, memory.

.belle/tensorboard/NAME/   TensorBoard's events: loss, learning rate, gradient norm, speed, memory
.belle/runs/NAME.json      what the training took in all, over every run that a kill cut it into

Nothing here is part of a result: times differ from run to run, results do not.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from belle.files import atomic_file
from belle.train.speed import device_name, flops_a_token, peak_flops, peak_memory_gb, total_over_processes

BOARD, RUNS = Path(".belle/tensorboard"), Path(".belle/runs")


@dataclass
class Took:
    """What a training took up to the step whose state is safe; work that a kill undid is not counted.

    Args:
        step, steps: How far it is, of how many optimizer steps.
        seconds: On the clock, from step to step; without loading, writing checkpoints and the result.
        tokens: Trained on, padding left out, of all processes together.
        mfu: Share of the devices' peak; None where that is not known, or where it computes in 32 bits.
        peak_memory_gb: Of the process that had most, in 10⁹ bytes: a GPU's where there is one, else main memory.
        interrupted: How often it went on from a checkpoint.
    """

    name: str
    device: str
    processes: int
    step: int
    steps: int
    seconds: float
    tokens: int
    tokens_per_second: float
    mfu: float | None
    peak_memory_gb: float
    started: str
    finished: str
    interrupted: int

    def line(self) -> str:
        """One line for a person."""
        share = f", MFU {self.mfu:.1%}" if self.mfu is not None else ""
        return (
            f"{self.name}: {self.step} steps on {self.processes} × {self.device}, {self.tokens:,} tokens, "
            f"{self.tokens_per_second:,.0f} a second{share}, at most {self.peak_memory_gb:.2f} GB"
        )


def read(path: Path) -> Took | None:
    """What a training took, as its file says; None where there is no file, or none of this version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Took(**{field.name: found[field.name] for field in fields(Took)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mean_loss(lines: Sequence[str], after: int = 0) -> float:
    """The mean loss of the steps after ``after``, of the lines of a ``Curve``; NaN where there is none."""
    losses = []
    for line in reversed(lines):
        step, _, loss = line.partition(",")
        if int(step) <= after:
            break
        losses.append(float(loss))
    return math.fsum(losses) / len(losses) if losses else math.nan


class Tracking:
    """The watch over one training (``watching.Watch``).

    Args:
        name: The training's, as its checkpoints are called.
        root: The folder that ``.belle`` is in.
    """

    def __init__(self, name: str, root: Path = Path()) -> None:
        self.name, self.board, self.record = name, root / BOARD / name, root / RUNS / f"{name}.json"
        self.writer: Any = None
        self.took: Took | None = None
        self.first = True  # whether this process is the one that writes
        self.new_tokens = 0
        self.mark: float | None = None
        self.work: tuple[int, float | None] = (0, None)  # FLOPs a token; the peak of all devices together
        self.since = (0, 0.0)  # tokens and seconds at the last line of the log

    def callbacks(self, trainer: Any) -> list[TrainerCallback]:
        """What looks on at a training by the Hugging Face Trainer."""
        return [_Looking(self, trainer)]

    def batch(self, inputs: Mapping[str, Any]) -> None:
        """Count a batch's tokens."""
        mask = inputs.get("attention_mask")
        self.new_tokens += int(mask.sum()) if mask is not None else int(inputs["input_ids"].numel())

    def begin(self, step: int, steps: int, *, processes: int = 1, first: bool = True) -> None:
        """Go on from what the file says of the steps before, or start anew; events after ``step`` count no more."""
        self.first = first
        before = read(self.record) if step else None
        if before is not None and before.step > step:
            before = None
        now = _now()
        self.took = Took(
            self.name, device_name(), processes, step, steps, before.seconds if before else 0.0,
            before.tokens if before else 0, 0.0, None, before.peak_memory_gb if before else 0.0,
            before.started if before else now, "", (before.interrupted if before else 0) + bool(step),
        )  # fmt: skip
        self.since = (self.took.tokens, self.took.seconds)
        self.mark = time.perf_counter()
        if first and step < steps:
            self._open(step)

    def _open(self, step: int) -> None:
        if find_spec("tensorboard") is None:
            print("no curves: the package tensorboard is not installed", file=sys.stderr)
            return
        try:
            from torch.utils.tensorboard import SummaryWriter

            if not step:
                shutil.rmtree(self.board, ignore_errors=True)
            self.writer = SummaryWriter(str(self.board), purge_step=step + 1 if step else None)
        except ImportError as error:
            print(f"no curves: tensorboard cannot be loaded: {error}", file=sys.stderr)
        except OSError as error:
            self._lost(self.board, error)

    def close_step(self, step: int, tokens: int) -> None:
        """Take note of a step that is done."""
        assert self.took is not None
        now = time.perf_counter()
        if self.mark is not None:
            self.took.seconds += now - self.mark
        self.mark = now
        self.took.step, self.took.tokens = step, self.took.tokens + tokens

    def figures(self) -> dict[str, float]:
        """Speed since the last time, and memory so far."""
        assert self.took is not None
        tokens, seconds = self.took.tokens - self.since[0], self.took.seconds - self.since[1]
        self.since = (self.took.tokens, self.took.seconds)
        self.took.peak_memory_gb = max(self.took.peak_memory_gb, peak_memory_gb())
        found = {"tokens_per_second": tokens / seconds if seconds else 0.0, "memory_gb": self.took.peak_memory_gb}
        share = self._share(found["tokens_per_second"])
        return found if share is None else {**found, "mfu": share}

    def _share(self, speed: float) -> float | None:
        flops, peak = self.work
        return speed * flops / peak if peak else None

    def saved(self, step: int) -> None:
        """Write down what it took so far."""
        assert self.took is not None
        self.took.peak_memory_gb = max(self.took.peak_memory_gb, peak_memory_gb())
        self.took.tokens_per_second = self.took.tokens / self.took.seconds if self.took.seconds else 0.0
        self.took.mfu = self._share(self.took.tokens_per_second)
        if self.first:
            try:
                with atomic_file(self.record) as file:
                    file.write(json.dumps(asdict(self.took), ensure_ascii=False, indent=1) + "\n")
            except OSError as error:
                self._lost(self.record, error)
        self.mark = time.perf_counter()  # writing a checkpoint is not training

    def step(self, step: int, values: Mapping[str, float], tokens: int) -> None:
        """Take note of a step of a loop of one's own, and show it."""
        self.close_step(step, tokens)
        self.show(step, {**values, **self.figures()})

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Put values into TensorBoard."""
        if self.writer is None:
            return
        try:
            for name, value in values.items():
                self.writer.add_scalar(f"train/{name}", value, step)
            self.writer.flush()
        except OSError as error:
            self._lost(self.board, error)

    def end(self) -> None:
        """Close the curves and write down what it took."""
        assert self.took is not None
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError as error:
                self._lost(self.board, error)
            self.writer = None
        self.took.finished = _now()
        self.saved(self.took.step)

    def last_words(self) -> str:
        """What the training took and how to see its curves; empty where it is another process's to say."""
        if self.took is None or not self.first or not self.took.finished:
            return ""
        lines = [self.took.line(), f"kept in {self.record}; `belle runs` lists every training"]
        if self.board.is_dir():
            lines.append(f"curves: tensorboard --logdir {self.board.parent}")
        return "\n".join(lines)

    def _lost(self, path: Path, error: OSError) -> None:
        print(f"belle: {path}: not kept: {error.strerror}; the training goes on without it", file=sys.stderr)
        self.writer = None


class _Looking(TrainerCallback):
    """Tells ``Tracking`` what the Trainer does, and adds its figures to what the Trainer logs."""

    def __init__(self, tracking: Tracking, trainer: Any) -> None:
        self.tracking, self.trainer = tracking, trainer
        self.board: TensorBoardCallback | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the curves; a run that goes on from a checkpoint goes on with them."""
        flops = flops_a_token(self.trainer.model)
        known = peak_flops(device_name()) if args.bf16 or args.fp16 else None
        tracking = self.tracking
        tracking.work = (flops, known * args.world_size if known else None)
        first = bool(state.is_world_process_zero)
        tracking.begin(state.global_step, state.max_steps, processes=args.world_size, first=first)
        if tracking.writer is not None:
            self.board = TensorBoardCallback(tracking.writer)
            if not state.global_step:
                self.board.on_train_begin(args, state, control, **kwargs)
        tracking.mark = None  # set when the first step starts: before it, a loader passes over what was trained

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        if self.tracking.mark is None:
            self.tracking.mark = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close a step; the last one is logged, whatever its number."""
        self.tracking.close_step(state.global_step, total_over_processes(self.tracking.new_tokens, args.device))
        self.tracking.new_tokens = 0
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add speed and memory to a line of the log, and show it; its loss is that of the steps since the last line.

        The Trainer's own loss begins again where a run was resumed; the curve does not.
        """
        if logs is None or not state.is_world_process_zero:
            return
        if "loss" not in logs:  # the Trainer's summary, which counts this run alone
            mean = mean_loss(self.trainer.curve.lines)
            logs.clear()
            logs["train_loss"] = mean
            return
        every = int(args.logging_steps)
        logs["loss"] = mean_loss(self.trainer.curve.lines, (state.global_step - 1) // every * every)
        logs.update(self.tracking.figures())
        logs.pop("epoch", None)  # all passes stand in one list: always a share of 1
        if self.board is not None and self.tracking.writer is not None:
            try:
                self.board.on_log(args, state, control, logs=logs, **kwargs)
            except OSError as error:
                self.tracking._lost(self.tracking.board, error)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write down what the steps up to a checkpoint took."""
        self.tracking.saved(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close everything."""
        self.tracking.end()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
