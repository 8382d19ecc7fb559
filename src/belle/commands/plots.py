"""Draw the loss curves, of now or of several revisions, on a page that needs no network.

DVC's own page (`dvc plots show`, `dvc plots diff`) draws the same, but loads its scripts from the net. Here they are
put into the page, from the copies that Snakemake brings along.
"""

import argparse
import re
from pathlib import Path

_SCRIPT = re.compile(r'<script src="https?://[^"]*/npm/(vega|vega-lite|vega-embed)@[^"]*"></script>')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("revisions", nargs="*", metavar="REVISION", help="of git, beside what stands here")
    parser.add_argument("--targets", nargs="+", default=[], metavar="CSV", help="which curves (default: all)")
    parser.add_argument("--out", type=Path, default=Path("dvc_plots"), help="folder (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Let DVC draw, and make its page whole.

    Raises:
        BelleError: DVC could not, or its page asks for a script that is not here.
    """
    from belle.build.dvc import run_dvc
    from belle.errors import BelleError

    what = ["diff", *args.revisions] if args.revisions else ["show"]
    targets = ["--targets", *args.targets] if args.revisions and args.targets else args.targets
    if status := run_dvc(["plots", *what, *targets, "-q", "-o", str(args.out)]):
        raise BelleError(
            f"dvc plots ended with {status}",
            where="plots",
            cause="a revision or a curve that is not there",
            fix="`git log` names revisions; `dvc plots show -v` says more",
        )
    made = args.out / "index.html"
    if not made.is_file():
        raise BelleError(
            "there is nothing to draw",
            where="plots",
            cause="no training of these targets stands here yet",
            fix="build one: `snakemake models/belle-tiny`",
        )
    whole(made)
    print(made)


def whole(page: Path) -> None:
    """Put the scripts that a page of DVC's loads from the net into it.

    Raises:
        BelleError: it loads one that Snakemake does not bring along.
    """
    from snakemake.assets import Assets

    from belle.errors import BelleError
    from belle.files import atomic_file, require_file

    def inline(match: re.Match[str]) -> str:
        script = require_file(Path(Assets.base_path()) / match[1] / f"{match[1]}.js", "a script of Snakemake's")
        return f"<script>\n{script.read_text(encoding='utf-8')}\n</script>"

    text = _SCRIPT.sub(inline, page.read_text(encoding="utf-8"))
    if asked := re.search(r'<script[^>]*\ssrc="?([^">]*)', text):
        raise BelleError(
            f"its page loads {asked[1]}",
            where=str(page),
            cause="another version of dvc-render than is locked",
            fix="install what requirements.lock names",
        )
    with atomic_file(page) as file:
        file.write(text)
