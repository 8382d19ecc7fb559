"""Let frozen stages follow their inputs again."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("stages", nargs="+", metavar="STAGE", help="a stage of dvc.yaml")


def run(args: argparse.Namespace) -> None:
    """Take the mark away."""
    from belle.build.generate import set_frozen

    set_frozen(args.stages, False)
