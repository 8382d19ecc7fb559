"""Candidates judged against a pool: what ``belle novelty`` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from belle import jsonl
from belle.data.rouge.deciding import decide
from belle.data.rouge.packed import pack
from belle.data.rouge.ranking import rank
from belle.data.rouge.tokens import tokens
from belle.errors import InputError


def novelty(*, pool: Path, candidates: Path, out: Path, threshold: float = 0.7) -> dict[str, int]:
    """Write a line for each candidate, in order: ``keep``, ``max_rouge_l``, ``most_similar``.

    ``keep`` says whether the ROUGE-L F1 of its instruction is below the threshold against every row of the pool and
    every candidate kept before it; ``max_rouge_l`` is the highest of these scores, ``most_similar`` the instruction of
    the first row that has it (null where no row shares a token).

    Args:
        pool, candidates: JSON Lines whose rows have an ``instruction``; the pool may be empty.
        threshold: over 0; 1 keeps all but rows of the same tokens, over 1 keeps everything.

    Returns:
        How many ``candidates`` there were, and how many were ``kept``.

    Raises:
        InputError: a row without the text, or a threshold out of range; nothing is written.
    """
    if not threshold > 0:
        raise InputError(f"must be over 0, found {threshold}", where="--threshold", fix="0.7 is usual")
    known = list(_instructions(pool, "rows of the pool"))
    texts = [*known, *_instructions(candidates, "candidates")]
    rows = pack(tokens(text) for text in tqdm(texts, desc="tokens", unit="row", mininterval=1, delay=1))
    keep, _ = decide(rows, len(known), threshold)
    with tqdm(total=len(texts) - len(known), desc="most similar", unit="row", mininterval=1, delay=1) as bar:
        scores, whom, _ = rank(rows, len(known), keep, top=1, done=bar.update)
    jsonl.write(
        out,
        (
            {
                "keep": bool(keep[len(known) + number]),
                "max_rouge_l": float(scores[number, 0]),
                "most_similar": texts[whom[number, 0]] if whom[number, 0] >= 0 else None,
            }
            for number in range(len(scores))
        ),
    )
    return {"candidates": len(scores), "kept": int(keep[len(known) :].sum())}


def _instructions(path: Path, what: str) -> Iterator[str]:
    for number, row in enumerate(jsonl.read(path, what), 1):
        text = row.get("instruction")
        if not isinstance(text, str):
            raise InputError(
                f"`instruction` must be text, found {'nothing' if text is None else repr(text)[:60]}",
                where=f"{path}, row {number}",
                cause="another schema",
                fix="give every row an `instruction`",
            )
        yield text
