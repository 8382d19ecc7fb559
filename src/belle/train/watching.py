"""Who looks on while a model is trained: curves, speed and memory, none of which any result depends on.

The command line says who does (``belle.cli``), so that no stage's fingerprint reaches it: a new figure in a log
retrains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Watch(Protocol):
    """Somebody who looks on at one training."""

    def callbacks(self, trainer: Any) -> list[Any]:
        """What looks on at a training by the Hugging Face Trainer."""

    def batch(self, inputs: Mapping[str, Any]) -> None:
        """Be told of a batch that was trained on, as the model takes it."""

    def begin(self, step: int, steps: int) -> None:
        """Be told that a loop of one's own starts after ``step`` of ``steps``."""

    def step(self, step: int, values: Mapping[str, float], tokens: int) -> None:
        """Be told what a step of such a loop came to, and on how many tokens."""

    def saved(self, step: int) -> None:
        """Be told that the state after ``step`` is safe, so that a killed run goes on from there."""

    def end(self) -> None:
        """Be told that such a loop is over."""


WATCHERS: list[Callable[[], Watch]] = []
"""What makes those who look on at the next training; empty where a stage's function is called by itself."""


def watches() -> list[Watch]:
    """Those who look on at the training that begins."""
    return [make() for make in WATCHERS]
