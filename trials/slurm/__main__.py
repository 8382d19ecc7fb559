"""Run the trial; see the package. Exit status 1 where a build's bytes differ from those of a build without Slurm."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from belle.errors import BelleError
from belle.files import atomic_file
from trials.slurm import __doc__ as about
from trials.slurm.building import Build, build, nothing_left, outputs, requests
from trials.slurm.cluster import PLUGIN, Cluster, running
from trials.worlds import World, built_miniature, copy_checkout, shrink


def _world(folder: Path) -> World:
    """A miniature of which nothing is built."""
    folder.mkdir(parents=True)
    world = World(copy_checkout(folder))
    shrink(world)
    return world


def _verdict(world: World, expected: dict[str, str]) -> tuple[bool, str]:
    found = outputs(world)
    differing = sorted(path for path in expected if found.get(path) != expected[path])
    asked = requests(world)
    whole = nothing_left(world)
    good = not differing and not asked["twice"] and asked["sent"] == asked["answered"] and whole
    text = (
        f"{len(expected) - len(differing)} of {len(expected)} outputs equal in bytes to those of a build without Slurm"
        + (f" (different: {', '.join(differing)})" if differing else "")
        + f"; {asked['sent']} requests sent, {asked['answered']} answered, {asked['twice']} sent more than once; "
        + (
            "`snakemake -n` and `dvc status` then have nothing to do."
            if whole
            else "something is left to do afterwards."
        )
    )
    return good, text


def _table(done: Build) -> Iterator[str]:
    yield "| job | stage | node it ended on | seconds on it | put back by Slurm |"
    yield "|---:|---|---|---:|---:|"
    for job in done.jobs:
        yield f"| {job.number} | {job.stage} | {job.node or '–'} | {job.seconds} | {job.restarts} |"


def _report(cluster: Cluster, plain: Build, plain_text: str, killed: Build, killed_text: str, during: str) -> str:
    again = killed.submitted_again
    requeued = ", ".join(f"{job.stage} ({job.restarts}×, ended on {job.node})" for job in killed.requeued) or "none"
    resubmitted = ", ".join(f"{stage} ({count}×)" for stage, count in again.items()) or "none"
    return "\n".join([
        "# A miniature world on Slurm",
        "",
        "Written by `python -m trials.slurm`: a miniature world, built from nothing through `profiles/slurm`, and once",
        "more with a node killed on the way. Each was run once.",
        "",
        f"- {cluster.ask('sinfo', '--version').strip()} of Debian's packages, {len(cluster.nodes)} nodes on one host"
        f" ({platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {PLUGIN}"
        f" {importlib.metadata.version(PLUGIN)}); {datetime.date.today().isoformat()}",
        f"- none killed: {plain.seconds:.0f} s, {len(plain.jobs)} jobs."
        f" {plain_text}",
        f"- one node killed: {killed.seconds:.0f} s, {len(killed.jobs)} jobs. {killed.killed} was killed"
        f" {killed.killed_after_s:.0f} s after the start, while it ran {during}: its slurmd and what it had started,"
        f" {killed.processes} processes, by `kill -9`. Slurm found out by itself. Put back into the queue by Slurm:"
        f" {requeued}; submitted again by Snakemake: {resubmitted}. {killed_text}",
        "",
        "Seconds tell little here: the nodes share this host's cores with each other and with whatever else runs, and",
        "Snakemake asks Slurm for news only every 5 s, then less often.",
        "",
        "## None killed",
        "",
        *_table(plain),
        "",
        f"## {killed.killed} killed",
        "",
        *_table(killed),
        "",
    ])  # fmt: skip


def main() -> int:
    """Run both builds; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m trials.slurm", description=about)
    parser.add_argument("--out", type=Path, help="write the report here, too (Markdown)")
    parser.add_argument("--kill-during", default="sft-belle-tiny", help="the stage whose node dies (%(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of the cluster (%(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped then, too
    folder = Path(tempfile.mkdtemp(prefix="belle-slurm-"))
    try:
        finished = []
        for name, during in (("plain", ""), ("killed", args.kill_during)):
            with running(args.nodes) as cluster:
                world = _world(folder / name / "world")
                print(f"{name}: building on {', '.join(cluster.nodes)}", file=sys.stderr, flush=True)
                done = build(cluster, world, kill_during=during)
                finished.append((done, world))
                print(
                    f"{name}: {done.seconds:.0f} s, {len(done.jobs)} jobs, {len(done.requeued)} put back by Slurm, "
                    f"{sum(done.submitted_again.values())} submitted again; {requests(world)}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
                if during:
                    expected = outputs(World(built_miniature()))
                    verdicts = [_verdict(world, expected) for _, world in finished]
                    (plain, _), (killed, _) = finished
                    text = _report(cluster, plain, verdicts[0][1], killed, verdicts[1][1], during)
        print(text)
        if args.out:
            with atomic_file(args.out) as file:
                file.write(text)
        return 0 if all(good for good, _ in verdicts) and killed.requeued else 1
    except BelleError as error:
        print(f"trials.slurm: {error}", file=sys.stderr)
        return error.exit_status
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
