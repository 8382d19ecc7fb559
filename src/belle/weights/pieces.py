"""Pieces for a vocabulary: drawn from a corpus, trained with sentencepiece, and put behind those of a base.

What a base writes with its own pieces it goes on writing so: new pieces get scores below the base's lowest, in the
order of their training, so that the base's merges all come first and each new one joins what they left.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tqdm import tqdm

from belle import jsonl
from belle.errors import InputError, shown
from belle.files import decoded, open_input
from belle.weights.tokenizer import CONTROL, NORMAL, SPACE

WHOLE = 1 << 64


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a corpus that are not blank: of every row's ``text`` of a .jsonl file, or of any other file.

    Raises:
        InputError: the file is missing, no UTF-8, or a row has no ``text``.
    """
    if path.suffix == ".jsonl":
        for number, row in enumerate(jsonl.read(path, "corpus"), 1):
            if not isinstance(row.get("text"), str):
                raise InputError(
                    f"`text` must be text, found {shown(row.get('text'))}",
                    where=f"{path}, row {number}",
                    cause="rows of another kind, such as instructions",
                    fix="name documents: rows with `text`, or a plain text file",
                )
            yield from filter(str.strip, row["text"].splitlines())
        return
    with open_input(path, "corpus") as file:
        for number, line in jsonl.lines(file, str(path)):
            text = decoded(line, f"{path}:{number}").rstrip("\r\n")
            if text.strip():
                yield text


def place(text: str, seed: int, use: bytes) -> int:
    """Where a text falls in [0, 2⁶⁴) for one use of it; the same text always falls at the same place."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=seed.to_bytes(8), person=use).digest())


@dataclass(frozen=True)
class Corpus:
    """A corpus parted in two by hashes of its lines: some to train on, some to measure on."""

    path: Path
    held_out: tuple[str, ...]
    lines: int
    share: float  # of the other lines that are trained on
    seed: int

    def training(self) -> Iterator[str]:
        """Yield the lines to train on, none of which is held out."""
        held_out = frozenset(self.held_out)
        for text in lines_of(self.path):
            if text not in held_out and place(text, self.seed, b"train") < self.share * WHOLE:
                yield text


def part(path: Path, held_out: int, sentences: int, seed: int) -> Corpus:
    """Read a corpus once and part it.

    Args:
        held_out: Different lines to measure on.
        sentences: About how many lines to train on; 0: all others.

    Raises:
        InputError: fewer different lines than are to be held out twice over.
    """
    count = 0
    chosen: list[tuple[int, str]] = []  # the lines whose places are lowest, as a heap of the highest of them
    kept: set[str] = set()
    for text in tqdm(lines_of(path), desc="lines", unit="line", unit_scale=True, mininterval=1, delay=1):
        count += 1
        at = place(text, seed, b"held out")
        if text in kept or (len(chosen) == held_out and -chosen[0][0] <= at):
            continue
        kept.add(text)
        if len(chosen) < held_out:
            heapq.heappush(chosen, (-at, text))
        else:
            kept.discard(heapq.heappushpop(chosen, (-at, text))[1])
    if count < 2 * held_out or len(chosen) < held_out:
        raise InputError(
            f"{count} lines, of which {held_out} are to be held out",
            where=str(path),
            cause="a corpus that is far too small for a vocabulary",
            fix="name a larger corpus, or lower `held_out`",
        )
    share = min(1.0, sentences / max(1, count - held_out)) if sentences else 1.0
    return Corpus(path, tuple(text for _, text in sorted(chosen, reverse=True)), count, share, seed)


def train_pieces(
    corpus: Corpus, like: ModelProto, *, pieces: int, character_coverage: float, max_piece_chars: int
) -> tuple[ModelProto, int]:
    """Train a BPE model that takes text in as ``like`` does; returns it and the number of lines it was trained on.

    One thread, no sampling of its own, text as it stands (``identity``): the same pieces for the same lines.

    Raises:
        InputError: sentencepiece cannot make so many pieces of this corpus.
    """
    written, count = BytesIO(), 0

    def counted() -> Iterator[str]:
        nonlocal count
        for text in tqdm(corpus.training(), desc="training on", unit="line", unit_scale=True, mininterval=1, delay=1):
            count += 1
            yield text

    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=counted(),
            model_writer=written,
            model_type="bpe",
            vocab_size=pieces,
            hard_vocab_limit=False,
            character_coverage=character_coverage,
            max_sentencepiece_length=max_piece_chars,
            byte_fallback=False,  # the base has the bytes
            normalization_rule_name="identity",
            add_dummy_prefix=like.normalizer_spec.add_dummy_prefix,
            remove_extra_whitespaces=False,
            split_digits=like.trainer_spec.split_digits,
            max_sentence_length=1 << 20,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(
            f"sentencepiece makes no {pieces} pieces of it: {str(error).strip().splitlines()[-1][:200]}",
            where=str(corpus.path),
            cause="fewer pieces than the corpus has characters, or a corpus that is far too small",
            fix="raise `pieces`, lower `character_coverage`, or name a larger corpus",
        ) from None
    model = ModelProto()
    model.ParseFromString(written.getvalue())
    return model, count


def expanded(base: ModelProto, trained: ModelProto, pad_token: str) -> tuple[ModelProto, list[str]]:
    """The base's model with the pieces that it lacks behind its own; ids of the base stay.

    Args:
        pad_token: A control piece to put last, such as ``[PAD]``; empty: none.

    Returns:
        The model, and the new pieces without the pad, in the order of their ids.

    Raises:
        InputError: the base has a pad, or a piece of that name, already.
    """
    model = ModelProto()
    model.CopyFrom(base)
    known = {piece.piece for piece in base.pieces}
    if pad_token and (pad_token in known or base.trainer_spec.pad_id >= 0):
        has = pad_token if pad_token in known else base.pieces[base.trainer_spec.pad_id].piece
        raise InputError(
            f"pad_token {pad_token!r}, and the base has {has!r} already",
            where="vocabulary.pad_token",
            cause="a recipe meant for LLaMA, which has no pad",
            fix='set pad_token: "" for this base',
        )
    lowest = min(piece.score for piece in base.pieces if piece.type == NORMAL)
    new = [piece.piece for piece in trained.pieces if piece.type == NORMAL and piece.piece not in known]
    for number, text in enumerate(new, 1):
        model.pieces.add(piece=text, score=lowest - number, type=NORMAL)
    if pad_token:
        model.trainer_spec.pad_id = len(model.pieces)
        model.trainer_spec.pad_piece = pad_token
        model.pieces.add(piece=pad_token, score=0.0, type=CONTROL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model, new


def processor(model: ModelProto) -> sentencepiece.SentencePieceProcessor:
    """A model ready to encode."""
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString(deterministic=True))


def replaced_by(base: ModelProto, pieces: list[str]) -> list[list[int]]:
    """What the base writes instead of each piece: its ids for the piece's text as it stands inside a line."""
    inside = ModelProto()
    inside.CopyFrom(base)
    inside.normalizer_spec.add_dummy_prefix = False
    encode = processor(inside)
    return [encode.encode(text.replace(SPACE, " ")) for text in pieces]
