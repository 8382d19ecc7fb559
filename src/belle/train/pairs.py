"""Pairs of answers to one prompt, the better one first: read, checked, encoded, split and stacked."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from belle import jsonl
from belle.errors import InputError, shown
from belle.files import atomic_file, sha256_of
from belle.prompts import IGNORE, prompt
from belle.train.batches import Example, stack
from belle.train.settings import PairSettings

FIELDS = ("id", "prompt", "chosen", "rejected", "row", "chosen_score", "rejected_score", "samples", "requests")
"""What a row of pairs may hold: the first four are read, the others say where it comes from."""

PROMPT_TOO_LONG, SAME_WHEN_CUT = "prompt_too_long", "same_when_cut"
"""Why a pair is passed over."""


@dataclass(frozen=True)
class Preference:
    """A prompt and two answers to it, as text; ``where`` is its place for messages."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    where: str


@dataclass(frozen=True, eq=False)
class Pair:
    """Two sequences that begin with the same ``prompt`` tokens: ``chosen`` and ``rejected``, both int32 [T].

    ``reference`` holds the log-probabilities of both answers under the base, where a loss needs them. A pair that
    is not ``counted`` only fills a batch.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    prompt: int
    reference: tuple[float, float] = (0.0, 0.0)
    counted: bool = True

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


def load_pairs(path: Path, *, prompts: bool = True) -> list[Preference]:
    """Load pairs of answers: ``prompt, chosen, rejected`` and perhaps ``id``, JSON Lines.

    Args:
        prompts: Whether every row must have a prompt. BELLE's files for reward models have whole texts instead.

    Raises:
        InputError: a text is missing, empty or of the wrong type, both answers are the same, a field is not known, an
            id comes twice, or the file is empty.
    """
    found: dict[str, Preference] = {}
    for number, row in enumerate(jsonl.read(path, "pairs"), 1):
        where = f"{path}, row {number}"
        if unknown := [key for key in row if key not in FIELDS]:
            raise InputError(
                f"unknown field {unknown[0]!r}",
                where=where,
                cause="pairs of another schema, such as a list of messages or several rejected answers",
                fix="name the fields prompt, chosen and rejected, and leave others out",
            )
        texts = {key: _text(row, key, where) for key in ("chosen", "rejected")}
        question = _text(row, "prompt", where) if prompts or "prompt" in row else ""
        if texts["chosen"].strip() == texts["rejected"].strip():
            raise InputError(
                f"`chosen` and `rejected` are the same: {shown(texts['chosen'], 30)}",
                where=where,
                cause="answers that differ in spaces only, or a row that was filled from one column",
                fix="take the row out: it says nothing about which is better",
            )
        made_of = hashlib.sha256(jsonl.canonical([question, texts["chosen"], texts["rejected"]])).hexdigest()[:12]
        id_ = row.get("id", f"p-{made_of}")
        if not isinstance(id_, str) or not id_:
            raise InputError(f"`id` must be text, found {shown(id_)}", where=where, fix="write ids in quotes")
        if id_ in found:
            raise InputError(
                f"`id`: {shown(id_)} comes twice, first in {found[id_].where.rpartition(', ')[2]}",
                where=where,
                cause="two files put together, or a row that was copied",
                fix="leave one of them, or give it its own id",
            )
        found[id_] = Preference(id_, question, texts["chosen"], texts["rejected"], where)
    if not found:
        raise InputError(
            "no pairs in it",
            where=str(path),
            cause="a file that was not written to its end, or a judge that preferred no answer",
            fix="write it again; for judged pairs look at the report beside it",
        )
    return list(found.values())


def _text(row: jsonl.Row, key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        found = "nothing" if value is None else shown(value)
        raise InputError(
            f"`{key}` must be text that is not empty, found {found}",
            where=where,
            cause="a row that was filled in part, or another schema",
            fix=f"give every row a `{key}`",
        )
    return value


def encode_pairs(
    preferences: Sequence[Preference],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_format: str,
    max_length: int,
    max_prompt_length: int,
) -> tuple[list[Preference], list[Pair], Counter[str]]:
    """Turn pairs into tokens: the prompt in its format, an answer, EOS; cut on the right at ``max_length``.

    A pair whose prompt has over ``max_prompt_length`` tokens, or whose answers are equal once they are cut, would teach
    something that nobody said: it is passed over and counted.

    Returns:
        The preferences that are left, their pairs, and how many were passed over by reason.

    Raises:
        InputError: none is left.
    """
    kept, pairs, passed = list[Preference](), list[Pair](), Counter[str]()
    eos = tokenizer.eos_token_id
    for preference in preferences:
        asked = prompt(preference.prompt, prompt_format) if preference.prompt else ""
        ids = tokenizer.encode(asked, add_special_tokens=False)
        if len(ids) > max_prompt_length:
            passed[PROMPT_TOO_LONG] += 1
            continue
        chosen, rejected = (
            [*ids, *tokenizer.encode(text, add_special_tokens=False), eos][:max_length]
            for text in (preference.chosen, preference.rejected)
        )
        if chosen == rejected:
            passed[SAME_WHEN_CUT] += 1
            continue
        kept.append(preference)
        pairs.append(Pair(np.array(chosen, dtype=np.int32), np.array(rejected, dtype=np.int32), len(ids)))
    if not pairs:
        first = preferences[0].where.rpartition(", ")[0]
        raise InputError(
            f"none of its {len(preferences)} pairs can be trained on: {passed[PROMPT_TOO_LONG]} prompts have over "
            f"{max_prompt_length} tokens, {passed[SAME_WHEN_CUT]} pairs are equal in their first {max_length}",
            where=first,
            cause="max_prompt_length or max_length meant for shorter texts",
            fix="raise max_prompt_length and max_length",
        )
    return kept, pairs, passed


def is_held_out(preferences: Sequence[Preference], share: float, seed: int) -> list[bool]:
    """Which pairs are kept from training: by a hash of the prompt, so that one prompt is on one side only."""

    def number(preference: Preference) -> float:
        text = preference.prompt or preference.chosen
        # Not the hash that chose the prompts: the chosen ones have its lowest values.
        return int.from_bytes(hashlib.sha256(f"held out\0{seed}\0{text}".encode()).digest()[:8]) / 2**64

    return [number(preference) < share for preference in preferences]


def stack_pairs(pairs: Sequence[Pair], pad: int) -> dict[str, torch.Tensor]:
    """Stack pairs, padded on the right with ``pad``: all chosen sequences, then all rejected ones.

    Returns (B pairs, L the longest sequence, K positions at which any sequence has an answer's token to predict):
        input_ids, attention_mask, labels [2B, L]; logits_to_keep [K]; shift_labels [2B, K]; reference [2, B];
        counted [B].
    """

    def example(sequence: np.ndarray, prompt: int) -> Example:
        return Example(sequence, np.where(np.arange(len(sequence)) < prompt, np.int32(IGNORE), sequence))

    examples = [example(pair.chosen, pair.prompt) for pair in pairs]
    examples += [example(pair.rejected, pair.prompt) for pair in pairs]
    return {
        **stack(examples, pad),
        "reference": torch.tensor([pair.reference for pair in pairs], dtype=torch.float32).T.contiguous(),
        "counted": torch.tensor([pair.counted for pair in pairs]),
    }


def mean_counted(values: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """The mean of ``values`` [B] over the pairs that count, bool [B], or all; 0 where none does."""
    if counted is None:
        return values.mean()
    return (values * counted).sum() / counted.sum().clamp(min=1)


def by_length(pairs: Sequence[Pair], batch_size: int) -> list[list[int]]:
    """Batches of similar length, the longest first, for a pass without training."""
    order = sorted(range(len(pairs)), key=lambda index: (-len(pairs[index]), index))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def padding_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token to pad with: the tokenizer's own; else LLaMA's unknown token, as Alpaca and BELLE do; else EOS.

    A reward model reads the last token that is not padding, so a token that ends texts would be passed over.
    """
    for token in (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError("the tokenizer has no token to pad with", where="tokenizer", fix="give it a pad_token")


@dataclass(frozen=True)
class Parted:
    """The pairs of one file: those to train on and those held out, and how many were passed over by reason."""

    taught: list[Pair]
    kept: list[Pair]
    passed: Counter[str]

    def report(self, path: Path, found: dict[str, Any]) -> None:
        """Write how many there were, and what was found on those held out, as JSON."""
        passed = {reason: self.passed[reason] for reason in (PROMPT_TOO_LONG, SAME_WHEN_CUT)}
        with atomic_file(path) as file:
            summary = {"trained_on": len(self.taught), "passed_over": passed, **found}
            file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def parted(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    how: PairSettings,
    *,
    prompts: bool = True,
    refer: Callable[[list[Pair]], list[Pair]] = list,
) -> Parted:
    """Load the pairs of a file, encode them, and part those to train on from those held out.

    Args:
        prompts: See ``load_pairs``.
        refer: Gives the encoded pairs their reference, where a loss needs it.

    Raises:
        InputError: a row is no pair, there is none to train on, or none held out where a share was asked for.
    """
    preferences, encoded, passed = encode_pairs(
        load_pairs(path, prompts=prompts), tokenizer, prompt_format=how["prompt_format"],
        max_length=how["max_length"], max_prompt_length=how["max_prompt_length"],
    )  # fmt: skip
    apart = is_held_out(preferences, how["held_out"], how["seed"])
    encoded = refer(encoded)
    taught = [pair for pair, out in zip(encoded, apart, strict=True) if not out]
    kept = [pair for pair, out in zip(encoded, apart, strict=True) if out]
    if not taught or (how["held_out"] and not kept):
        raise InputError(
            f"{len(taught)} pairs to train on and {len(kept)} held out",
            where=str(path),
            cause=f"too few prompts for held_out {how['held_out']:g}",
            fix="ask for more pairs, or change held_out",
        )
    return Parted(taught, kept, passed)


def identity_of(path: Path, how: PairSettings) -> list[Any]:
    """What the pairs of a run are, for its checkpoints."""
    return [sha256_of(path), how["prompt_format"], how["max_length"], how["max_prompt_length"], how["held_out"]]
