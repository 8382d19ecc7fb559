"""Cleaning: beside a loop over ``json`` and a ``datasets`` map with the same filters; and once more after 1% new rows.

Makes rows (``rows.py``), then takes in turns: the stage's function as it is; a loop that reads each line with ``json``,
asks the same filters and the same test for exact repeats, and writes with ``json``; and ``datasets`` with one function
mapped over the rows, as its users write it. All three end with the same rows. Times are on the clock, for ours uses the
machine's cores as the peers' users would have to ask for; CPU time is in the rows named ``_cpu``.

Then the whole chain (contamination, near-duplicates, novelty) cold, and again after 1% new rows in random places.

    python benchmarks/cleaning.py --rows 1000000 --again 200000 --out benchmarks/results/cleaning.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from common import publish, row
from rows import rows, write

ROOT = Path(__file__).resolve().parents[1]
FILTERS = ["output_empty", "gpt_self_reference", "not_chinese", "mojibake", "refusal"]
LEAST, MOST = 1, 4000


def ours(raw: Path, folder: Path, remembered: Path | None = None, **changes: Any) -> None:
    """The stage ``clean``."""
    from belle.data.clean import clean

    settings: dict[str, Any] = {
        "filters": FILTERS, "compare": "instruction", "novelty_threshold": 1.01, "near_duplicate_threshold": 1.01,
        "min_output_chars": LEAST, "max_output_chars": MOST, **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    clean(
        raw=raw, out=folder / "out.jsonl", report=folder / "report.json", rejects=folder / "rejects.jsonl",
        page=folder / "page.html",
        remembered=remembered, workers=len(os.sched_getaffinity(0)), **settings,
    )  # fmt: skip


def steps() -> list[Callable[[dict[str, Any]], str | None]]:
    """What both peers ask of a row."""
    from belle.data import filters as library

    return [
        *(library.FILTERS[name] for name in FILTERS),
        library.output_too_short(LEAST),
        library.output_too_long(MOST),
        library.not_utf8,
    ]


def same(row: dict[str, Any]) -> bytes:
    """What a row has in common with its exact repeats, as the stage computed it before it was made fast."""
    import hashlib
    import unicodedata

    texts = ["".join(unicodedata.normalize("NFKC", row[key]).split()) for key in ("instruction", "input", "output")]
    return hashlib.sha256("\0".join(texts).encode()).digest()[:16]


def json_loop(raw: Path, folder: Path) -> None:
    """One line after the other, with the standard library."""
    folder.mkdir(exist_ok=True)
    asked, seen = steps(), set[bytes]()
    with open(raw, encoding="utf-8") as lines, open(folder / "out.jsonl", "w", encoding="utf-8") as out:
        for line in lines:
            row = json.loads(line)
            if any(step(row) for step in asked):
                continue
            digest = same(row)
            if digest in seen:
                continue
            seen.add(digest)
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def datasets_map(raw: Path, folder: Path) -> None:
    """``datasets``: map a verdict to every row, filter by it, write."""
    import datasets

    datasets.disable_progress_bars()
    asked = steps()

    def verdict(row: dict[str, Any]) -> dict[str, Any]:
        dropped = any(step(row) for step in asked)
        return {"dropped": dropped, "digest": b"" if dropped else same(row)}

    seen: set[bytes] = set()

    def new(row: dict[str, Any]) -> bool:
        if row["dropped"] or row["digest"] in seen:
            return False
        seen.add(row["digest"])
        return True

    whole = datasets.load_dataset("json", data_files=str(raw), split="train", cache_dir=str(folder / "cache"))
    kept = whole.map(verdict).filter(new).remove_columns(["dropped", "digest"])
    kept.to_json(str(folder / "out.jsonl"), force_ascii=False)


def apart(work: Callable[..., None], *given: Any, **more: Any) -> tuple[float, float, float]:
    """Run in a process of its own: seconds on the clock, seconds of CPU with its children, MiB of its largest child."""
    before = os.times()
    pipe, end = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_timed, args=(end, work, given, more))
    process.start()
    largest = [0]
    watched = threading.Event()
    threading.Thread(target=_watch, args=(process.pid, largest, watched), daemon=True).start()
    end.close()
    clock = pipe.recv()
    process.join()
    watched.set()
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return clock, cpu, largest[0] / 2**20


def _timed(end: Any, work: Callable[..., None], given: Any, more: Any) -> None:
    _start(work, more)
    started = time.monotonic()
    work(*given, **more)
    end.send(time.monotonic() - started)


def _start(work: Callable[..., None], more: Any) -> None:
    """Go through a few rows first: what a start takes, and loading compiled code, is not what is measured."""
    importlib.import_module("datasets")
    with tempfile.TemporaryDirectory() as folder:
        raw, few = Path(folder) / "raw.jsonl", Path(folder) / "few"
        few.mkdir()
        write(raw, rows(200))
        memory = [few / "memory"] if work is ours else []
        work(raw, few, *memory, **more)
        edited(raw, Path(folder) / "changed.jsonl", 0.05)
        work(Path(folder) / "changed.jsonl", few, *memory, **more)


def _watch(pid: int | None, largest: list[int], done: threading.Event) -> None:
    parent = psutil.Process(pid)
    while not done.wait(0.05):
        try:
            for child in parent.children(recursive=True):
                if "belle.data.cleaning.worker" in child.cmdline():
                    largest[0] = max(largest[0], child.memory_info().rss)
        except psutil.Error:
            continue


def edited(raw: Path, changed: Path, share: float) -> None:
    """Copy a file with a share of new rows put in at random places."""
    lines = raw.read_bytes().splitlines(keepends=True)
    rng = random.Random(1)
    for new in rows(max(1, int(share * len(lines))), seed=1):
        lines.insert(rng.randrange(len(lines) + 1), (json.dumps(new, ensure_ascii=False) + "\n").encode())
    changed.write_bytes(b"".join(lines))


def read(path: Path) -> list[dict[str, Any]]:
    """All rows of a file."""
    with open(path, "rb") as lines:
        return [json.loads(line) for line in lines]


def beside_peers(folder: Path, count: int, repeats: int) -> list[dict[str, Any]]:
    """Ours, the loop and the map in turns."""
    raw = folder / "raw.jsonl"
    write(raw, rows(count))
    taken: dict[str, list[tuple[float, float, float]]] = {"ours": [], "json_loop": [], "datasets_map": []}
    for _ in range(repeats):
        for name, work in (("ours", ours), ("json_loop", json_loop), ("datasets_map", datasets_map)):
            os.sync()  # what the one before has written is not written out while this one runs
            taken[name].append(apart(work, raw, folder / name))
            print(f"{count} rows, {name}: {taken[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
        kept = [read(folder / name / "out.jsonl") for name in taken]
        if not kept[0] == kept[1] == kept[2]:
            raise AssertionError("the three do not keep the same rows")
        subprocess.run(["rm", "-rf", str(folder / "datasets_map")], check=True)
    found = []
    for peer in ("json_loop", "datasets_map"):
        for suffix, which in (("", 0), ("_cpu", 1)):
            mine, theirs = ([one[which] for one in taken[name]] for name in ("ours", peer))
            worker = round(max(one[2] for one in taken["ours"]), 1)
            unit = "s CPU" if suffix else "s"
            found.append(row(f"clean_vs_{peer}{suffix}", mine, theirs, unit, rows=count, worker_mib=worker))
    return found


def after_new_rows(folder: Path, count: int, repeats: int, trust: bool = False) -> list[dict[str, Any]]:
    """Cold and after 1% new rows, through the whole chain; with ``trust`` cold is the build before the new rows."""
    raw, changed, memory = folder / "again.jsonl", folder / "changed.jsonl", folder / "memory"
    write(raw, rows(count))
    edited(raw, changed, 0.01)
    chain = {
        "novelty_threshold": 0.7, "near_duplicate_threshold": 0.8, "evals": {"tiny": ROOT / "data/eval/tiny.jsonl"},
    }  # fmt: skip
    cold, warm = [], []
    for _ in range(repeats):
        first = apart(ours, raw, folder / "first", memory, **chain)[0]
        cold.append(first if trust else apart(ours, changed, folder / "cold", None, **chain)[0])
        warm.append(apart(ours, changed, folder / "warm", memory, **chain)[0])
        print(f"{count} rows: cold {cold[-1]:.2f} s, 1% new {warm[-1]:.2f} s", file=sys.stderr, flush=True)
        if trust:
            shutil.rmtree(memory)
            continue
        for name in ("out.jsonl", "report.json", "rejects.jsonl"):
            if (folder / "cold" / name).read_bytes() != (folder / "warm" / name).read_bytes():
                raise AssertionError(f"{name} is not what a cold build writes")
    share = statistics.median(warm) / statistics.median(cold)
    return [row("clean_1_percent_new_vs_cold", warm, cold, "s", rows=count, share_of_cold=round(share, 4))]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--again", type=int, default=200_000)
    parser.add_argument(
        "--trust", action="store_true", help="leave out the second cold build, whose bytes are compared"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = beside_peers(Path(folder), args.rows, args.repeats) if args.rows else []
        found += after_new_rows(Path(folder), args.again, args.repeats, args.trust) if args.again else []
    publish(found, args.out)


if __name__ == "__main__":
    main()
