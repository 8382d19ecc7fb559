"""The matrix as Markdown."""

from __future__ import annotations

from collections import Counter

from trials.mutations.matrix import Verdict


def table(verdicts: list[Verdict], whole: int, seconds: float, seed: int) -> str:
    """The matrix as Markdown: counts by kind, then every mutation."""
    lines = [
        "# Mutation matrix", "",
        "Written by `python -m trials.mutations`; do not edit. Each change is made alone in a built miniature world;",
        "what ran is compared with what had to run, and the bytes with those of a build from nothing: how, and what",
        "counts as missed or needless, trials/mutations/__init__.py says.",
        "", f"{len(verdicts)} of {whole} mutations, seed {seed}, {seconds / 60:.0f} minutes: "
        f"**{sum(bool(v.missed) for v in verdicts)} missed, {sum(bool(v.needless) for v in verdicts)} needless, "
        f"{sum(bool(v.fault) for v in verdicts)} failed**.", "",
        "| kind | mutations | stages executed | restored | missed | needless |", "|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    groups = Counter(verdict.kind for verdict in verdicts)
    for kind, count in sorted(groups.items()):
        of = [verdict for verdict in verdicts if verdict.kind == kind]
        executed, restored = (sum(len(getattr(v, what)) for v in of) for what in ("executed", "restored"))
        missed, needless = (sum(bool(getattr(v, what)) for v in of) for what in ("missed", "needless"))
        lines.append(f"| {kind} | {count} | {executed} | {restored} | {missed} | {needless} |")
    stages = Counter(stage for verdict in verdicts for stage in verdict.executed)
    lines += [
        "",
        "| stage | times executed |",
        "|---|--:|",
        *(f"| {name} | {n} |" for name, n in sorted(stages.items())),
    ]
    lines += ["", "| mutation | executed | restored | verdict |", "|---|---|---|---|"]
    for verdict in sorted(verdicts, key=lambda v: (v.kind, v.name)):
        said = (
            "right"
            if verdict.right
            else f"missed {list(verdict.missed)}, needless {list(verdict.needless)} {verdict.fault[:80]}"
        )
        name = verdict.name.replace("|", "\\|")
        lines.append(f"| {verdict.kind}: {name} | {_short(verdict.executed)} | {_short(verdict.restored)} | {said} |")
    return "\n".join(lines) + "\n"


def _short(stages: tuple[str, ...]) -> str:
    return ", ".join(stages) if len(stages) <= 3 else f"{len(stages)} stages"
