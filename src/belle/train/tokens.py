"""Tokenised rows on the disk by their content: a set is tokenised once for each tokenizer and prompt format.

tokens/DIGEST/ids.bin            int32 [N]: the tokens of every row, end to end
tokens/DIGEST/trained.bin        bool [N]: which of them have a label
tokens/DIGEST/ends.bin           int64 [R]: where each row ends
tokens/DIGEST/first_trained.bin  int32 [R]: the first position after 0 that has a label; ``NEVER`` where none has
tokens/DIGEST/keys.bin           uint64 [R]: the first 8 bytes of SHA-256 of the row's id
tokens/DIGEST/complete.json      size and hash of each file

DIGEST covers the bytes of the rows, the tokenizer, the format and the code that encodes; how long rows may be and which
share of them is taken come after, so another ``cutoff_len`` or ``num_train_epochs`` tokenises nothing again. Arrays are
mapped into memory, not read: sets may be larger than memory.
"""

import fcntl
import hashlib
import inspect
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase
from xxhash import xxh3_128

from belle import jsonl, prompts, records
from belle.errors import InputError, shown
from belle.files import atomic_file, decoded, open_input, require_file, sha256_of, temporary_name
from belle.prompts import prompt
from belle.records import turns

CHUNK = 1024
"""Rows that are tokenised together."""
NEVER = np.iinfo(np.int32).max
COMPLETE = "complete.json"
TEXT = "text"
"""What stands for a prompt format where rows are plain ``text``, each followed by EOS and trained as a whole."""

Segments = list[tuple[str, bool]]
"""The texts of a row and whether each is trained; EOS follows those that are."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokenised rows: one array a file, see the module."""

    ids: np.ndarray
    trained: np.ndarray
    ends: np.ndarray
    first_trained: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> np.ndarray:
        """Where each row begins, int64 [R]."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64) if len(self.ends) else self.ends


_TYPES: dict[str, Any] = {
    "ids": np.int32, "trained": np.bool_, "ends": np.int64, "first_trained": np.int32, "keys": np.uint64,
}  # fmt: skip


def key_of(row_id: str) -> int:
    """The number in [0, 2⁶⁴) by which a row is chosen."""
    return int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8])


def tokenised(data: Path, tokenizer: PreTrainedTokenizerBase, prompt_format: str, cache: Path) -> Tokens:
    """The tokens of every row of ``data``, from ``cache`` if they are there, else made and kept there.

    Several processes may ask at once: one makes them, the others wait. A cache that was cut off or damaged is made
    anew.

    Args:
        data: JSON Lines: conversations (see ``records.turns``), or ``{"text"}`` where the format is ``TEXT``; a file of
            another ending is plain text with one document a line.
        prompt_format: A name of ``prompts.PROMPT_FORMATS``, or ``TEXT``.

    Raises:
        InputError: a row is none, or the file is missing.
    """
    require_file(data, "rows to train on")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    folder = cache / _digest(data, tokenizer, prompt_format)
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        found = _open(folder)
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
            rows = _documents(data) if prompt_format == TEXT else _conversations(data, prompt_format)
            _write(folder, rows, tokenizer, _lines(data))
            found = _open(folder)
    assert found is not None
    return found


def _digest(data: Path, tokenizer: PreTrainedTokenizerBase, prompt_format: str) -> str:
    code = [inspect.getsource(module) for module in (prompts, records, sys.modules[__name__])]
    made_by = [
        sha256_of(data), data.suffix == ".jsonl", prompt_format, hashlib.sha256("".join(code).encode()).hexdigest(),
        hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(), tokenizer.eos_token_id,
        tokenizers.__version__,
    ]  # fmt: skip
    return hashlib.sha256(jsonl.canonical(made_by)).hexdigest()[:32]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with open(folder.with_name(f"{folder.name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open(folder: Path) -> Tokens | None:
    """The cache in ``folder`` if every file has the size and the bytes that it was written with."""
    try:
        noted = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        arrays = {}
        for name, kind in _TYPES.items():
            path = folder / f"{name}.bin"
            if path.stat().st_size != noted[name]["bytes"]:
                raise ValueError(f"{name} has another size")
            size = path.stat().st_size
            mapped = np.memmap(path, dtype=kind, mode="r") if size else np.empty(0, kind)
            if xxh3_128(mapped.data).hexdigest() != noted[name]["xxh3"]:
                raise ValueError(f"{name} holds other bytes")
            arrays[name] = mapped
        return Tokens(**arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"the tokens in {folder} are damaged ({error}) and are made anew", file=sys.stderr)
        return None


def _lines(data: Path) -> int:
    with open_input(data, "rows") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _conversations(data: Path, prompt_format: str) -> Iterator[tuple[str, Segments]]:
    for number, row in enumerate(jsonl.read(data, "training rows"), 1):
        where = f"{data}, row {number}"
        segments = []
        for turn in turns(row, where):
            text = _whole(turn.text, where)
            segments.append((prompt(text, prompt_format), False) if turn.role == "human" else (text, True))
        yield str(row.get("id", number)), segments


def _documents(data: Path) -> Iterator[tuple[str, Segments]]:
    if data.suffix != ".jsonl":
        with open_input(data, "text") as file:
            for number, line in jsonl.lines(file, str(data)):
                yield str(number), [(decoded(line, f"{data}:{number}").rstrip("\r\n"), True)]
        return
    for number, row in enumerate(jsonl.read(data, "text"), 1):
        text, where = row.get("text"), f"{data}, row {number}"
        if not isinstance(text, str):
            raise InputError(
                f"`text` must be text, found {shown(text)}",
                where=where,
                cause="rows of conversations, or another schema",
                fix='give every row a "text"',
            )
        if text.strip():
            yield str(row.get("id", number)), [(_whole(text, where), True)]


def _whole(text: str, where: str) -> str:
    """``text`` if no character in it is half a pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"half a character, {text[error.start]!r} at {error.start}",
            where=where,
            cause="a text that was cut between the two halves of an emoji",
            fix="write that text again",
        ) from None
    return text


def _write(folder: Path, rows: Iterable[tuple[str, Segments]], tokenizer: PreTrainedTokenizerBase, lines: int) -> None:
    unfinished = temporary_name(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        with ExitStack() as stack:
            files = {name: stack.enter_context(open(unfinished / f"{name}.bin", "wb")) for name in _TYPES}
            hashes = {name: xxh3_128() for name in _TYPES}
            total = 0
            bar = stack.enter_context(tqdm(total=lines, desc="tokenising", unit="row", smoothing=0, mininterval=1))
            rows = iter(rows)
            while chunk := list(itertools.islice(rows, CHUNK)):
                encoded = _encode(chunk, tokenizer)
                encoded.ends[:] += total
                total = int(encoded.ends[-1])
                for field in fields(Tokens):
                    data = getattr(encoded, field.name).tobytes()
                    hashes[field.name].update(data)
                    files[field.name].write(data)
                bar.update(len(chunk))
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
            noted = {name: {"bytes": files[name].tell(), "xxh3": hashes[name].hexdigest()} for name in _TYPES}
        with atomic_file(unfinished / COMPLETE) as record:
            json.dump(noted, record, indent=1)
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _encode(rows: Sequence[tuple[str, Segments]], tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Tokenise rows in one call; ``ends`` count from the first of them."""
    segments = [segment for _, row in rows for segment in row]
    encoded = tokenizer.backend_tokenizer.encode_batch_fast([text for text, _ in segments], add_special_tokens=False)
    eos = [tokenizer.eos_token_id]
    ids = [item.ids + eos if trained else item.ids for item, (_, trained) in zip(encoded, segments, strict=True)]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
    trained = np.repeat(np.fromiter((trained for _, trained in segments), np.bool_, len(segments)), lengths)
    after = np.cumsum([len(row) for _, row in rows]) - 1
    ends = np.cumsum(lengths)[after]
    starts = np.concatenate([[0], ends[:-1]])
    # The next label after a row's first position, for every row at once: positions with a label, searched.
    labelled = np.append(np.flatnonzero(trained), len(flat))
    following = labelled[np.searchsorted(labelled, starts + 1)]
    first = np.where(following < ends, following - starts, NEVER).astype(np.int32)
    keys = np.fromiter((key_of(row_id) for row_id, _ in rows), np.uint64, len(rows))
    return Tokens(flat, trained, ends.astype(np.int64), first, keys)
