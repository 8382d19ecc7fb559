"""Plant, look, heal, compare; one fault at a time."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fsspec.spec import AbstractFileSystem

from belle.build import check
from trials.corruption.damage import RUN, kinds, plant, suitable
from trials.corruption.places import Folder, Place, s3, ssh
from trials.worlds import built_miniature, copy_world


def shown(name: str) -> str:
    """The name by which `belle cache` calls a file."""
    parts = name.split("/")
    return "".join(parts[2:]) if parts[0] == "files" else "/".join(parts[2:])


def looked_at(place: Place) -> check.Found:
    """What `belle cache` sees there now, with nothing remembered of an earlier look."""
    pending = [AbstractFileSystem]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        kind.clear_instance_cache()
    return check.check(place.remote, lambda items, _: items)


def one(place: Place, kind: str, chance: random.Random) -> dict[str, object]:
    """Plant one fault; say whether it was found under its name, and whether healing left the place whole."""
    name = chance.choice(suitable(place, kind))
    before = place.read(name)
    plant(place, kind, name, chance)
    faults = looked_at(place).faults
    named = any(fault.name == shown(name) for fault in faults)
    found = looked_at(place)
    for fault in found.faults:
        found.heal(fault)
    left = looked_at(place).faults
    try:
        same = place.read(name) == before
    except Exception:
        same = False
    # a run-cache entry is no artifact: where the next build or push writes it anew, the place is whole without it
    healed = not left and (same or kind in RUN)
    if not same:
        _put_back(place, name, before)
    return {"place": place.name, "kind": kind, "found": named, "healed": healed}


def _put_back(place: Place, name: str, content: bytes) -> None:
    if isinstance(place, Folder):
        path = place.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    place.write(name, content)


def trial(faults: int, seed: int, seconds: float, say: Callable[[str], None] = print) -> list[dict[str, object]]:
    """Plant ``faults`` faults, spread over all places and kinds; ends early, between two, after ``seconds``."""
    chance, begin = random.Random(seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="belle-corruption-"))
    results: list[dict[str, object]] = []
    try:
        with ExitStack() as stack:
            world = copy_world(built_miniature(), folder / "world")
            places: list[Place] = [
                Folder("cache", "", world.folder / ".dvc/cache"),
                Folder("local remote", "public", folder / "remote"),
                stack.enter_context(ssh(world, folder)),
                stack.enter_context(s3(world)),
            ]
            for name in ("public", "ssh", "s3"):
                world.run("dvc", "push", "-q", "--run-cache", "-r", name)
            stack.callback(os.chdir, os.getcwd())
            os.chdir(world.folder)
            pairs = [(place, kind) for place in places for kind in kinds(place)]
            todo = [pairs[number % len(pairs)] for number in range(faults)]
            for number, (place, kind) in enumerate(todo, 1):
                if time.monotonic() - begin > seconds:
                    say(f"stopped after {number - 1} of {faults}: the time is up")
                    break
                results.append(one(place, kind, chance))
                say(f"{number}/{faults} {results[-1]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results
