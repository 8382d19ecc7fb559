"""The XOR stream equals its definition, byte by byte, around every boundary."""

import io
import random
import tracemalloc

import pytest

from belle.errors import BelleError
from belle.weights import xor
from belle.weights.xor import CHUNK, PIECE, KeyStream, xored


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
    period = -(-key_size // chunk) * chunk
    p = i % period
    k = p // chunk
    r = min(chunk, key_size - k * chunk)
    return k * chunk + ((p % chunk) % r)


def ours(text, key, chunk):
    stream = KeyStream(io.BytesIO(key), chunk=chunk)
    source = io.BytesIO(text)
    parts = []
    for before, after in xored(source, len(text), stream):
        assert len(before) == len(after)
        parts.append(bytes(after))
    return b"".join(parts)


def sizes_around(rng, chunk, count):
    """Pairs of (text size, key size) at, just before and just after multiples of the chunk, and anywhere."""
    for _ in range(count):
        pair = []
        for lowest in (0, 1):
            edge = rng.randint(0, 4) * chunk + rng.choice([-2, -1, 0, 1, 2, rng.randint(-chunk, chunk)])
            pair.append(max(lowest, edge))
        yield tuple(pair)


@pytest.mark.parametrize("chunk", [1, 2, 7, 16, 64])
def test_small_chunks(chunk):
    rng = random.Random(chunk)
    for size, key_size in sizes_around(rng, chunk, 120):
        text, key = rng.randbytes(size), rng.randbytes(key_size)
        result = ours(text, key, chunk)
        assert result == upstream(text, key, chunk), (size, key_size)
        assert result == bytes(b ^ key[by_formula(i, key_size, chunk)] for i, b in enumerate(text))
        assert ours(result, key, chunk) == text


def test_pieces_smaller_than_a_chunk(monkeypatch):
    rng = random.Random(8)
    for piece in (1, 3, 10, 16, 50):
        monkeypatch.setattr(xor, "PIECE", piece)
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
        (PIECE + 1, 3 * PIECE - 1),
        (3 * CHUNK + PIECE + 1, 2 * CHUNK - PIECE - 7),
    ],
)
def test_true_chunk_size(size, key_size):
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


def test_it_is_not_the_key_repeated():
    key = bytes(range(1, 12))
    assert ours(bytes(40), key, 8) != (key * 4)[:40]
    assert ours(bytes(40), key[:8], 8) == (key[:8] * 5)[:40]


def test_the_last_chunk_of_the_text_need_not_be_whole():
    assert ours(b"\x00" * 5, b"abc", 4) == b"abcaa"
    assert ours(b"\x00" * 9, b"abcdef", 4) == b"abcdefefa"


def test_memory_is_bounded(tmp_path):
    text, key = tmp_path / "text", tmp_path / "key"
    text.write_bytes(bytes(40_000_000))
    key.write_bytes(random.Random(1).randbytes(CHUNK + 9_000_001))
    tracemalloc.start()
    with open(text, "rb", buffering=0) as source, open(key, "rb", buffering=0) as key_file:
        count = sum(len(after) for _, after in xored(source, 40_000_000, KeyStream(key_file)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000_000
    assert peak < 32 * 1024 * 1024


def test_an_empty_key_and_a_text_cut_off():
    with pytest.raises(ValueError, match="empty"):
        KeyStream(io.BytesIO(b""))


def test_a_text_that_becomes_shorter(tmp_path):
    (tmp_path / "text").write_bytes(b"abc")
    stream = KeyStream(io.BytesIO(b"key"), chunk=2)
    with (
        open(tmp_path / "text", "rb", buffering=0) as source,
        pytest.raises(BelleError, match="ended 2 bytes early"),
    ):
        list(xored(source, 5, stream))
