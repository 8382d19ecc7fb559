"""Whether trainings fit the GPUs that they are meant for, and what to change where they do not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from belle.build.preflight import Shortage
from belle.needs import Needs
from belle.params import Params
from belle.train.estimate import GPUS, ROOM, Gpu, changes, misuses, peak_of
from belle.views import releases
from belle.views.compute import GPU
from belle.views.interval import Interval

TRAININGS = frozenset({"sft", "pretrain", "reward", "dpo"})
"""The stages whose memory is reckoned tensor by tensor."""


def entry_of(wildcards: Any) -> str:
    """The entry that a training's wildcards name."""
    return str(next(iter(dict(wildcards.items()).values())))


def gpus_here() -> list[Gpu]:
    """The GPUs of this machine, by nvidia-smi; their peak is not asked for."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        rows = [[word.strip() for word in line.rsplit(",", 2)] for line in listed.splitlines() if line.strip()]
        return [Gpu(name, float(size) * 2**20 / 1e9, 0.0, float(capability)) for name, size, capability in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def shortages(dag: Any, params: Params, ledger: Path) -> list[Shortage]:
    """What a DAG's jobs lack besides what the machine has, and what this machine's GPUs cannot do of them."""
    found = releases.lacking(dag, params, ledger)
    jobs = [job for job in dag.needrun_jobs() if job.rule.name in TRAININGS and job.resources.get("gpus", 0)]
    if not jobs or not dag.workflow.local_exec:
        return found
    here, needs = gpus_here(), Needs(params)
    for job in jobs:
        name = entry_of(job.wildcards)
        found += [*too_few(name, needs), *misfits(name, needs, here)]
    return found


def too_few(model: str, needs: Needs) -> list[Shortage]:
    """What the hosts of a hostfile lack in number for one training."""
    room, trained = sum(place.slots for place in needs.places), needs.training(model)
    if not needs.places or trained is None or trained[2] <= room:
        return []
    return [
        Shortage(f"GPUs for models/{model}", f"{trained[2]} on all hosts together",
                 f"{needs.params.launch.hostfile} has {room} slots on {len(needs.places)} host(s)",
                 f"add hosts, or write `gpus: {room}`: the global batch stays as it is where it divides")
    ]  # fmt: skip


def misfits(model: str, needs: Needs, here: list[Gpu]) -> list[Shortage]:
    """What GPUs that are here cannot do for one training; that there are none is said elsewhere."""
    trained = needs.training(model)
    if trained is None or not here:
        return []
    given, shape, gpus = trained
    how = needs.params.trained_by(model)
    section = f"`{how.stage}:`" if how else "its stage"
    least = min(here, key=lambda gpu: gpu.memory_gb)
    oldest = min(here, key=lambda gpu: gpu.capability)
    found = [
        Shortage(f"GPU for {setting} of models/{model}", why.partition("; ")[2] or why, why.partition("; ")[0],
                 f"write {fix} in its recipe under {section}")
        for setting, why, fix in misuses(given, oldest.name, oldest.capability)
    ]  # fmt: skip
    takes = peak_of(given, shape, gpus)
    if takes.peak > least.memory_gb * 1e9 * ROOM:
        ways = changes(given, shape, gpus, least.memory_gb)
        fix = "; or ".join(f"`{words}` ({then.peak / 1e9:.0f} GB)" for words, then in ways[:3])
        found.append(
            Shortage(
                f"GPU memory for models/{model}", f"{takes.peak / 1e9:.1f} GB on each of {gpus} ({takes.largest()})",
                f"{least.name} has {least.memory_gb:.1f} GB",
                f"write {fix} in its recipe under {section}" if fix else "more or larger GPUs: no setting makes it fit",
            )
        )  # fmt: skip
    return found


def sentence(model: str, needs: Needs, hours: Interval | None) -> str | None:
    """One line for a plan: what each GPU holds, which kinds it fits, how long it takes; None for a tiny model."""
    trained = needs.training(model)
    if trained is None:
        return None
    given, shape, gpus = trained
    takes = peak_of(given, shape, gpus)
    fits = [gpu.name for gpu in GPUS if takes.peak <= gpu.memory_gb * 1e9 * ROOM]
    usable = [gpu.name for gpu in GPUS if gpu.name in fits and not misuses(given, gpu.name, gpu.capability)]
    clock = f"; {hours.mean / gpus:.0f} h on {gpus} × {GPU}" if hours and hours.mean else ""
    text = f"models/{model}: {takes.peak / 1e9:.1f} GB on each of {gpus} GPU(s) ({takes.largest()}){clock}; "
    text += f"fits {', '.join(usable)}" if usable else "fits no kind of GPU known here"
    smaller = [gpu for gpu in GPUS if gpu.name not in fits and not misuses(given, gpu.name, gpu.capability)]
    for gpu in sorted(smaller, key=lambda item: -item.memory_gb)[:1]:
        ways = changes(given, shape, gpus, gpu.memory_gb)
        if ways:
            text += f"; {gpu.name} too with `{ways[0][0]}`"
    return text
