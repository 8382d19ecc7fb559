"""docs/trials/storm.md from what came of a storm."""

from __future__ import annotations

from trials.storm.server import AT_ONCE, FAULTS, TRAITS
from trials.storm.trial import NAIVE_PAUSE_S, NAIVE_ROUNDS, RUNS, TIMEOUT_S, Outcome


def render(ours: Outcome, batch: Outcome, naive: Outcome, seed: int) -> str:
    """The report as Markdown."""
    columns = (ours, batch, naive)
    names = sorted({name for outcome in columns for name in outcome.ended} - {"row", "unended"})
    rows: list[tuple[str, list[object]]] = [
        ("calls needed", [outcome.calls for outcome in columns]),
        ("ended as a row", [outcome.ended["row"] for outcome in columns]),
        *((f"… as: {name}", [outcome.ended[name] for outcome in columns]) for name in names),
        ("without an end", [outcome.unended for outcome in columns]),
        ("runs that a named failure ended", [len(ours.failures), len(batch.failures), "-"]),
        ("calls sent", [outcome.sent for outcome in columns]),
        ("**calls sent over calls needed**", [f"{outcome.sent / outcome.calls:.3f}" for outcome in columns]),
        ("answered whole more than once", [outcome.paid_twice for outcome in columns]),
        ("made by the server, but never arrived whole", [outcome.lost for outcome in columns]),
        ("attempts the ledger reports as possibly paid", [ours.reported, batch.reported, "none kept"]),
        ("… lost ones that it does not report", [ours.unreported, batch.unreported, naive.lost]),
        ("most under way at once", [ours.most_under_way, "-", naive.most_under_way]),
        ("seconds", [f"{outcome.seconds:.0f}" for outcome in columns]),
    ]
    lines = [
        "# API storm", "",
        "Written by `python -m trials.storm`; what it does stands at the top of `trials/storm/__init__.py`.", "",
        f"Seed {seed}. "
        + ("**Every request ended, none was paid twice.**" if not (ours.faults() or batch.faults())
           else "**Faults: " + "; ".join(ours.faults() + batch.faults()) + ".**"),
        "",
        "| | Belle | Belle, batches | naive |", "|---|--:|--:|--:|",
        *("| " + " | ".join([name, *map(str, values)]) + " |" for name, values in rows), "",
        "A *row* is a reply in Chinese; *language* one without a Chinese character, which a filter drops and counts. "
        f"The naive client is openai's asynchronous one with its defaults, tried again after {NAIVE_PAUSE_S:g} s on "
        f"any error, {NAIVE_ROUNDS} times in all. Ours gives one attempt {TIMEOUT_S:g} s, and after a named failure "
        f"the same is asked again, up to {RUNS} times. An attempt without an answer (a time-out, a lost connection, a "
        "5xx) is reported as possibly paid, though the server may not have made a reply: so more are reported than "
        "were lost.",
        "",
        "## What the server did", "",
        f"More than {AT_ONCE} requests under way are refused. By the seed, of each hundred requests "
        + ", ".join(f"{100 * share:g} {name}" for name, share in TRAITS.items())
        + " at every attempt; and of each hundred attempts "
        + ", ".join(f"{100 * share:g} {name}" for name, share in FAULTS.items()) + ".",
        "",
        "| met | Belle | naive |", "|---|--:|--:|",
        *(f"| {name} | {ours.met.get(name, 0)} | {naive.met.get(name, 0)} |"
          for name in sorted({*ours.met, *naive.met})),
        "",
    ]  # fmt: skip
    if failures := ours.failures + batch.failures:
        lines += ["Named failures: " + "; ".join(f"`{text[:120]}`" for text in failures) + ".", ""]
    return "\n".join(lines)
