"""Check DVC's cache here, or a remote, object by object; with --heal remove what is wrong so that it comes back.

Every object is read and compared with its name, every run-cache entry with its own. What is wrong is named together
with the outputs it belongs to, and the exit status is 1. A remote is read whole: mind what its provider asks for that.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--remote", metavar="NAME", default="", help="check this remote instead of the cache here")
    parser.add_argument("--heal", action="store_true", help="remove what is wrong, and say how it comes back")


def run(args: argparse.Namespace) -> None:
    """Check, and heal where that is asked for.

    Raises:
        BelleError: something is wrong (with --heal: and could not be healed here).
    """
    from tqdm import tqdm

    from belle.build import check
    from belle.errors import BelleError

    def progress(items: list, what: str) -> tqdm:
        return tqdm(items, desc=what, unit="file", disable=None, delay=1)

    found = check.check(args.remote, progress)
    where = f"remote {args.remote}" if args.remote else "cache"
    for fault in found.faults:
        print(f"{where}: {fault}")
        if args.heal:
            print(f"  {found.heal(fault)}")
    if not found.faults:
        print(f"{where}: {found.checked} objects and run-cache entries, all right")
    elif not args.heal:
        raise BelleError(
            f"{len(found.faults)} of {found.checked} objects and run-cache entries are wrong", where=where,
            fix=f"`belle cache{' --remote ' + args.remote if args.remote else ''} --heal`",
        )  # fmt: skip
    elif found.left:
        raise BelleError(f"{found.left} of {len(found.faults)} are gone until somebody pushes them", where=where)
