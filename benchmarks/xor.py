"""Decrypting an XOR release: ours beside BELLE's loop, and beside its steps one after the other.

Makes a gibibyte of weights, as one file and as two shards, and a key that is no multiple of the format's chunk and
shorter than the files, so that it starts over. The peer is written after what BELLE's script does: chunks of 10 MiB,
each XORed byte by byte in Python with the key cut to its length by processes of their own (one less than there are
cores, 8 at most), hashed and written in order by the parent; it is sampled, for it takes a minute a gibibyte. The
floor is every step alone, over the same bytes: read, SHA-256, XOR, write; it neither reads the key nor waits for the
disk, both of which ours does.

Every output is compared with what was encrypted; a difference ends the run.

    python benchmarks/xor.py --out benchmarks/results/xor.json
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import publish, row

from belle.weights.decrypt import decrypt
from belle.weights.encrypt import encrypt
from belle.weights.xor import CHUNK, HEADER

MEBI = 1 << 20


def make(folder: Path, mebibytes: int) -> None:
    """Plain files, the key, and the two releases, without a manifest as BELLE's are."""
    rng = np.random.default_rng(7)
    block = rng.integers(0, 2**63, 4 * MEBI, dtype=np.int64).tobytes()  # 32 MiB
    for name, shards in (("one", 1), ("two", 2)):
        (folder / name).mkdir()
        for number in range(1, shards + 1):
            with open(folder / name / f"pytorch_model-{number:05d}-of-{shards:05d}.bin", "wb") as file:
                file.write(b"PK\x03\x04" + b"PK\x05\x06")
                for _ in range(mebibytes // shards // 32):
                    file.write(block)
                file.write(b"PK\x05\x06")
    with open(folder / "key.pth", "wb") as file:
        for _ in range(mebibytes // 64):
            file.write(block[::-1])
        file.write(block[:12_345])
    for name in ("one", "two"):
        encrypt(plain=folder / name, key=folder / "key.pth", out=folder / f"{name}-enc")
        (folder / f"{name}-enc" / "manifest.json").unlink()


def xor_bytes(job: tuple[bytes, bytes]) -> bytes:
    """BELLE's inner loop: the key repeated to the text's length, then byte by byte."""
    text, key = job
    repeated = (key * (len(text) // len(key) + 1))[: len(text)]
    return bytes(a ^ b for a, b in zip(text, repeated, strict=True))


def chunks(encrypted: Path, key: Path, most: int) -> Iterator[tuple[bytes, bytes]]:
    """The text's chunks and the key's, which starts over at its end."""
    with open(encrypted, "rb") as text, open(key, "rb") as keys:
        text.read(HEADER)
        done = 0
        while done < most and (part := text.read(min(CHUNK, most - done))):
            done += len(part)
            yield part, keys.read(CHUNK) or (keys.seek(0), keys.read(CHUNK))[1]


def by_belle(encrypted: Path, key: Path, out: Path, most: int) -> float:
    """Seconds that BELLE's way takes for ``most`` bytes."""
    workers = min(8, max(1, len(os.sched_getaffinity(0)) - 1))
    digest, started = hashlib.sha256(), time.perf_counter()
    with multiprocessing.Pool(workers) as pool, open(out, "wb") as file:
        for part in pool.imap(xor_bytes, chunks(encrypted, key, most)):
            file.write(part)
            digest.update(part)
    return time.perf_counter() - started


def floor(encrypted: Path, out: Path) -> dict[str, float]:
    """Seconds of every step alone."""
    size, found = encrypted.stat().st_size - HEADER, {}
    piece, other = np.empty(MEBI, np.uint8), np.empty(MEBI, np.uint8)

    def timed(name: str, work: Any) -> None:
        started = time.perf_counter()
        work()
        found[name] = time.perf_counter() - started

    def read() -> None:
        with open(encrypted, "rb", buffering=0) as file:
            while file.readinto(piece):
                pass

    def hash_() -> None:
        digest = hashlib.sha256()
        for _ in range(size // MEBI):
            digest.update(piece)

    def xor() -> None:
        for _ in range(size // MEBI):
            np.bitwise_xor(piece, other, out=piece)

    def write() -> None:
        with open(out, "wb", buffering=0) as file:
            for _ in range(size // MEBI):
                file.write(piece)

    for name, work in (("read", read), ("sha256", hash_), ("xor", xor), ("write", write)):
        timed(name, work)
    out.unlink()
    return found


def ours(folder: Path, name: str) -> float:
    """Seconds of ``belle decrypt``, to the renamed folder on the disk; the output is compared and removed."""
    out, started = folder / "out", time.perf_counter()
    decrypt(encrypted=folder / f"{name}-enc", key=folder / "key.pth", out=out)
    seconds = time.perf_counter() - started
    for path in (folder / name).iterdir():
        if subprocess.run(["cmp", "-s", path, out / path.name]).returncode:
            raise AssertionError(f"{path.name} is not what was encrypted")
    shutil.rmtree(out)
    return seconds


MEMORY = """
import re, sys
from pathlib import Path
from belle.weights.decrypt import decrypt
def peak():  # ru_maxrss would begin at the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before, folder = peak(), Path(sys.argv[1])
decrypt(encrypted=folder / "two-enc", key=folder / "key.pth", out=folder / "out")
print("grew by", peak() - before)
"""


def memory(folder: Path) -> float:
    """MiB that a process grows by above its start-up."""
    ended = subprocess.run([sys.executable, "-c", MEMORY, str(folder)], capture_output=True, text=True, check=True)
    shutil.rmtree(folder / "out")
    found = re.search(r"grew by (\d+)", ended.stdout)
    assert found, ended.stdout
    return int(found[1]) / MEBI


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--sampled", type=int, default=160, help="MiB that BELLE's loop is timed on")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where a few gibibytes may lie (default: a temporary folder)")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        make(folder, args.mebibytes)
        (one,) = (folder / "one-enc").glob("*.enc")
        gibibytes = args.mebibytes / 1024
        taken: dict[str, list[float]] = {"one": [], "two": [], "floor": [], "belle": []}
        steps = []
        for number in range(args.repeats + 1):
            steps.append(floor(one, folder / "out"))
            found = {"floor": sum(steps[-1].values()), "one": ours(folder, "one"), "two": ours(folder, "two")}
            sampled = args.sampled * MEBI
            found["belle"] = (
                by_belle(one, folder / "key.pth", folder / "peer", sampled) * args.mebibytes * MEBI / sampled
            )
            with open(folder / "peer", "rb") as left, open(next((folder / "one").iterdir()), "rb") as right:
                if left.read(sampled) != right.read(sampled):
                    raise AssertionError("the peer's output is not what was encrypted")
            print({key: round(value / gibibytes, 2) for key, value in found.items()}, file=sys.stderr, flush=True)
            if number:  # the first warms the page cache
                for key, value in found.items():
                    taken[key].append(value / gibibytes)
        grown = memory(folder)
    more = {"mebibytes": args.mebibytes, "sampled_mebibytes": args.sampled}
    median = {key: sorted(step[key] for step in steps[1:])[len(steps[1:]) // 2] / gibibytes for key in steps[0]}
    alone = {"floor": {key: round(value, 3) for key, value in median.items()}}
    rows = [
        row("xor_vs_belle", taken["two"], taken["belle"], "s/GiB", files=2, **more),
        row("xor_vs_floor", taken["two"], taken["floor"], "s/GiB", files=2, **more, **alone),
        row("xor_one_file_vs_belle", taken["one"], taken["belle"], "s/GiB", files=1, **more),
        row("xor_one_file_vs_floor", taken["one"], taken["floor"], "s/GiB", files=1, **more, **alone),
    ]
    rows.append({key: rows[0][key] for key in ("device", "load", "date")})
    rows[-1].update({"name": "xor_memory", "ours": round(grown, 1), "unit": "MiB above start-up", "n": 1})
    publish(rows, args.out)


if __name__ == "__main__":
    main()
