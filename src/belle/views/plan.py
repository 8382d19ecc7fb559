"""What a build of some targets would take: stages and causes, calls, tokens, dollars, GPU-hours, disk, memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle.api.budget import KEY, Account, Budget
from belle.api.prices import Prices
from belle.api.prices import load as load_prices
from belle.build.state import State
from belle.errors import InputError
from belle.needs import Needs
from belle.params import Params
from belle.views import compute, fitting, past
from belle.views.asking import Asked, Asking
from belle.views.graph import Step, steps_to
from belle.views.interval import NOTHING, Interval, total
from belle.views.tokens import Known


@dataclass
class Line:
    """One stage of a plan; ``asked`` is None where it asks nothing, ``usd`` and ``gpu_hours`` where they are not known.

    ``last_seconds`` is how long its last run in this folder took.
    """

    step: Step
    asked: Asked | None
    usd: Interval | None
    gpu_hours: Interval | None
    disk_gb: float
    last_seconds: float | None

    @property
    def cause(self) -> str:
        """The first cause of its own, or the stages whose output it takes; ``belle why`` has them all."""
        causes = self.step.causes or [f"after {name}" for name in self.step.because]
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        return causes[0] + more if causes else "output is missing"

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        asked = self.asked
        return {
            "stage": self.step.name,
            "causes": self.step.causes,
            "because": sorted(self.step.because),
            "asks": asked
            and {
                "endpoint": asked.endpoint,
                "model": asked.model,
                "calls": asked.calls.as_json(),
                "prompt_tokens": asked.prompt_tokens.as_json(),
                "completion_tokens": asked.completion_tokens.as_json(),
                "usd": self.usd and self.usd.as_json(4),
                "basis": asked.basis,
            },
            "gpus": self.step.resources.get("gpus", 0),
            "gpu_hours": self.gpu_hours and self.gpu_hours.as_json(2),
            "gpu_memory_gb": self.step.resources.get("gpu_memory_gb", 0),
            "memory_gb": round(self.step.resources.get("mem_mb", 0) / 1000, 1),
            "disk_gb": round(self.disk_gb, 3),
            "last_seconds": self.last_seconds,
        }


@dataclass
class Plan:
    """A whole plan. ``spent_usd`` and ``reserved_usd`` are of the ledger by the prices of now."""

    targets: list[str]
    stages: int
    lines: list[Line]
    budget_usd: float | None
    spent_usd: float
    reserved_usd: float
    notes: list[str]

    def sum_of(self, kind: str) -> Interval:
        """The total of ``calls``, ``prompt_tokens`` or ``completion_tokens``."""
        return total([getattr(line.asked, kind) for line in self.lines if line.asked])

    @property
    def usd(self) -> Interval | None:
        """Dollars in all; None where a price is not known."""
        parts = [line.usd for line in self.lines if line.asked]
        return None if None in parts else total([part for part in parts if part is not None])

    @property
    def gpu_hours(self) -> Interval | None:
        """GPU-hours in all; None where a stage's cannot be told."""
        parts = [line.gpu_hours for line in self.lines]
        return None if None in parts else total([part for part in parts if part is not None])

    def most(self, resource: str) -> float:
        """The largest that a stage asks of a resource."""
        return max((float(line.step.resources.get(resource) or 0) for line in self.lines), default=0.0)

    @property
    def fits(self) -> str:
        """Whether the budget allows it: ``yes``, ``no``, ``perhaps``, or ``no limit``."""
        if self.budget_usd is None:
            return "no limit"
        if self.usd is None:
            return "no"
        room = self.budget_usd - self.spent_usd - self.reserved_usd
        if self.usd.high <= room or not self.usd.high:
            return "yes"
        return "no" if self.usd.low > room else "perhaps"

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "targets": self.targets,
            "stages": [line.as_json() for line in self.lines],
            "up_to_date": self.stages - len(self.lines),
            "totals": {
                "calls": self.sum_of("calls").as_json(),
                "prompt_tokens": self.sum_of("prompt_tokens").as_json(),
                "completion_tokens": self.sum_of("completion_tokens").as_json(),
                "tokens": (self.sum_of("prompt_tokens") + self.sum_of("completion_tokens")).as_json(),
                "usd": self.usd and self.usd.as_json(4),
                "gpu_hours": self.gpu_hours and self.gpu_hours.as_json(2),
                "gpus": int(self.most("gpus")),
                "gpu_memory_gb": self.most("gpu_memory_gb"),
                "memory_gb": round(self.most("mem_mb") / 1000, 1),
                "disk_gb": round(sum(line.disk_gb for line in self.lines), 3),
            },
            "budget": {
                "max_cost_usd": self.budget_usd,
                "spent_usd": round(self.spent_usd, 6),
                "reserved_usd": round(self.reserved_usd, 6),
                "fits": self.fits,
            },
            "notes": self.notes,
        }


def plan(targets: list[str], params: Params, ledger: Path) -> Plan:
    """Plan a build of ``targets``; nothing is started, sent or written."""
    return plan_of(targets, steps_to(targets), params, ledger)


def plan_of(targets: list[str], steps: dict[str, Step], params: Params, ledger: Path) -> Plan:
    """As ``plan``, of stages that are known."""
    own = params.budget.prices if params.budget else {}
    prices = load_prices({model: (price.prompt, price.completion) for model, price in own.items()})
    running = [step for step in steps.values() if step.runs]
    state, made, gpu = State(), past.last_made(past.runs()[0]), compute.Compute(params)
    notes: list[str] = []
    asking = Asking(params, Known(ledger), steps) if any(step.command in _ASKING for step in running) else None
    lines = []
    for step in running:
        asked = asking.of(step) if asking else None
        run = made.get(step.name)
        hours = gpu.gpu_hours(step)
        if hours is None:
            notes.append(f"{step.name}: how many rows its data set has is not known here, so neither are its GPU-hours")
        lines.append(
            Line(
                step, asked, _usd(asked, prices, notes) if asked else None, hours,
                compute.disk_gb(step, state.locked.get(step.name, {})), run.seconds if run else None,
            )
        )  # fmt: skip
    spent = reserved = 0.0
    limit = params.budget.max_cost_usd if params.budget else None
    if limit is not None:
        account = Account(ledger, Budget(limit, prices))
        try:
            account.refresh()
            spent, reserved = account.spent, account.reserved
        except InputError as error:
            notes.append(error.what)
        account.close()
    needs = Needs(params)
    for line in lines:
        if line.step.command in fitting.TRAININGS and (
            said := fitting.sentence(fitting.entry_of(line.step.wildcards), needs, line.gpu_hours)
        ):
            notes.append(said)
    if any(line.gpu_hours and line.gpu_hours.high for line in lines):
        notes.append(
            f"GPU-hours are of one {compute.GPU} ({compute.PEAK_FLOPS / 1e12:.0f} TFLOP/s bf16) at "
            f"{compute.UTILISATION.mean:.0%} ({compute.UTILISATION.high:.0%} to {compute.UTILISATION.low:.0%}) of its "
            f"peak, with {compute.TOKENS_A_ROW.mean:g} ({compute.TOKENS_A_ROW.low:g} to {compute.TOKENS_A_ROW.high:g}) "
            "tokens a row"
        )
    return Plan(targets, len(steps), lines, limit, spent, reserved, [*dict.fromkeys(notes), *_scored(params, targets)])


_ASKING = ("generate", "ask", "label", "judge", "prefer")


def _usd(asked: Asked, prices: Prices, notes: list[str]) -> Interval | None:
    price = prices.of(asked.endpoint, asked.model)
    if price is None:
        if not asked.calls.high:
            return NOTHING
        notes.append(f"the price of {asked.model} at {asked.endpoint} is not known: add it to budget.prices")
        return None
    return asked.prompt_tokens * (price.prompt / 1e6) + asked.completion_tokens * (price.completion / 1e6)


def _scored(params: Params, targets: list[str]) -> list[str]:
    """Where the scores of a planned model would be, which ask more."""
    names = {target.rstrip("/").removeprefix("models/") for target in targets}
    tables = [name for name, table in params.tables.items() if names.intersection(table.models)]
    return [f"scoring it too: belle plan results/tables/{name}.md" for name in tables]


def over_budget(found: Plan) -> str:
    """What to say of a plan that cannot fit."""
    return (
        f"{KEY} is ${found.budget_usd:g}, of which ${found.spent_usd + found.reserved_usd:.2f} are spent or possibly "
        "paid: the build would stop before the request that could break it"
    )
