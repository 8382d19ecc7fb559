"""Show what ran in this folder and why: .belle/history.jsonl, last runs first."""

import argparse
import json
from collections import Counter

from belle.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("stage", nargs="?", default="", help="a stage, or the beginning of a stage's name")
    parser.add_argument("-n", type=int, default=20, help="how many runs; 0 for all (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the table and its totals.

    Raises:
        InputError: no run of such a stage, or a count below 0.
    """
    from belle.build.history import EXECUTED, FAILED, RESTORED
    from belle.views.past import duration, runs
    from belle.views.text import show

    if args.n < 0:
        raise InputError(f"-n {args.n} is below 0", where="command line", fix="give a count, or 0 for all")
    every, torn = runs()
    names = {item.stage for item in every}
    chosen = [item for item in every if not args.stage or item.stage == args.stage]
    if args.stage and not chosen:
        chosen = [item for item in every if item.stage.startswith(args.stage)]
    if args.stage and not chosen:
        raise InputError(
            f"no run of a stage {args.stage}",
            where="history",
            fix=f"name one of {', '.join(sorted(names)) or '(none)'}",
        )
    outcomes = Counter(item.outcome for item in chosen)
    totals = {outcome: outcomes[outcome] for outcome in (EXECUTED, RESTORED, FAILED)}
    seconds = sum(item.seconds for item in chosen)
    shown = list(reversed(chosen))[: args.n or None]
    if args.json:
        report = {
            "runs": [item.as_json() for item in shown],
            "totals": {**totals, "seconds": round(seconds, 3)},
            "unreadable_lines": torn,
        }
        print(json.dumps(report, ensure_ascii=False, indent=1))
        return
    width = max((len(item.stage) for item in shown), default=0)
    lines = [
        f"{item.started[:19].replace('T', ' ')}  {duration(item.seconds):>7}  {item.outcome:<8}  "
        f"{item.stage:<{width}}  {item.reason}"
        for item in shown
    ]
    more = f" (the last {len(shown)} of them above)" if len(shown) < len(chosen) else ""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in totals.items())
    lines.append(f"{len(chosen)} runs{more}: {counts}; {duration(seconds)} in all, times in UTC")
    if torn:
        lines.append(f"{torn} line(s) that could not be read were passed over: a kill tore them")
    show(lines)
