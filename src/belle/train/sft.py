"""Stage ``sft``: supervised fine-tuning of a causal language model on conversations, in full or by LoRA."""

import hashlib
import math
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from belle import jsonl
from belle.errors import InputError
from belle.files import atomic_folder, sha256_of
from belle.prompts import chat_template, encode
from belle.records import turns
from belle.train import folder, lora
from belle.train.batches import Example
from belle.train.checkpoints import folder_digest
from belle.train.scale import one_again, whole_weights
from belle.train.trainer import Settings, discard, prepare, train


def chosen(row_id: str, data_fraction: float) -> bool:
    """Whether a row is among the given share of the rows; by its id alone, so a larger share holds the smaller."""
    return int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8]) < data_fraction * 2**64


def read_examples(
    data: Path, tokenizer: PreTrainedTokenizerBase, *, data_fraction: float, prompt_format: str, cutoff_len: int
) -> list[Example]:
    """Encode the chosen rows; rows that have no answer left within ``cutoff_len`` teach nothing and are passed over.

    Raises:
        InputError: a row is no conversation, or no row is left.
    """
    examples = []
    count = 0
    for count, row in enumerate(jsonl.read(data, "training rows"), 1):
        where = f"{data}, row {count}"
        if not chosen(str(row.get("id", count)), data_fraction):
            continue
        example = Example.of(*encode(tokenizer, turns(row, where), cutoff_len, prompt_format))
        if example.trained:
            examples.append(example)
    if not examples:
        raise InputError(
            f"none of its {count} rows can be trained on",
            where=str(data),
            cause=f"an empty file, data_fraction {data_fraction}, or cutoff_len {cutoff_len} shorter than the prompts",
            fix="raise data_fraction or cutoff_len, or rebuild the data",
        )
    return examples


def load_base(base: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a model folder for training.

    Raises:
        InputError: it is no Hugging Face model folder.
    """
    if not (base / "config.json").is_file():
        raise InputError(
            "no config.json in it",
            where=str(base),
            cause="a wrong path, or a base that is not built or fetched yet",
            fix="build it with `snakemake`, or check its path",
        )
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype)


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
        deepspeed: Path of a DeepSpeed settings file, or "".
        save_steps: Optimizer steps between checkpoints.
        devices: How many devices the batch and its accumulation are meant for; on others accumulation changes.
        processes: How many processes train together; this is one of them.
        cpu: Whether to leave GPUs alone.

    Raises:
        InputError: the base or the data cannot be used.
        BelleError: the loss is NaN or infinite, or what came out breaks the contract of a model folder.
    """
    prepare(threads, seed)
    model = load_base(base, torch.bfloat16 if bf16 and (lora_r or deepspeed) else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = chat_template(prompt_format)
    examples = read_examples(
        data, tokenizer, data_fraction=data_fraction, prompt_format=prompt_format, cutoff_len=cutoff_len
    )
    settings = Settings(
        examples=max(1, math.ceil(num_train_epochs * len(examples))),
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
        devices=devices,
        processes=processes,
        cpu=cpu,
    )
    adapters = lora.Adapters(lora_r, lora_alpha, lora_dropout, tuple(sorted(lora_target_modules)))
    identity = {
        "stage": "sft",
        "data": [sha256_of(data), data_fraction, prompt_format, cutoff_len],
        "base": folder_digest(base),
        "lora": adapters.as_dict(),
        "deepspeed": sha256_of(Path(deepspeed)) if deepspeed else "",
    }
    expected = folder.count(model)
    trained = lora.attach(model, adapters) if lora_r else model
    trainer = train(trained, examples, settings, checkpoints=checkpoints, identity=identity)
    weights = whole_weights(trainer, trained)
    one_again()
    if trainer.is_world_process_zero():
        dtype = torch.bfloat16 if bf16 else torch.float32
        with atomic_folder(out) as unfinished:
            if lora_r:
                lora.write(trained, weights, unfinished / "adapter")
                folder.save(lora.merge(load_base(base, dtype), unfinished / "adapter"), tokenizer, unfinished)
            else:
                weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
                folder.save(model.to(dtype), tokenizer, unfinished, weights)
            if (base / "tokenizer.model").is_file():
                shutil.copyfile(base / "tokenizer.model", unfinished / "tokenizer.model")
            folder.check(unfinished, expected)
    discard(trainer)
