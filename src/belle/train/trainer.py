"""The one set-up of the Hugging Face Trainer, for all stages that train by it."""

import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from belle.errors import BelleError
from belle.files import sha256_of
from belle.train.batches import Item, Ordered, stack
from belle.train.checkpoints import MarkComplete, latest
from belle.train.curve import Curve
from belle.train.scale import Evened, accumulation, by_gloo_alone, part
from belle.train.settings import DEFAULTS, Settings
from belle.train.watching import watches

Batch = dict[str, Any]
"""Tensors by name, as the model takes them."""
Loss = Callable[[torch.nn.Module, Batch], torch.Tensor]
"""From a model and a stacked batch to the loss of that batch, a scalar: the mean over what it counts."""


class FiniteTrainer(Trainer):
    """A Trainer that keeps every step's loss and stops at one that is no number; ``loss`` replaces the model's own."""

    def __init__(self, *args: Any, loss: Loss | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss = loss
        self.curve = Curve()
        self.callback_handler.callbacks.insert(0, self.curve)  # before MarkComplete, which lists a checkpoint's files
        self.watches = watches()
        for callback in (item for watch in self.watches for item in watch.callbacks(self)):
            self.callback_handler.callbacks.insert(-1, callback)  # before the progress bar, which prints what is logged
        self.share = 1.0
        if loss is not None:
            self.model_accepts_loss_kwargs = False  # a mean of each batch: accumulation divides it by its steps

    def compute_loss(self, model: torch.nn.Module, inputs: Batch, *args: Any, **kwargs: Any) -> Any:
        """The loss of one batch."""
        if self.loss is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        loss = self.loss(model, inputs)
        return loss if self.share == 1.0 else loss * self.share

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of one step; where some only fill up the last step, the others count for them.

        A model's own loss is divided by the tokens of all processes, which sees to it by itself.
        """
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self.loss is not None and self.args.world_size > 1 and batches:
            here = sum(batch["counted"].any().to(torch.float32).reshape(1) for batch in batches)
            counted = float(self.accelerator.gather(here).sum())
            self.share = len(batches) * self.args.world_size / counted
        return batches, items

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Do one forward and backward pass.

        Raises:
            BelleError: the loss is NaN or infinite.
        """
        loss = super().training_step(*args, **kwargs)
        value = loss.item()
        if self.args.world_size > 1:
            value = float(self.accelerator.gather(loss.detach().reshape(1)).mean())
        self.curve.add(value)
        for watch in self.watches:
            watch.batch(args[1] if len(args) > 1 else kwargs["inputs"])
        if not math.isfinite(value):
            raise BelleError(
                f"the loss is {value} at step {self.state.global_step + 1} of {self.state.max_steps}",
                where="training",
                cause=f"a learning rate of {self.args.learning_rate:g} that is too high, or a device without bf16",
                fix="lower learning_rate or raise warmup_ratio; the checkpoints before this step are kept",
            )
        return loss


def prepare(threads: int, seed: int) -> None:
    """Make the arithmetic repeatable: seeds, the number of threads, deterministic kernels where there are any."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory with NaN finds bugs in kernels, costs time, and changes no result of ours.
    torch.utils.deterministic.fill_uninitialized_memory = False
    set_seed(seed)


def arguments_of(settings: Settings, checkpoints: Path, stage: str) -> TrainingArguments:
    """What the Hugging Face Trainer is told; it also finds this process its place among the others.

    Raises:
        InputError: the global batch cannot be kept on so many processes.
    """
    if settings["cpu"] and settings["deepspeed"]:
        by_gloo_alone()
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings["per_device_train_batch_size"],
        gradient_accumulation_steps=accumulation(
            settings["per_device_train_batch_size"],
            settings["gradient_accumulation_steps"],
            settings["devices"],
            settings["processes"],
            stage,
        ),
        num_train_epochs=1,  # Ordered holds every epoch
        train_sampling_strategy="sequential",
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["lr_scheduler_type"],
        warmup_steps=settings["warmup_ratio"],
        weight_decay=settings["weight_decay"],
        adam_beta2=settings["adam_beta2"],
        bf16=settings["bf16"],
        fp16=settings["fp16"],
        activation_checkpointing=settings["gradient_checkpointing"],
        deepspeed=settings["deepspeed"] or None,
        use_cpu=settings["cpu"] or not torch.cuda.is_available(),
        seed=settings["seed"],
        save_strategy="steps",
        save_steps=settings["save_steps"],
        save_total_limit=2,  # the one being written and a whole one
        logging_steps=50,
        logging_nan_inf_filter=False,
        report_to="none",
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def train(
    model: PreTrainedModel,
    examples: Sequence[Item],
    settings: Settings,
    *,
    count: int,
    checkpoints: Path,
    identity: dict[str, Any],
    collate: Callable[[Sequence[Item]], Batch] = stack,  # type: ignore[assignment]
    loss: Loss | None = None,
    order: Sequence[int] | np.ndarray | None = None,
) -> FiniteTrainer:
    """Train ``model`` in place, from the latest checkpoint of this identity if there is one.

    ``collate`` stacks examples, ``loss`` replaces the model's own: so reward and preference training run here as well.
    ``order`` says which example comes when, where that is not a matter of shuffled epochs. The loss of every step is in
    the trainer's ``curve``.

    The caller removes ``checkpoints`` once what it makes of the model is safely written.

    Args:
        count: How many examples are seen in all, repeats counted.
        identity: What is trained on what, beside the settings; ``stage`` among it is named in messages.

    Raises:
        InputError: the global batch cannot be kept on so many processes.
        BelleError: the loss is NaN or infinite.
    """
    settings = cast(Settings, {**DEFAULTS, **settings})
    arguments = arguments_of(settings, checkpoints, str(identity.get("stage", "")))
    data = Ordered(
        examples,
        batch_size=settings["per_device_train_batch_size"],
        count=count,
        seed=settings["seed"],
        group_by_length=settings["group_by_length"],
        order=order,
    )
    trainer = FiniteTrainer(
        model=model,
        args=arguments,
        train_dataset=Evened(data, batch_size=settings["per_device_train_batch_size"], processes=settings["processes"]),
        data_collator=collate,
        callbacks=[MarkComplete()],
        loss=loss,
    )
    whole = {
        **identity,
        "training": {**settings, "examples": count},
        "deepspeed": sha256_of(Path(settings["deepspeed"])) if settings["deepspeed"] else "",
        "world": arguments.world_size,
    }
    with arguments.main_process_first(local=False, desc="checkpoints"):  # hosts share the folder
        resume = latest(checkpoints, whole)
    if resume:
        print(f"resuming from {resume}", file=sys.stderr)
        trainer.curve.load(resume)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer


def discard(trainer: FiniteTrainer) -> None:
    """Remove the checkpoints of a training whose result is safely written, and part from the other processes."""
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        shutil.rmtree(str(trainer.args.output_dir), ignore_errors=True)
    if trainer.args.world_size > 1:
        part(bool(trainer.args.deepspeed))
