"""Stage ``vocabulary``: a base model reads and writes a corpus with fewer tokens."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer

from belle import jsonl
from belle.errors import BelleError, InputError, shown
from belle.files import atomic_file, atomic_folder
from belle.weights import hf
from belle.weights.hf import EMBEDDINGS, HEAD, HFModel
from belle.weights.memory import PROCESS, check_memory
from belle.weights.pieces import Corpus, expanded, part, processor, replaced_by, train_pieces
from belle.weights.shards import Planned, write_shards
from belle.weights.target import check_space, check_target
from belle.weights.tensors import Spec
from belle.weights.tokenizer import (
    BYTE,
    FILE,
    fast_tokenizer,
    read_model,
    special,
    tokens_of,
    write_model,
    write_tokenizer,
)

HARD = (
    "", " ", "  ", " 你好", "你好 ", "你 好　世界", "a\tb\nc\r\n", "Hello, world! 12,345.67", "🙂👨‍👩‍👧🇨🇳", "㐂𠮷",
    "中文English混排，2023年3月。", "哈哈哈哈哈哈哈", "……——“”", "www.example.com/路径?q=1", "▁ ▁▁", "\u200b\ufeff",
    "\u00a0", "a  b   c    ", "ああ、안녕", "é e\u0301", "\x00\x07",
)  # fmt: skip
"""What tokenizers disagree about, if they do: spaces, emoji, rare characters, runs, signs of sentencepiece's own."""


def vocabulary(
    *,
    base: Path,
    text: Path,
    out: Path,
    report: Path,
    page: Path,
    pieces: int,
    character_coverage: float,
    max_piece_chars: int,
    sentences: int,
    held_out: int,
    pad_token: str,
    max_shard_gb: float,
    seed: int,
) -> None:
    """Train pieces on ``text``, put those that the base lacks behind its own, and write the base with them.

    A new token's embedding (and its row of the head, where that is not tied) is the mean of those of the tokens that
    the base wrote instead. Old tokens keep ids, scores and rows. The sentencepiece file and the fast
    tokenizer write the same ids: they are compared on the held-out lines and on hard ones before anything is kept.

    Args:
        text: Documents, JSON Lines with ``text``, or plain lines.
        report, page: What it brings in tokens, as JSON and in Markdown.
        pieces: Pieces to train, sentencepiece's ``vocab_size``; those that the base has already are not added.
        character_coverage: Share of the characters in the corpus that get pieces; the others stay bytes.
        max_piece_chars: Characters of the longest piece.
        sentences: Lines to train on, about, chosen by their hashes; 0: all.
        held_out: Lines that are not trained on, to measure with.
        pad_token: A token to add for padding, as Chinese-Alpaca's ``[PAD]``; empty where the base has one.
        max_shard_gb: Size of a safetensors file at most, 10⁹ bytes.

    Raises:
        InputError: a base whose tokenizer is no sentencepiece BPE or does not fit its embeddings; a corpus that is
            missing or too small.
        BelleError: the two tokenizers differ, too little memory or disk, NaN or infinity in the base.
    """
    torch.set_num_threads(1)
    model, old = _base(base)
    before = hf_rows(model)
    check_target(out, sources=[base])
    check_space(out, model.tensors.bytes + 4 * (pieces + 1) * model.tensors.specs[EMBEDDINGS].shape[1])
    corpus = part(text, held_out, sentences, seed)
    trained, used = train_pieces(
        corpus, old, pieces=pieces, character_coverage=character_coverage, max_piece_chars=max_piece_chars
    )
    new_model, new = expanded(old, trained, pad_token)
    if not new:
        raise InputError(
            f"none of the {len(trained.pieces)} pieces is new to the base",
            where=str(text), cause="a corpus in the base's own language, or too few pieces",
            fix="raise `pieces`, or name another corpus",
        )  # fmt: skip
    split = replaced_by(old, new)
    planned = list(_planned(model, split, bool(pad_token)))
    check_memory(PROCESS + max(2 * item.spec.bytes for item in planned), "vocabulary")
    fast = fast_tokenizer(new_model)
    _check_alike(new_model, fast, corpus)
    with atomic_folder(out) as folder:
        pad = {"pad_token_id": new_model.trainer_spec.pad_id} if pad_token else {}
        hf.write_config(folder, {**model.config, "vocab_size": len(new_model.pieces), **pad})
        hf.copy_generation_config(base, folder, **pad)
        write_model(new_model, folder)
        write_tokenizer(fast, special(new_model), folder, longest=model.longest, before=base)
        write_shards(folder, planned, max_shard_gb, "vocabulary")
        if tokens_of(folder) != len(new_model.pieces):
            raise BelleError(f"{tokens_of(folder)} tokens where {len(new_model.pieces)} were made", where=str(out))
    found = _report(old, new_model, trained, new, split, corpus, used, before)
    with atomic_file(report) as file:
        file.write(jsonl.dumps(found) + "\n")
    with atomic_file(page) as file:
        file.write(markdown(found, out.name))


def hf_rows(model: HFModel) -> int:
    """How many tokens a model's embeddings hold."""
    return model.tensors.specs[EMBEDDINGS].shape[0]


def _base(folder: Path) -> tuple[HFModel, ModelProto]:
    """The base and its sentencepiece model, which must go together."""
    model = HFModel(folder)
    if not (folder / FILE).is_file():
        raise InputError(
            f"no {FILE} in it: its vocabulary is no sentencepiece model",
            where=str(folder),
            cause="a base of another family (BLOOM's tokenizer works on bytes, and has Chinese in it already)",
            fix="take a LLaMA-shaped base",
        )
    pieces = read_model(folder / FILE)
    if EMBEDDINGS not in model.tensors:
        raise InputError(
            f"no {EMBEDDINGS} in it", where=str(folder), cause="another architecture than LLaMA", fix="take a LLaMA"
        )
    count, tokens, rows = len(pieces.pieces), tokens_of(folder), hf_rows(model)
    if tokens not in (count, None) or rows != count:
        raise InputError(
            f"{FILE} has {count:,} pieces, the tokenizer {tokens:,} tokens, the embeddings have {rows:,} rows",
            where=str(folder),
            cause="tokens that were added beside the sentencepiece model, or the tokenizer of another model",
            fix="take the base as it was before tokens were added; `pad_token` adds a pad",
        )
    return model, pieces


def _planned(model: HFModel, split: list[list[int]], pad: bool) -> list[Planned]:
    planned = []
    for name, spec in model.tensors.specs.items():
        if name == HEAD and model.tied:
            continue
        if name in (EMBEDDINGS, HEAD):
            shape = (spec.shape[0] + len(split) + pad, *spec.shape[1:])
            make = partial(grown, model, name, split, pad)
            planned.append(Planned(name, Spec(spec.dtype, shape), make))
        else:
            planned.append(Planned(name, spec, partial(model.tensors.get, name)))
    return planned


def grown(model: HFModel, name: str, split: list[list[int]], pad: bool) -> torch.Tensor:
    """A matrix [V, D] with rows behind its own: for each new token the mean of those in ``split``, for a pad of all."""
    old = model.tensors.get(name)
    count = old.shape[0]
    new = torch.empty(count + len(split) + pad, old.shape[1], dtype=old.dtype)
    new[:count] = old
    for at, ids in enumerate(split, count):
        new[at] = old[ids].float().mean(0).to(old.dtype)
    if pad:
        new[-1] = torch.stack([block.float().sum(0) for block in old.split(1024)]).sum(0).div(count).to(old.dtype)
    return new


def _check_alike(model: ModelProto, fast: Tokenizer, corpus: Corpus) -> None:
    slow = processor(model)
    for text in (*HARD, *corpus.held_out):
        one, other = slow.encode(text), fast.encode(text, add_special_tokens=False).ids
        if one != other:
            raise BelleError(
                f"sentencepiece writes {shown(text, 30)} as {one[:8]}…, the fast tokenizer as {other[:8]}…",
                where="vocabulary",
                cause="a base whose pieces have equal scores, or user-defined pieces",
                fix="open an issue with the base's name; nothing was kept",
            )


def measured(model: ModelProto, lines: tuple[str, ...]) -> dict[str, Any]:
    """What lines take in tokens."""
    encode, bytes_ = processor(model), {i for i, piece in enumerate(model.pieces) if piece.type == BYTE}
    written = encode.encode(list(lines))
    tokens, characters = sum(map(len, written)), sum(map(len, lines))
    return {
        "tokens": tokens,
        "tokens_a_character": round(tokens / characters, 4),
        "tokens_a_line": round(tokens / len(lines), 2),
        "byte_tokens": sum(token in bytes_ for ids in written for token in ids),
    }


def _report(
    old: ModelProto, model: ModelProto, trained: ModelProto, new: list[str], split: list[list[int]], corpus: Corpus,
    used: int, before: int,
) -> dict[str, Any]:  # fmt: skip
    encode, first = replaced_by(model, new), len(old.pieces)
    ordered = sorted(new, key=lambda text: (-len(text), text))
    return {
        "pieces": {
            "base": before,
            "trained": len(trained.pieces),
            "new": len(new),
            "pad": len(model.pieces) - before - len(new),
            "total": len(model.pieces),
            "new_single_characters": sum(len(text) == 1 for text in new),
            "never_written": sum(ids != [first + at] for at, ids in enumerate(encode)),
            "replaced_tokens_mean": round(sum(map(len, split)) / len(split), 3),
            "longest": ordered[:10],
        },
        "corpus": {"lines": corpus.lines, "trained_on": used, "held_out": len(corpus.held_out)},
        "held_out": {
            "lines": len(corpus.held_out),
            "characters": sum(map(len, corpus.held_out)),
            "before": measured(old, corpus.held_out),
            "after": measured(model, corpus.held_out),
        },
    }


def markdown(found: dict[str, Any], name: str) -> str:
    """The report as a page."""
    pieces, lines = found["pieces"], found["held_out"]
    rows = [
        f"| {label} | {tokens:,} | {at['tokens_a_character']:.3f} | {at['tokens_a_line']:.1f} | {at['byte_tokens']:,} |"
        for label, tokens, at in (
            ("base", pieces["base"], lines["before"]),
            (name, pieces["total"], lines["after"]),
        )
    ]
    return "\n".join(
        [
            f"# The vocabulary of {name}",
            "",
            f"{pieces['trained']:,} pieces were trained on {found['corpus']['trained_on']:,} lines; {pieces['new']:,} "
            f"of them are new to the base ({pieces['new_single_characters']:,} single characters), and "
            f"{pieces['never_written']:,} of these are never written, for the base's own merges come first. Each takes "
            f"the place of {pieces['replaced_tokens_mean']:.2f} tokens on the average.",
            "",
            f"On {lines['lines']:,} lines ({lines['characters']:,} characters) that were not trained on:",
            "",
            "| model | vocabulary | tokens a character | tokens a line | tokens that are bytes |",
            "|---|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )
