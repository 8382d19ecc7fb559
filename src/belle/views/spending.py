"""Stop a build before its first job where not even the low end of its cost fits the budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from belle.build.preflight import Shortage
from belle.params import Params


def shortages(dag: Any, params: Params, ledger: Path) -> list[Shortage]:
    """What the budget lacks for the jobs that a DAG would run and that ask a paid API; the ledger is read only then."""
    if params.budget is None or not any(job.resources.get("api_key", 0) for job in dag.needrun_jobs()):
        return []
    from belle.views.graph import steps_of
    from belle.views.plan import plan_of

    found = plan_of([], steps_of(dag), params, ledger)
    if found.fits != "no" or found.usd is None or found.budget_usd is None:
        return []  # a model without a price is refused by the stage that would ask it
    paid = [line.step.name for line in found.lines if line.usd and line.usd.high]
    spent = found.spent_usd + found.reserved_usd
    return [
        Shortage(
            "budget", f"${found.usd.low:.2f} at least (${found.usd.mean:.2f} expected) for {', '.join(paid)}",
            f"budget.max_cost_usd is ${found.budget_usd:g}, of which ${spent:.2f} are spent or possibly paid",
            "raise budget.max_cost_usd in params.yaml, or ask for less; `belle plan` shows the estimate",
        )
    ]  # fmt: skip
