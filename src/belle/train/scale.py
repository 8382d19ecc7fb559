"""The same training on any number of devices: the published global batch, the same rows in each step, whole weights."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from peft import PeftModel
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from belle.errors import InputError
from belle.prompts import IGNORE

Item = TypeVar("Item")


def accumulation(per_device: int, published: int, devices: int, processes: int, stage: str = "sft") -> int:
    """Batches that each process adds up before a step, so that ``processes`` have the batch of ``devices``.

    Args:
        per_device: Rows of a device's batch.
        published: Batches that each of ``devices`` adds up.
        stage: Whose settings they are.

    Raises:
        InputError: that is no whole number; the message has both global batches.
    """
    whole, together = per_device * published * devices, per_device * processes
    if whole % together:
        fits = [count for count in range(1, published * devices + 1) if published * devices % count == 0]
        near = sorted(fits, key=lambda count: (abs(count - processes), count))[:2]
        nearest = max(1, round(whole / together))
        raise InputError(
            f"a global batch of {whole} rows ({per_device} × {devices} devices × {published} batches) cannot be kept "
            f"on {processes} devices: {per_device} × {processes} × {nearest} = {together * nearest}",
            where=f"{stage}.gradient_accumulation_steps",
            cause="another number of devices than the recipe's",
            fix=f"set `gpus:` to {' or '.join(map(str, sorted(near)))}, or change per_device_train_batch_size",
        )
    return whole // together


class Evened(torch.utils.data.Dataset[Item], Generic[Item]):
    """A list of examples, made up to whole batches for every process with examples that no loss counts.

    Without them accelerate would begin the list again for the processes that have no batch left, and the last step
    would be another one than that of one process. Where an example cannot be emptied of its labels, the rest of the
    list that is not a batch for every process is left out.
    """

    def __init__(self, examples: Sequence[Item], *, batch_size: int, processes: int) -> None:
        self.examples, self.count = examples, len(examples)
        over = -self.count % (batch_size * processes)
        self.filler = emptied(examples[self.count - 1]) if over and processes > 1 else None
        if self.filler is not None:
            self.length = self.count + over
        else:
            whole = self.count - self.count % (batch_size * processes)
            self.length = whole if processes > 1 and whole else self.count

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Item:
        return self.examples[index] if index < self.count else self.filler  # type: ignore[return-value]


def emptied(item: Any) -> Any:
    """An example that no loss counts, or None where there is none; of rows packed together, the first alone."""
    if not is_dataclass(item) or isinstance(item, type):
        return None
    names = {field.name for field in fields(item)}
    known: Any = item
    if "labels" in names:
        return replace(known, labels=np.full_like(known.labels, IGNORE))
    if "counted" in names:
        return replace(known, counted=False)
    if "rows" in names and known.rows:
        return replace(known, rows=(emptied(known.rows[0]),))
    return None


def require_gpu(local_rank: int, stage: str) -> None:
    """Hold this host to the GPU that a process of it is to use for a stage.

    Raises:
        InputError: PyTorch sees fewer.
    """
    here = torch.cuda.device_count()
    if local_rank >= here:
        raise InputError(
            f"GPU {local_rank + 1} is asked for on {socket.gethostname()}, where PyTorch sees {here}",
            where=f"{stage}.gpus",
            cause="`gpus:` or the hostfile's `slots=` counts more than there are, CUDA_VISIBLE_DEVICES hides some, or "
            "PyTorch was built for CPUs",
            fix="write as many as there are: the global batch stays as it is where it divides",
        )


def by_gloo_alone() -> None:
    """Keep DeepSpeed on a CPU from its own all-reduce over shared memory.

    It is compiled for minutes at the first run, two hosts cannot use it, and a process that waits in it for one that
    was killed never notices.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def one_again() -> None:
    """Let models be loaded whole again in this process, once the weights are gathered.

    transformers otherwise takes it that every model is split over all processes, and waits for the others.
    """
    unset_hf_deepspeed_config()


def part(by_deepspeed: bool) -> None:
    """End this process's connections to the others; every process must call it, and none may train after it.

    gloo's threads otherwise outlive Python by a moment, and one that lets go of a tensor in that moment aborts the
    process, whose result is whole by then.

    Args:
        by_deepspeed: DeepSpeed was used, which keeps groups of its own.
    """
    if by_deepspeed:
        import deepspeed

        deepspeed.comm.destroy_process_group()
    elif torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def whole_weights(trainer: Trainer, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The trained weights by name, gathered from every process; what is tied to another weight is left out.

    Under adapters both names stay: peft asks for each.

    Every process must call it; only the first has all of them. DeepSpeed copies each name apart, so two names of one
    weight would be written as two.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    apart = not isinstance(model, PeftModel)
    once = {name for name, _ in model.named_parameters(remove_duplicate=apart)}
    once |= {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in state.items() if name in once}
