"""About the build, and about no result: how fast, where, and for how much money."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from belle.settings.section import PositiveFloat, PositiveInt, Section


class Pace(Section):
    """How a stage goes about its work. No result depends on it, so a change reruns nothing."""

    in_flight: Annotated[int, Field(ge=1, le=2048)]
    timeout_s: PositiveFloat
    mode: Literal["chat", "batch"]
    save_steps: PositiveInt


class Launch(Section):
    """Where a training on several GPUs runs; no result depends on it beyond float error.

    ``hostfile`` is DeepSpeed's (``node1 slots=8`` a line), or empty for this host; ``remote`` starts a command on a
    host; ``master_address`` is how the others reach the first host, or empty for its name.
    """

    hostfile: str
    remote: Annotated[str, Field(pattern=r"^[^\n]*\S[^\n]*\{host\}[^\n]*$")]
    master_address: Annotated[str, Field(pattern=r"^\S*$")]


class Price(Section):
    """USD per million tokens."""

    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]


class Budget(Section):
    """What all that the ledger holds may cost, and prices that the price table lacks or that differ from it."""

    max_cost_usd: Annotated[float, Field(ge=0)]
    prices: dict[str, Price]
