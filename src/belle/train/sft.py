"""Stage ``sft``: supervised fine-tuning of a causal language model on conversations, in full or by LoRA."""

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import overload

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from belle.errors import InputError
from belle.files import sha256_of
from belle.prompts import IGNORE, chat_template
from belle.train import folder, lora, quantised
from belle.train.attention import check_packable, choose
from belle.train.batches import Example, stack
from belle.train.checkpoints import folder_digest
from belle.train.hardware import half_of
from belle.train.models import finish, load_base
from belle.train.packing import Packed, lay
from belle.train.tokens import Tokens, key_of, tokenised
from belle.train.trainer import Settings, discard, prepare, train


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
    per_device_train_batch_size: int,
    gradient_accumulation_steps: int,
    num_train_epochs: float,
    learning_rate: float,
    lr_scheduler_type: str,
    warmup_ratio: float,
    weight_decay: float,
    adam_beta2: float,
    bf16: bool,
    gradient_checkpointing: bool,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    lora_target_modules: list[str],
    deepspeed: str,
    save_steps: int,
    threads: int,
    seed: int,
    packing: bool = False,
    group_by_length: bool = True,
    attention: str = "sdpa",
    fp16: bool = False,
    quantised_base: int = 0,
    lora_modules_to_save: Sequence[str] = (),
    tokens: Path | None = None,
    curve: Path | None = None,
    devices: int = 1,
    processes: int = 1,
    cpu: bool = False,
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
        adam_beta2: Decay of AdamW's second moment; upstream leaves it at 0.999.
        lora_r: Rank of the adapters; 0 trains every weight. Adapters are merged, and kept in ``out/adapter``.
        lora_modules_to_save: Modules that are trained as they are beside the adapters.
        deepspeed: Path of a DeepSpeed settings file, or "".
        save_steps: Optimizer steps between checkpoints.
        packing: Fill blocks of ``cutoff_len`` tokens with whole rows; a batch then counts blocks. No row sees another.
        group_by_length: Without packing, whether a batch holds rows of similar length.
        attention: sdpa, flash_attention_2 or eager.
        bf16, fp16: What to compute and write in; float32 where both are false.
        quantised_base: 4 or 8 bits for the weights that adapters are trained on; they are merged into the whole ones.
        tokens: Where tokenised rows are kept between runs; None keeps them for this one.
        curve: Where to write the loss of each step; None does not.
        devices: How many devices the batch and its accumulation are meant for; on others accumulation changes.
        processes: How many processes train together; this is one of them.
        cpu: Whether to leave GPUs alone.

    Raises:
        InputError: the base or the data cannot be used, or this machine cannot do what the settings ask for.
        BelleError: the loss is NaN or infinite, or what came out breaks the contract of a model folder.
    """
    half = half_of(bf16, fp16)
    named = choose(attention, packing)
    quantised.check(quantised_base, lora_r)
    prepare(threads, seed)
    model = load_base(base, half if lora_r or deepspeed else torch.float32, quantised_base)
    if packing:
        check_packable(model)
    if named != "sdpa":
        model.set_attn_implementation(named)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = chat_template(prompt_format)
    examples = read_examples(
        data, tokenizer, data_fraction=data_fraction, prompt_format=prompt_format, cutoff_len=cutoff_len, tokens=tokens
    )
    packed = Packed(examples, capacity=cutoff_len, epochs=num_train_epochs, seed=seed) if packing else None
    settings = Settings(
        examples=len(packed) if packed else max(1, math.ceil(num_train_epochs * len(examples))),
        per_device_train_batch_size=per_device_train_batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        learning_rate=learning_rate,
        lr_scheduler_type=lr_scheduler_type,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        adam_beta2=adam_beta2,
        bf16=bf16,
        gradient_checkpointing=gradient_checkpointing,
        deepspeed=deepspeed,
        save_steps=save_steps,
        threads=threads,
        seed=seed,
        fp16=fp16,
        group_by_length=group_by_length,
        devices=devices,
        processes=processes,
        cpu=cpu,
    )
    adapters = lora.Adapters(
        lora_r, lora_alpha, lora_dropout, tuple(sorted(lora_target_modules)), tuple(sorted(lora_modules_to_save))
    )
    identity = {
        "stage": "sft",
        "data": [sha256_of(data), data_fraction, prompt_format, cutoff_len],
        "base": folder_digest(base),
        "lora": adapters.as_dict(),
        "deepspeed": sha256_of(Path(deepspeed)) if deepspeed else "",
        "how": [packing, attention, quantised_base],
    }
    expected = folder.count(model)
    trained = lora.attach(model, adapters) if lora_r else model
    if packed:
        trainer = train(
            trained, packed, settings, checkpoints=checkpoints, identity=identity, collate=lay, order=range(len(packed))
        )
    else:
        trainer = train(trained, examples, settings, checkpoints=checkpoints, identity=identity, collate=stack)
    finish(
        trainer, trained, tokenizer, base=base, out=out, dtype=half, adapted=bool(lora_r), expected=expected
    )  # fmt: skip
    if curve and trainer.is_world_process_zero():
        trainer.curve.write(curve)
    discard(trainer)
