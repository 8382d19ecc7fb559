"""Say what each training here took: device, steps, tokens a second, MFU, memory, time; of one, with its card."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("model", nargs="?", default="", help="one training, with its model's card where that is built")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print a table, or one training's card and what it took.

    Raises:
        InputError: no training of that name is known here.
    """
    from belle.errors import InputError
    from belle.views.runs import RUNS, row, table, trainings
    from belle.views.text import show

    found = trainings(Path())
    if not args.model:
        if args.json:
            print(json.dumps({item["name"]: item for item in found}, ensure_ascii=False, indent=1))
        else:
            show(table(found))
        return
    chosen = [item for item in found if item["name"] == args.model]
    card = Path("results/cards") / f"{args.model}.md"
    if not chosen and not card.is_file():
        raise InputError(
            f"no training {args.model} is known here, and no card of that name",
            where=str(RUNS),
            cause="its model was brought here and not trained, or another checkout trained it",
            fix=f"name one of {', '.join(item['name'] for item in found) or '(none)'}, or `snakemake {card}`",
        )
    if args.json:
        print(json.dumps(chosen[0] if chosen else {}, ensure_ascii=False, indent=1))
        return
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else [f"(no card: `snakemake {card}`)", ""]
    lines += ["## Hardware and time, here", ""]
    show(lines + (row(chosen[0]) if chosen else ["not trained here"]))
