"""docs/trials/kills.md from the kills that were done."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] + ["--:"] * (len(head) - 1), *rows)]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"median {statistics.median(values):.1f} s, at most {max(values):.1f} s (n = {len(values)})"


def render(kills: Sequence[Any], faults: Callable[[Any], list[str]], asked: int) -> str:
    """The report as Markdown."""
    hundred = [kill for kill in kills if kill.number < asked]
    senders = [kill for kill in kills if kill.number >= asked]
    processes = [name for name in ("snakemake", "wrapper", "dvc", "stage", "group", "sender", "teacher")]
    kinds = sorted({kill.kind for kill in hundred})
    by_place = Counter((kill.kind, kill.process) for kill in hundred)
    by_signal = Counter((kill.process, kill.signal) for kill in hundred)
    same = sum(kill.same for kill in hundred)
    teacher = [kill for kill in hundred if kill.process == "teacher"]
    others = [kill for kill in hundred if kill.process != "teacher"]
    lines = [
        "# Killed builds",
        "",
        "Written by `python -m trials.kills`; what it does stands at the top of `trials/kills/__init__.py`.",
        "",
        f"**{len(hundred)} kills: {same} ended with the same bytes as the undisturbed build**, in every artifact and "
        "every entry of dvc.lock, "
        "by a plain `snakemake`, without an unlock.",
        "",
        *([f"{asked} were drawn; this run ended before the others.", ""] if len(hundred) < asked else []),
        "| | |",
        "|---|--:|",
        f"| kills | {len(hundred)} |",
        f"| same bytes | {same} |",
        f"| in a world with nothing built | {sum(kill.whole for kill in hundred)} |",
        f"| built again at once, while the killed build's processes were still ending "
        f"| {sum(kill.at_once for kill in hundred)} |",
        f"| requests in flight at the kill | {sum(kill.in_flight for kill in hundred)} |",
        f"| requests answered twice by the teacher | {sum(kill.answered_twice for kill in others)} |",
        f"| … where the teacher itself was killed (n = {len(teacher)}), in flight then: "
        f"{sum(kill.in_flight for kill in teacher)} | {sum(kill.answered_twice for kill in teacher)} |",
        f"| … of the same, said to be possibly paid | {sum(kill.reported for kill in teacher)} |",
        f"| processes left after a minute | {sum('still run' in kill.fault for kill in hundred)} |",
        "",
        f"Until the last process of the killed build had gone: "
        f"{_spread([kill.gone_after_s for kill in hundred if not kill.at_once])}. "
        f"To build again: {_spread([kill.recovered_in_s for kill in hundred])}.",
        "",
        "## What was hit",
        "",
        _table(
            ["stage", *processes, "all"],
            [
                [kind, *(by_place[kind, name] or "" for name in processes), sum(kill.kind == kind for kill in hundred)]
                for kind in kinds
            ],
        ),
        "",
        _table(
            ["signal", *processes, "all"],
            [
                [
                    name,
                    *(by_signal[process, name] or "" for process in processes),
                    sum(kill.signal == name for kill in hundred),
                ]
                for name in SIGNALS
            ],
        ),
        "",
        "*wrapper* is `belle.build.run`, *sender* the process that sends requests, *group* the process group of a "
        "terminal, which Ctrl-C hits. A killed teacher is started again after a second, and the build goes on by "
        "itself. The sender ends on SIGTERM and SIGINT when what is under way is recorded.",
        "",
    ]
    if senders:
        lines += [
            "## kill −9 of the sender",
            "",
            "The one process whose death loses replies: they arrive at a socket that nobody reads. They are reported "
            "as possibly paid, and sent again.",
            "",
            "| | |",
            "|---|--:|",
            f"| kills | {len(senders)} |",
            f"| same bytes | {sum(kill.same for kill in senders)} |",
            f"| requests in flight at the kill | {sum(kill.in_flight for kill in senders)} |",
            f"| whose reply the ledger lacked | {sum(kill.lost for kill in senders)} |",
            f"| reported as possibly paid | {sum(kill.reported for kill in senders)} |",
            f"| answered twice by the teacher | {sum(kill.answered_twice for kill in senders)} |",
            f"| answered twice and not reported | "
            f"{sum(max(0, kill.answered_twice - kill.reported) for kill in senders)} |",
            "",
        ]
    wrong = [(kill, faults(kill)) for kill in kills if faults(kill)]
    if wrong:
        lines += ["## Faults", ""]
        lines += [
            f"- {kill.number}: {kill.stage}, {kill.process}, {kill.signal}: {'; '.join(found)}" for kill, found in wrong
        ]
        lines.append("")
    return "\n".join(lines)
