"""Write code.json: what each stage's function can reach in the code."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("out", type=Path, nargs="?", default=Path("code.json"))


def run(args: argparse.Namespace) -> None:
    """Write the file if it differs."""
    from belle.build import code
    from belle.stages import STAGES

    code.write(list(STAGES), args.out)
