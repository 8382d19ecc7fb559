"""The XOR stream equals its definition, byte by byte, around every boundary, within its memory."""

import io
import random
import re
import subprocess
import sys
import time

import pytest

from belle.errors import BelleError
from belle.weights import streams, xor
from belle.weights.streams import PIECE, Progress, Silent, Source, pour, side_by_side
from belle.weights.xor import CHUNK, KeyStream, xored


def upstream(text, key, chunk):
    """What point-alpaca's loop does, said in the plainest way: two files read chunk by chunk."""
    out, data, keys = bytearray(), io.BytesIO(text), io.BytesIO(key)
    while part := data.read(chunk):
        key_part = keys.read(chunk)
        if not key_part:
            keys.seek(0)
            key_part = keys.read(chunk)
        while len(key_part) < len(part):
            key_part += key_part
        out += bytes(a ^ b for a, b in zip(part, key_part, strict=False))
    return bytes(out)


def by_formula(i, key_size, chunk):
    """The place in the key for byte ``i`` of the text, straight from the format's description."""
    period = -(-key_size // chunk) * chunk
    p = i % period
    k = p // chunk
    r = min(chunk, key_size - k * chunk)
    return k * chunk + ((p % chunk) % r)


@pytest.fixture
def ours(tmp_path):
    def work(text, key, chunk, start=0):
        (tmp_path / "text").write_bytes(text)
        (tmp_path / "key").write_bytes(key)
        parts = []
        with Source(tmp_path / "text") as source, Source(tmp_path / "key") as key_source:
            fill = xored(source, start, KeyStream(key_source, chunk=chunk))
            pour(len(text) - start, fill, [lambda piece: parts.append(bytes(piece))])
        return b"".join(parts)

    return work


def sizes_around(rng, chunk, count):
    """Pairs of (text size, key size) at, just before and just after multiples of the chunk, and anywhere."""
    for _ in range(count):
        pair = []
        for lowest in (0, 1):
            edge = rng.randint(0, 4) * chunk + rng.choice([-2, -1, 0, 1, 2, rng.randint(-chunk, chunk)])
            pair.append(max(lowest, edge))
        yield tuple(pair)


@pytest.mark.parametrize("chunk", [1, 2, 7, 16, 64])
def test_small_chunks(ours, chunk):
    """600 pairs in all, each against the loop and, byte by byte, against the formula."""
    rng = random.Random(chunk)
    for size, key_size in sizes_around(rng, chunk, 120):
        text, key = rng.randbytes(size), rng.randbytes(key_size)
        result = ours(text, key, chunk)
        assert result == upstream(text, key, chunk), (size, key_size)
        assert result == bytes(b ^ key[by_formula(i, key_size, chunk)] for i, b in enumerate(text))
        assert ours(result, key, chunk) == text


def test_pieces_smaller_than_a_chunk(ours, monkeypatch):
    """Pieces go through threads and a ring of buffers; with chunks of 32 bytes every border meets every other."""
    rng = random.Random(8)
    for piece in (1, 3, 10, 16, 50):
        monkeypatch.setattr(xor, "PIECE", piece)
        monkeypatch.setattr(streams, "PIECE", piece)
        for size, key_size in sizes_around(rng, 32, 60):
            text, key = rng.randbytes(size), rng.randbytes(key_size)
            assert ours(text, key, 32) == upstream(text, key, 32), (piece, size, key_size)


@pytest.mark.parametrize(
    ("size", "key_size"),
    [
        (CHUNK + 3, CHUNK - 1),
        (CHUNK + 3, CHUNK),
        (2 * CHUNK + 5, CHUNK + 1),
        (2 * CHUNK + 5, 1),
        (2 * CHUNK - 1, 2 * CHUNK - 3),
        (PIECE + 1, 3 * PIECE - 1),
        (3 * CHUNK + PIECE + 1, 2 * CHUNK - PIECE - 7),
    ],
)
def test_true_chunk_size(ours, size, key_size):
    rng = random.Random(size)
    text, key = rng.randbytes(size), rng.randbytes(key_size)
    result = ours(text, key, CHUNK)
    edges = {
        0,
        size - 1,
        *(at + d for at in (PIECE, CHUNK, 2 * CHUNK, key_size) for d in (-1, 0, 1) if 0 <= at + d < size),
    }
    for i in (*sorted(edges), *rng.sample(range(size), 20_000)):
        assert result[i] == text[i] ^ key[by_formula(i, key_size, CHUNK)], i


def test_it_is_not_the_key_repeated(ours):
    key = bytes(range(1, 12))
    assert ours(bytes(40), key, 8) != (key * 4)[:40]
    assert ours(bytes(40), key[:8], 8) == (key[:8] * 5)[:40]


def test_the_last_chunk_of_the_text_need_not_be_whole(ours):
    assert ours(b"\x00" * 5, b"abc", 4) == b"abcaa"
    assert ours(b"\x00" * 9, b"abcdef", 4) == b"abcdefefa"


def test_the_text_begins_where_it_is_said_to(ours):
    assert ours(b"header" + bytes(4), b"abc", 4, start=6) == b"abca"


MEMORY = """
import re, sys
from pathlib import Path
from belle.weights.decrypt import decrypt
from belle.weights.encrypt import encrypt
import numpy, tqdm
folder = Path(sys.argv[1])
def peak():  # ru_maxrss would begin at the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
globals()[sys.argv[2]](**{("encrypted" if sys.argv[2] == "decrypt" else "plain"): folder / sys.argv[3],
    "key": folder / "key.bin", "out": folder / sys.argv[4]})
print("grew by", peak() - before)
"""


def test_memory_is_bounded(tmp_path):
    """Several large files at once, with a key whose last chunk is incomplete; measured as the system counts it."""
    (tmp_path / "model").mkdir()
    block = random.Random(1).randbytes(1 << 20)
    for name in "abcd":
        (tmp_path / "model" / name).write_bytes(block * 40)
    (tmp_path / "key.bin").write_bytes((block * 20)[: CHUNK + 9_000_001])
    grown = {}
    for what, source, out in (("encrypt", "model", "release"), ("decrypt", "release", "out")):
        ended = subprocess.run(
            [sys.executable, "-c", MEMORY, str(tmp_path), what, source, out], capture_output=True, text=True, check=True
        )
        grown[what] = int(re.search(r"grew by (\d+)", ended.stdout)[1])
    assert (tmp_path / "out" / "d").read_bytes() == block * 40
    assert max(grown.values()) < 64 << 20, grown


def test_an_empty_key(tmp_path):
    (tmp_path / "key").write_bytes(b"")
    with Source(tmp_path / "key") as source, pytest.raises(ValueError, match="empty"):
        KeyStream(source)


def test_a_text_that_becomes_shorter(tmp_path):
    (tmp_path / "text").write_bytes(b"abc")
    (tmp_path / "key").write_bytes(b"key")
    with Source(tmp_path / "text") as source, Source(tmp_path / "key") as key:
        fill = xored(source, 0, KeyStream(key, chunk=2))
        with pytest.raises(BelleError, match="ended 2 bytes early"):
            pour(5, fill, [])


def test_a_fault_in_any_thread_ends_the_pouring():
    def broken(piece):
        raise OSError(28, "full")

    for size in (10, 40 * PIECE):
        with pytest.raises(OSError, match="full"):
            pour(size, lambda piece, position: None, [broken])


def test_the_first_failure_stops_the_others():
    progress = Progress(Silent())
    counted = []

    def work(number):
        if not number:
            raise BelleError("zero")
        for _ in range(1000):
            progress.update(1)
            counted.append(number)
            time.sleep(0.01)

    with pytest.raises(BelleError, match="zero"):
        side_by_side(work, [1, 0, 2, 3], progress)
    assert len(counted) < 1000
    assert side_by_side(lambda number: number * 2, [3, 1, 2], Progress(Silent())) == [6, 2, 4]
