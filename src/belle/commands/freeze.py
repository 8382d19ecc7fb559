"""Freeze stages: builds leave them as they are until `belle unfreeze`.

`dvc freeze` refuses every stage whose command refers to params.yaml; the mark that this writes, ``frozen: true`` in
dvc.yaml, is DVC's own and both sides of the build respect it.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("stages", nargs="+", metavar="STAGE", help="a stage of dvc.yaml")


def run(args: argparse.Namespace) -> None:
    """Set the mark."""
    from belle.build.generate import set_frozen

    set_frozen(args.stages, True)
