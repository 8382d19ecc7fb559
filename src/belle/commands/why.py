"""Say why each stage on the way to a target would run, down to the first cause, with both values."""

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("target", nargs="*", help="as snakemake takes it (default: the default targets)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the stages that run under their causes, then what is up to date and since when."""
    from belle.views.graph import steps_to
    from belle.views.past import last_made, runs

    steps = steps_to(args.target)
    made = last_made(runs()[0])
    if args.json:
        print(json.dumps(_report(steps, made), ensure_ascii=False, indent=1))
        return
    from belle.views.text import show

    show(_lines(steps, made))


def _lines(steps: dict[str, Any], made: dict[str, Any]) -> list[str]:
    running = [step for step in steps.values() if step.runs]
    lines: list[str] = []
    shown: set[str] = set()
    for step in reversed(running):
        # from the target down; a stage that stands under another is shown there
        if not any(step.name in other.because for other in running):
            lines += [f"{step.name} is to run", *_causes(steps, step.name, "  ", shown)]
    if running:
        lines.append(f"{len(running)} of {len(steps)} stages would run.")
    current = [step for step in steps.values() if not step.runs]
    return lines + [f"up to date: {step.name}, {_since(made.get(step.name))}" for step in current]


def _causes(steps: dict[str, Any], name: str, indent: str, shown: set[str]) -> list[str]:
    shown.add(name)
    lines = [f"{indent}{cause}" for cause in steps[name].causes]
    for other, files in steps[name].because.items():
        again = other in shown
        lines.append(f"{indent}because {other} is to run, which writes {', '.join(files)}" + again * " (see above)")
        lines += [] if again else _causes(steps, other, indent + "  ", shown)
    return lines


def _since(made: Any) -> str:
    if made is None:
        return "as dvc.lock has it; it was not made in this folder"
    return f"{made.outcome} {made.started[:19].replace('T', ' ')} UTC ({made.reason})"


def _report(steps: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    return {
        "runs": {
            step.name: {"causes": step.causes, "because": step.because, "missing": step.missing}
            for step in steps.values()
            if step.runs
        },
        "up_to_date": {
            step.name: made[step.name].as_json() if step.name in made else None
            for step in steps.values()
            if not step.runs
        },
        "roots": {step.name: step.causes for step in steps.values() if step.causes},
    }
