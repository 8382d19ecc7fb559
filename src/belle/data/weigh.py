"""Stage ``weigh``: a base model reads every raw row once, and says how likely it is and where it lies among others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from xxhash import xxh3_128_digest

from belle import jsonl
from belle.data.cleaning import memory
from belle.data.cleaning.same import keys_of
from belle.data.weighing import folder, perplexity
from belle.data.weighing.folder import Weighed
from belle.data.weighing.journal import Journal
from belle.data.weighing.parts import Part, key_of, parts_of
from belle.data.weighing.reader import Reader, digest_of
from belle.data.weighing.vectors import Vectors
from belle.errors import InputError
from belle.files import atomic_file, open_input, require_file, sha256_of
from belle.records import load_seeds

Row = tuple[bytes, bytes, list[Part]]
"""The hash of a row's line, the key of its text, and its text."""


def weigh(
    *,
    raw: Path,
    base: Path,
    reference: Path,
    out: Path,
    report: Path,
    remembered: Path | None = None,
    max_length: int,
    layer: int,
    answer_weight: float,
    dimensions: int,
    bf16: bool,
    threads: int,
) -> None:
    """Write a folder of arrays, one item for each row of ``raw``: losses, numbers of tokens, vectors.

    A row's numbers depend on the row, the base and the settings alone, in every bit: each is read by itself.

    Args:
        raw: JSON Lines of ``instruction, input, output`` or ``conversations``.
        base: A Hugging Face folder of a causal language model; on the GPU where there is one.
        reference: Seed tasks; what is usual of a vector is measured on them.
        out: See ``belle.data.weighing.folder.Weighed``.
        report: JSON: rows, different texts, tokens, pieces, the distribution of perplexity.
        remembered: Where to keep what was said of each row, so that a changed set costs in proportion to the change
            and a killed run goes on; no output depends on it.
        max_length: Tokens that are read at a time; longer rows are read in pieces.
        layer: Whose states a vector is the mean of.
        answer_weight: The answer's share of a vector.
        dimensions: Numbers in a vector.

    Raises:
        InputError: the base, the reference or a row cannot be used.
        BelleError: the model gives no number.
    """
    require_file(raw, "raw rows")
    seeds = load_seeds(reference)
    reader = Reader(base, max_length=max_length, layer=layer, bf16=bf16, threads=threads)
    settings: dict[str, Any] = {
        "max_length": max_length, "layer": layer, "answer_weight": answer_weight, "dimensions": dimensions,
        "bf16": bf16, "threads": threads,
    }  # fmt: skip
    about = {**settings, "base": digest_of(base), "reference": sha256_of(reference)}
    asked = [
        parts_of({"instruction": seed.instruction, "input": seed.input, "output": seed.output}, str(reference))
        for seed in seeds
    ]
    vectors = Vectors([reader.read(parts, str(reference)).states for parts in asked], answer_weight, dimensions)
    made_by = memory.identity([about, reader.device()])
    journal = Journal(remembered, made_by, vectors.size)
    lines, keys = list[bytes](), list[bytes]()
    bar = tqdm(
        total=raw.stat().st_size, desc="weigh", unit="B", unit_scale=True, unit_divisor=1024, mininterval=1, delay=1
    )
    with bar:
        try:
            for number, (line, key, parts) in enumerate(_rows(raw, bar.update), 1):
                if key not in journal:
                    read = reader.read(parts, f"{raw}, row {number}")
                    journal.add(key, read.losses, read.counts, read.windows, vectors.of(read.states))
                lines.append(line)
                keys.append(key)
        except BaseException:
            journal.flush()
            raise
    journal.close(set(keys))
    records = np.array([journal.get(key) for key in keys], journal.record)
    weighed = Weighed(
        keys=keys_of(b"".join(lines)), losses=records["losses"], counts=records["counts"], vectors=records["vector"],
        about={**about, "rows": len(keys)},
    )  # fmt: skip
    summary = {
        "rows": len(keys),
        "texts": len(set(keys)),
        "tokens": int(weighed.counts[:, 0].sum(dtype=np.int64)),
        "in_pieces": int((records["windows"] > 1).sum()),
        "perplexity": {
            kind: perplexity.figures(weighed.means(place)) for place, kind in enumerate(perplexity.KINDS)
        },
        "settings": settings,
    }  # fmt: skip
    folder.save(out, weighed)
    with atomic_file(report) as file:
        file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def _rows(raw: Path, read: Any) -> Iterator[Row]:
    """Every row, with how many bytes have been read said to ``read``."""
    with open_input(raw, "raw rows") as file:
        at = 0
        for count, (number, line) in enumerate(jsonl.lines(file, str(raw)), 1):
            stripped = line.strip()
            row = jsonl.parse(stripped, f"{raw}:{number}")
            if not isinstance(row.get("id"), str):
                raise InputError("a row without an `id`", where=f"{raw}, row {count}", fix="give every row its own id")
            parts = parts_of(row, f"{raw}, row {count}")
            yield xxh3_128_digest(stripped), key_of(parts), parts
            read(file.tell() - at)
            at = file.tell()
