"""One kill: what is to be hit, when, and what came of it; and the drawing of a run's kills."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

ASKING = ("generate", "judge")
PROCESSES = ("snakemake", "wrapper", "dvc", "stage", "group")
PROCESSES_OF_ASKING = (*PROCESSES, "sender", "teacher")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")


@dataclass
class Kill:
    """One kill and what came of it."""

    number: int
    stage: str
    """The stage's name in dvc.yaml, and whether everything before it was unbuilt too."""
    whole: bool
    process: str
    signal: str
    at_once: bool
    """Whether the second build was started without waiting for what the first had left."""
    hit_after_s: float = -1.0
    """Seconds from the process's appearance to the signal; negative where it was never hit."""
    first_status: int | None = None
    gone_after_s: float = 0.0
    """Seconds from the signal until no process of the first build was left."""
    recovered_in_s: float = 0.0
    same: bool = False
    different: list[str] = field(default_factory=list)
    in_flight: int = 0
    lost: int = 0
    """Requests that had reached the gate and whose reply the ledger lacks when the first build has gone."""
    reported: int = 0
    """Requests that were said to be possibly paid."""
    answered_twice: int = 0
    fault: str = ""

    @property
    def kind(self) -> str:
        """The rule of the stage."""
        return self.stage.partition("-")[0]


def deck(dice: random.Random, cards: tuple[str, ...] | list[str]) -> Any:
    """Cards without end: each as often as any other, in random order."""
    while True:
        cards = list(cards)
        dice.shuffle(cards)
        yield from cards


def drawn(seed: int, kills: int, whole: int, sender_kills: int, stages: list[str]) -> list[Kill]:
    """The kills of a run: stages, processes and signals as even as their numbers allow, moments at random.

    ``whole`` of every hundred happen in a world where nothing is built. After them come kill -9 of the sender.
    """
    dice = random.Random(seed)
    kinds = sorted({name.partition("-")[0] for name in stages})
    of_kind = {kind: deck(dice, [name for name in stages if name.partition("-")[0] == kind]) for kind in kinds}
    kind_deck, asking_deck = deck(dice, kinds), deck(dice, ASKING)
    victims = {kind: deck(dice, PROCESSES_OF_ASKING if kind in ASKING else PROCESSES) for kind in kinds}
    numbers = {process: deck(dice, SIGNALS) for process in PROCESSES_OF_ASKING}
    numbers["sender"] = deck(dice, ("SIGTERM", "SIGINT"))
    entire = set(dice.sample(range(kills), round(kills * whole / 100)))
    found = []
    for number in range(kills):
        kind = next(kind_deck)
        process = next(victims[kind])
        found.append(
            Kill(number, next(of_kind[kind]), number in entire, process, next(numbers[process]), dice.random() < 0.5)
        )
    for number in range(kills, kills + sender_kills):
        found.append(Kill(number, next(of_kind[next(asking_deck)]), False, "sender", "SIGKILL", False))
    return found


def faults(kill: Kill) -> list[str]:
    """What a kill shows to be wrong."""
    found = [kill.fault] if kill.fault else []
    if not kill.same and not kill.fault:
        found.append("not the same: " + ", ".join(kill.different[:8]))
    lost_by_right = kill.process in ("sender", "teacher")
    if kill.answered_twice > (kill.reported if lost_by_right else 0):
        found.append(f"{kill.answered_twice} answered twice, {kill.reported} reported as possibly paid")
    if kill.reported < kill.lost:
        found.append(f"{kill.lost} lost, {kill.reported} reported as possibly paid")
    return found
