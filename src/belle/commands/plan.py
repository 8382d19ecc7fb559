"""Say what building a target would take: stages and causes, API calls, tokens, dollars, GPU-hours, disk, memory."""

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("target", nargs="*", help="as snakemake takes it (default: the default targets)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--ledger", type=Path, default=None, help="folder (default: data/ledger)")


def run(args: argparse.Namespace) -> None:
    """Print the plan: expected values, with bounds in brackets."""
    from belle import config
    from belle.stages import LEDGER
    from belle.views.plan import plan
    from belle.views.text import show

    found = plan(args.target, config.load(), args.ledger or LEDGER)
    if args.json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
    else:
        show(_text(found))


def _text(found: Any) -> list[str]:
    from belle.views.past import duration
    from belle.views.plan import over_budget

    if not found.lines:
        return ["Nothing is to run; no calls, $0."]
    rows = [("stage", "calls", "tokens", "USD", "GPU-h", "disk", "last took", "cause")]
    for line in found.lines:
        asked = line.asked
        rows.append(
            (
                line.step.name,
                _count(asked.calls.mean) if asked else "",
                _count(asked.prompt_tokens.mean + asked.completion_tokens.mean) if asked else "",
                ("?" if line.usd is None else f"{line.usd.mean:.2f}") if asked else "",
                "?" if line.gpu_hours is None else f"{line.gpu_hours.mean:.1f}" if line.gpu_hours.mean else "",
                _bytes(line.disk_gb) if line.disk_gb else "",
                duration(line.last_seconds) if line.last_seconds is not None else "",
                line.cause,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:7], widths[1:], strict=True)),
        ]
        lines.append("  ".join([*cells, row[7]]).rstrip())
    bases: dict[str, list[str]] = {}
    for line in found.lines:
        if line.asked:
            bases.setdefault("; ".join(line.asked.basis), []).append(line.step.name)
    tokens = found.sum_of("prompt_tokens"), found.sum_of("completion_tokens")
    usd, hours = found.usd, found.gpu_hours
    gpus, memory = int(found.most("gpus")), found.most("gpu_memory_gb")
    lines += [
        "",
        f"stages     {len(found.lines)} of {found.stages} are to run",
        f"API calls  {_span(found.sum_of('calls'))} that are not in the ledger",
        f"tokens     {_span(tokens[0] + tokens[1])}: prompts {_span(tokens[0])}, replies {_span(tokens[1])}",
        f"dollars    {'not known' if usd is None else _money(usd)}",
        f"GPU-hours  {'not known' if hours is None else _span(hours)}"
        + (f", on {gpus} GPU(s) with {memory:.0f} GB each" if gpus else ": no GPU is needed"),
        f"disk       {_bytes(sum(line.disk_gb for line in found.lines))}",
        f"memory     {found.most('mem_mb') / 1000:.0f} GB in the largest stage",
    ]
    if found.budget_usd is not None:
        lines.append(
            f"budget     ${found.budget_usd:g}, ${found.spent_usd + found.reserved_usd:.2f} spent or possibly paid; "
            f"does it fit: {found.fits}"
        )
        if found.fits == "no":
            lines.append(f"           {over_budget(found)}")
    if any(line.step.because for line in found.lines):
        lines.append("note       what runs only after another is left out where that one's output comes out as before")
    lines += [f"note       {basis}: {', '.join(names)}" for basis, names in bases.items()]
    return lines + [f"note       {text}" for text in found.notes]


def _count(value: float) -> str:
    for size, name in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (1e3 if size == 1e4 else size):.3g}{name}"
    return f"{value:.0f}" if value == round(value) or value >= 100 else f"{value:.1f}"


def _span(value: Any) -> str:
    return _count(value.mean) + ("" if value.exact else f" ({_count(value.low)} to {_count(value.high)})")


def _money(value: Any) -> str:
    return f"${value.mean:.2f}" + ("" if value.exact else f" (${value.low:.2f} to ${value.high:.2f})")


def _bytes(gigabytes: float) -> str:
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{gigabytes * 1000:.1f} MB"
