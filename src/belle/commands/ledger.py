"""Show what the ledger holds and what it cost; find its requests, export them, merge another person's ledger.

belle ledger                        spend by stage and model
belle ledger find TEXT|DIGEST       requests whose messages or reply contain a text, or by their digest
belle ledger export OUT.jsonl       one row for each request that has ended
belle ledger merge OTHER_FOLDER     the union of both ledgers; a line that both have stands there once
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_COLUMNS = ("stage", "model", "requests", "replies", "refusals", "tokens", "USD", "possibly paid", "open", "last")
_NUMBERS = range(2, 9)
_SHOWN = 70


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = parser.add_subparsers(dest="what", metavar="WHAT")
    finding = what.add_parser("find", help="requests by a text, or by the first six or more digits of a digest")
    finding.add_argument("wanted", metavar="TEXT|DIGEST")
    export = what.add_parser("export", help="one row for each request that has ended, in the ledger's order")
    export.add_argument("--stage", default="", help="of this stage only")
    export.add_argument("--model", default="", help="of this model only")
    export.add_argument("out", type=Path, metavar="OUT.jsonl")
    merging = what.add_parser("merge", help="bring every line of another ledger into this one")
    merging.add_argument("other", type=Path, metavar="OTHER_FOLDER")
    for part in (parser, finding, export, merging):
        default: dict[str, Any] = {} if part is parser else {"default": argparse.SUPPRESS}
        part.add_argument("--json", action="store_true", help="print JSON", **default)
        part.add_argument("--ledger", type=Path, help="folder (default: data/ledger)", **default)


def run(args: argparse.Namespace) -> None:
    """Do one of the four.

    Raises:
        InputError: there is no ledger, or the other one is torn or none.
    """
    from belle.errors import InputError
    from belle.stages import LEDGER

    folder = args.ledger or LEDGER
    if args.what == "merge":
        _merge(folder, args)
        return
    if not folder.is_dir():
        raise InputError(
            "there is no ledger", where=str(folder), cause="nothing was asked yet, or it was not pulled",
            fix="`dvc pull`, or build a target that asks an API",
        )  # fmt: skip
    {"find": _find, "export": _export, None: _spend}[args.what](folder, args)


def _spend(folder: Path, args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from belle.api.ledger import Ledger
    from belle.api.prices import TABLE_DATE
    from belle.api.spend import spend
    from belle.views.text import show

    with Ledger(folder) as ledger:
        found, torn = spend(ledger, _prices()), ledger.stats()["torn"]
    known = [item.usd for item in found if item.usd is not None]
    if args.json:
        totals = {"usd": sum(known), "usd_complete": len(known) == len(found)}
        report = {"spend": [asdict(item) for item in found], "totals": totals, "torn": torn, "prices": TABLE_DATE}
        print(json.dumps(report, ensure_ascii=False, indent=1))
        return
    rows = [
        (
            item.stage or "-", item.model or "-", f"{item.requests:,}",
            f"{item.replies:,}" + (f" +{item.extra}" if item.extra else ""), f"{sum(item.refusals.values()):,}",
            f"{item.prompt_tokens + item.completion_tokens:,}", "?" if item.usd is None else f"{item.usd:.4f}",
            f"{item.possibly_paid:,}", f"{item.open:,}", _moment(item.last),
        )
        for item in found
    ]  # fmt: skip
    lines = _table(rows)
    unknown = len(found) - len(known)
    lines.append(
        f"${sum(known):.4f} in all, by the prices of {TABLE_DATE} and budget.prices"
        + (f"; of {unknown} line(s) no price is known (add the model to budget.prices)" if unknown else "")
    )
    reasons: dict[str, int] = {}
    for item in found:
        for reason, count in item.refusals.items():
            reasons[reason] = reasons.get(reason, 0) + count
    if reasons:
        lines.append("refusals: " + ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())))
    if broken := sum(item.broken for item in found):
        lines.append(f"{broken} replies came malformed or cut, and were asked for again")
    if torn:
        lines.append(f"{torn} line(s) that a kill tore stand aside in *.torn")
    show(lines)


def _find(folder: Path, args: argparse.Namespace) -> None:
    from belle.api.ledger import Ledger
    from belle.api.spend import find
    from belle.errors import InputError
    from belle.views.text import show

    with Ledger(folder) as ledger:
        found = list(find(ledger, args.wanted))
    if not found:
        raise InputError(
            f"no request with {args.wanted!r} in its messages, its reply or its digest", where=str(folder),
            fix="`belle ledger export` writes all of them",
        )  # fmt: skip
    if args.json or len(found) == 1:
        show(json.dumps(row, ensure_ascii=False, indent=None if args.json else 1) for row in found)
        return
    show(
        f"{row['digest'][:12]}  {_moment(row['time'])}  {row['stage']:<10} {row['model']:<18} "
        f"{_one_line(row['messages'][-1]['content'])} → {_one_line(row['text'] or row['refusal'])}"
        for row in found
    )


def _export(folder: Path, args: argparse.Namespace) -> None:
    from belle import jsonl
    from belle.api.ledger import Ledger
    from belle.api.spend import rows

    with Ledger(folder) as ledger:
        count = jsonl.write(args.out, rows(ledger, stage=args.stage, model=args.model))
    _say(args, f"{args.out}: {count} rows", {"rows": count, "out": str(args.out)})


def _merge(folder: Path, args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from belle.api.merge import merge

    done = merge(folder, args.other)
    twice = f"; {done.paid_twice} requests had been paid for by both, and the earlier reply counts"
    _say(
        args,
        f"{folder}: {done.added} lines added, {done.known} were here already{twice if done.paid_twice else ''}",
        asdict(done),
    )


def _say(args: argparse.Namespace, text: str, values: dict[str, Any]) -> None:
    print(json.dumps(values) if args.json else text, file=sys.stdout if args.json else sys.stderr)


def _prices() -> Any:
    from belle import config
    from belle.api import prices

    path = Path("params.yaml")
    section = config.load(path).budget if path.exists() else None
    return prices.load({name: (own.prompt, own.completion) for name, own in section.prices.items()} if section else {})


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[number]) for row in (_COLUMNS, *rows)) for number in range(len(_COLUMNS))]
    return [
        "  ".join(
            f"{cell:>{width}}" if number in _NUMBERS else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (_COLUMNS, *rows)
    ]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else "-"


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
