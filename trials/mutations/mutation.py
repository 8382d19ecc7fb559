"""A change, and which stages truly depend on it.

The roots are stated by hand for settings, rules and files, and by tracing for code: what must run besides them follows
from the bytes of a build from nothing (``trials.mutations.truth.affected``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trials.worlds import World

MODELS = ("tiny-base", "belle-tiny", "belle-tiny-gptq")
NONE: frozenset[str] = frozenset()


def each(stage: str) -> frozenset[str]:
    """The stages of one rule, a stage for each model."""
    return frozenset(f"{stage}-tiny-{model}" for model in MODELS)


def one(*stages: str) -> frozenset[str]:
    """These stages."""
    return frozenset(stages)


@dataclass(frozen=True)
class Mutation:
    """One change, and what it makes necessary by itself.

    Attributes:
        kind: The group that it is counted under.
        name: What is changed, to what.
        apply: Makes the change in a built world.
        roots: Stages that depend on what is changed; what follows from their outputs is not listed.
        restored: Stages whose outputs must be brought back without running them.
        environment: Variables that the build is started with.
    """

    kind: str
    name: str
    apply: Callable[[World], None]
    roots: frozenset[str] = NONE
    restored: frozenset[str] = NONE
    environment: dict[str, str] = field(default_factory=dict)
