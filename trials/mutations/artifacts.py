"""Changes of what stages wrote."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trials.mutations.mutation import NONE, Mutation, one
from trials.mutations.truth import Truth
from trials.worlds import World


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
