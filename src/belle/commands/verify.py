"""Trace what each stage opens, reads and connects to; fail on anything that it does not declare."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from belle.errors import BelleError

if TYPE_CHECKING:
    from belle.build.hermetic import Means, Verdict
    from belle.build.state import Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="a stage of dvc.yaml (default: all of them)")
    parser.add_argument("--keep", action="store_true", help="keep the copy that the stages ran in, and the traces")
    parser.add_argument("--json", action="store_true", help="print findings and counts as JSON")


def means(stage: Stage) -> Means:
    """What a stage may use beside its inputs: the ledger and the API that its section names, or the hub.

    What is asked of the offline teacher is asked anew, so that its connections are seen. Of a paid API it is not: the
    stage is given the ledger and no key.
    """
    from urllib.parse import urlparse

    from belle.build.environment import FETCHING
    from belle.build.hermetic import Means
    from belle.stages import ASKING, LEDGER

    words = stage.cmd.split()
    if words[1] in FETCHING:
        return Means(hosts=frozenset({"*"}), reads_home=True)
    if words[1] not in ASKING:
        return Means()
    url = words[words.index("--base_url") + 1] if "--base_url" in words else ""
    host = urlparse(url).hostname
    if not host:
        return Means(added=(str(LEDGER),))
    return Means(added=(str(LEDGER),), carried=(str(LEDGER),), hosts=frozenset({host}))


def run(args: argparse.Namespace) -> None:
    """Run the stages in a copy of this checkout, traced, and print what each did; nothing here changes.

    Raises:
        BelleError: something undeclared was found, or this system cannot trace.
    """
    import json
    import sys

    from belle.build.hermetic import Verifier, chosen, workplace
    from belle.build.state import State

    verdicts = []
    with workplace(args.keep) as folder:
        verifier = Verifier(chosen(args.stages, State()), means, folder)
        for stage in verifier.stages:
            verdict = verifier.verify(stage)
            verdicts.append(verdict)
            if not args.json:
                print(_row(verdict) if verdict is not verdicts[0] else f"{_HEAD}\n{_row(verdict)}", flush=True)
        if args.json:
            print(json.dumps(_plain(verdicts, verifier.blind), indent=1, ensure_ascii=False))
        elif verifier.blind:
            print(f"variables that C code reads were not seen: {verifier.blind}", file=sys.stderr)
        if args.keep:
            print(f"kept: {folder}", file=sys.stderr)
    findings = [finding for verdict in verdicts for finding in verdict.findings]
    if findings:
        raise BelleError("\n".join([f"undeclared: {len(findings)}", *map(str, findings)]))
    if not args.json:
        print("undeclared: 0")


_HEAD = (
    f"{'stage':<32} {'seconds':>7} {'inputs':>6} {'code':>5} {'outputs':>7} {'outside':>7} "
    f"{'variables':>9} {'hidden':>6} {'peers':>5}  undeclared"
)


def _row(verdict: Verdict) -> str:
    seen = verdict.seen
    return (
        f"{verdict.stage:<32} {verdict.seconds:>7.1f} {seen.inputs:>6} {seen.code:>5} {seen.outputs:>7} "
        f"{seen.outside:>7} {seen.variables:>9} {seen.hidden:>6} {seen.connections:>5}  {len(verdict.findings) or '-'}"
    )


def _plain(verdicts: list[Verdict], blind: str) -> dict[str, Any]:
    from dataclasses import asdict

    return {"variables_of_c_not_seen": blind, "stages": [asdict(verdict) for verdict in verdicts]}
