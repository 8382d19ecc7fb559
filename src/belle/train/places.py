"""Where the processes of a training run: hosts with their slots, as a hostfile has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from belle.errors import InputError
from belle.files import read_text

HERE = "localhost"
"""The host that needs no remote command."""


@dataclass(frozen=True)
class Place:
    """A host and how many processes it can take: a GPU each, or on CPUs as many as are said."""

    name: str
    slots: int


def places_of(path: Path) -> list[Place]:
    """Read a hostfile as DeepSpeed's: ``name slots=8`` a line, ``#`` before a comment.

    Raises:
        InputError: a line is no such line, a host comes twice, or there is none.
    """
    found: list[Place] = []
    for number, line in enumerate(read_text(path, "hostfile").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        parts = re.fullmatch(r"([A-Za-z0-9][\w.:-]*)\s+slots=([1-9]\d{0,3})", text)
        if not parts or parts[1] in {place.name for place in found}:
            raise InputError(
                f"{text!r} is not the line of another host" if parts else f"{text!r} is no line `NAME slots=NUMBER`",
                where=f"{path}:{number}",
                cause="a host that stands there twice" if parts else "a hostfile of another launcher, such as MPI's",
                fix="give each host one line, as `node1 slots=8`",
            )
        found.append(Place(parts[1], int(parts[2])))
    if not found:
        raise InputError("names no host", where=str(path), fix="add lines such as `node1 slots=8`")
    return found


def shares(places: list[Place], processes: int) -> list[Place]:
    """How many processes each host takes, filled in order; hosts that are not needed are left out.

    Raises:
        InputError: there are fewer slots than processes.
    """
    room = sum(place.slots for place in places)
    if processes > room:
        raise InputError(
            f"{processes} processes for {room} slots on {len(places)} host(s)",
            where="launch.hostfile",
            cause="`gpus:` of the model counts the GPUs of all hosts together",
            fix=f"add hosts, or lower `gpus:` to {room}: the global batch stays as it is where it divides",
        )
    found = []
    for place in places:
        if taken := min(place.slots, processes):
            found.append(Place(place.name, taken))
            processes -= taken
    return found
