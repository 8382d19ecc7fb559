"""Write dvc.yaml from the rules; with --check only say whether it is stale."""

import argparse

from belle.errors import BelleError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--check", action="store_true", help="exit 1 where dvc.yaml is stale, write nothing")


def run(args: argparse.Namespace) -> None:
    """Write, or compare.

    Raises:
        BelleError: with --check, dvc.yaml is not what the rules say.
    """
    from belle.build.generate import write_pipeline

    if not write_pipeline(check=args.check) and args.check:
        raise BelleError("stale: the rules say otherwise", where="dvc.yaml", fix="run `belle dvc-yaml`")
