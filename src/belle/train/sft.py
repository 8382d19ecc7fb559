"""Stage ``sft``: supervised fine-tuning of a causal language model on conversations, in full or by LoRA."""

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Unpack, overload

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from belle.errors import InputError
from belle.files import sha256_of
from belle.prompts import IGNORE, chat_template
from belle.train import folder, lora, quantised
from belle.train.attention import check_packable, choose
from belle.train.batches import Example
from belle.train.checkpoints import folder_digest
from belle.train.hardware import half_of
from belle.train.models import finish, load_base
from belle.train.packing import Packed, lay
from belle.train.settings import AdaptedSettings, own_settings
from belle.train.tokens import Tokens, key_of, tokenised
from belle.train.trainer import discard, prepare, train


def chosen(row_id: str, data_fraction: float) -> bool:
    """Whether a row is among the given share of the rows; by its id alone, so a larger share holds the smaller."""
    return key_of(row_id) < data_fraction * 2**64


class Rows(Sequence[Example]):
    """The rows that are trained, each cut to ``cutoff_len`` when it is asked for; ``lengths`` is int64 [R]."""

    def __init__(self, tokens: Tokens, data_fraction: float, cutoff_len: int) -> None:
        below = math.ceil(data_fraction * 2**64)
        taken = tokens.first_trained < cutoff_len
        if below < 2**64:
            taken &= tokens.keys < np.uint64(below)
        self.tokens = tokens
        self.starts = tokens.starts[taken]
        self.lengths = np.minimum(tokens.ends[taken] - self.starts, cutoff_len)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        begin = int(self.starts[at])
        row = slice(begin, begin + int(self.lengths[at]))
        ids = np.array(self.tokens.ids[row])
        return Example(ids, np.where(self.tokens.trained[row], ids, np.int32(IGNORE)))


def read_examples(
    data: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    data_fraction: float,
    prompt_format: str,
    cutoff_len: int,
    tokens: Path | None = None,
) -> Rows:
    """Encode the chosen rows; rows that have no answer left within ``cutoff_len`` teach nothing and are passed over.

    Args:
        tokens: Where tokenised rows are kept between runs; None keeps them for this one.

    Raises:
        InputError: a row is no conversation, or no row is left.
    """
    if tokens is None:
        with TemporaryDirectory() as here:  # what is mapped stays readable without its name
            whole = tokenised(data, tokenizer, prompt_format, Path(here))
    else:
        whole = tokenised(data, tokenizer, prompt_format, tokens)
    rows = Rows(whole, data_fraction, cutoff_len)
    if not len(rows):
        raise InputError(
            f"none of its {len(whole)} rows can be trained on",
            where=str(data),
            cause=f"an empty file, data_fraction {data_fraction}, or cutoff_len {cutoff_len} shorter than the prompts",
            fix="raise data_fraction or cutoff_len, or rebuild the data",
        )
    return rows


def sft(
    *,
    base: Path,
    data: Path,
    out: Path,
    checkpoints: Path,
    data_fraction: float,
    prompt_format: str,
    cutoff_len: int,
    num_train_epochs: float,
    packing: bool = False,
    attention: str = "sdpa",
    quantised_base: int = 0,
    tokens: Path | None = None,
    curve: Path | None = None,
    **how: Unpack[AdaptedSettings],
) -> None:
    """Fine-tune ``base`` on ``data`` as BELLE's SFT v2 does, and write a plain Hugging Face folder to ``out``.

    Uses the GPU where there is one, and every process of a torchrun. A run that was killed goes on from its last whole
    checkpoint, and ends with the same bytes on a CPU as a run that was not.

    Args:
        data: Training rows, JSON Lines, see ``records.turns``.
        checkpoints: Where a killed run finds its way back; removed at the end.
        data_fraction: Share of the rows in (0, 1], chosen by a hash of their ids.
        prompt_format: A name of ``prompts.PROMPT_FORMATS``; kept in the folder as its chat template.
        cutoff_len: Longest row in tokens; what is past it is cut off on the right.
        packing: Fill blocks of ``cutoff_len`` tokens with whole rows; a batch then counts blocks. No row sees another.
        attention: sdpa, flash_attention_2 or eager.
        quantised_base: 4 or 8 bits for the weights that adapters are trained on; they are merged into the whole ones.
        tokens: Where tokenised rows are kept between runs; None keeps them for this one.
        curve: Where to write the loss of each step; None does not.
        how: See ``settings.AdaptedSettings``. Adapters are merged, and kept in ``out/adapter``.

    Raises:
        InputError: the base or the data cannot be used, or this machine cannot do what the settings ask for.
        BelleError: the loss is NaN or infinite, or what came out breaks the contract of a model folder.
    """
    settings, adapters = own_settings(how, AdaptedSettings), lora.adapters_of(how)
    half = half_of(settings["bf16"], settings["fp16"])
    named = choose(attention, packing)
    quantised.check(quantised_base, adapters.r)
    prepare(settings["threads"], settings["seed"])
    model = load_base(base, half if adapters.r or settings["deepspeed"] else torch.float32, quantised_base)
    if packing:
        check_packable(model)
    if named != "sdpa":
        model.set_attn_implementation(named)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = chat_template(prompt_format)
    examples = read_examples(
        data, tokenizer, data_fraction=data_fraction, prompt_format=prompt_format, cutoff_len=cutoff_len, tokens=tokens
    )
    identity = {
        "stage": "sft",
        "data": [sha256_of(data), data_fraction, prompt_format, cutoff_len],
        "base": folder_digest(base),
        "lora": adapters.as_dict(),
        "how": [packing, attention, quantised_base],
    }
    expected = folder.count(model)
    trained = lora.attach(model, adapters) if adapters.r else model
    if packing:
        packed = Packed(examples, capacity=cutoff_len, epochs=num_train_epochs, seed=settings["seed"])
        trainer = train(
            trained, packed, settings, count=len(packed), checkpoints=checkpoints, identity=identity, collate=lay,
            order=range(len(packed)),
        )  # fmt: skip
    else:
        count = max(1, math.ceil(num_train_epochs * len(examples)))
        trainer = train(trained, examples, settings, count=count, checkpoints=checkpoints, identity=identity)
    finish(trainer, trained, tokenizer, base=base, out=out, dtype=half, expected=expected, curve=curve)
    discard(trainer)
