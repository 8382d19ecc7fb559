"""Stage ``base``: a tokenizer and a small LLaMA-shaped model, trained from nothing on one corpus."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from belle import jsonl
from belle.errors import InputError
from belle.files import atomic_folder, require_file, sha256_of
from belle.train import folder
from belle.train.batches import Example
from belle.train.settings import Settings
from belle.train.tokenizer import train_tokenizer
from belle.train.trainer import discard, prepare, train

CHECKPOINTS = 3
"""How often a base training saves on its way."""

INITIALIZER_RANGE = 0.04
"""Twice LLaMA's: its 0.02 is meant for widths in the thousands, and slows a width of a hundred."""


def read_corpus(path: Path) -> list[str]:
    """Read the texts of a corpus: the ``text`` of every row of a .jsonl file, every line of any other.

    Raises:
        InputError: the file is missing, a row has no ``text``, or there is no text at all.
    """
    if path.suffix == ".jsonl":
        texts = []
        for number, row in enumerate(jsonl.read(path, "corpus"), 1):
            if not isinstance(row.get("text"), str):
                raise InputError("`text` must be text", where=f"{path}, row {number}")
            texts.append(row["text"])
    else:
        texts = require_file(path, "corpus").read_text(encoding="utf-8").splitlines()
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError("no text in it", where=str(path), fix="give a corpus of at least a few hundred lines")
    return texts


def blocks(texts: list[str], tokenizer: PreTrainedTokenizerBase, context_length: int) -> list[Example]:
    """Put text + EOS end to end and cut it into blocks of ``context_length`` tokens, the rest dropped; all is trained.

    Follows BELLE's continued pretraining.

    Raises:
        InputError: the corpus is shorter than one block.
    """
    stream: list[int] = []
    for text in texts:
        stream += [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    cuts = range(0, len(stream) - context_length + 1, context_length)
    examples = [Example.of(stream[at : at + context_length], stream[at : at + context_length]) for at in cuts]
    if not examples:
        raise InputError(
            f"the corpus has {len(stream)} tokens, fewer than one block of {context_length}",
            where="base.context_length",
            fix="lower context_length or give a longer corpus",
        )
    return examples


def base(
    *,
    corpus: Path,
    out: Path,
    checkpoints: Path,
    vocab_size: int,
    hidden_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    intermediate_size: int,
    context_length: int,
    steps: int,
    per_device_train_batch_size: int,
    learning_rate: float,
    warmup_ratio: float,
    weight_decay: float,
    adam_beta2: float,
    threads: int,
    seed: int,
) -> None:
    """Train a tokenizer and a LLaMA model from nothing, and write them as a Hugging Face folder to ``out``.

    Args:
        corpus: Text, one document a line, or JSON Lines with ``text``.
        checkpoints: Where a killed run finds its way back; removed at the end.
        vocab_size: The most tokens that the tokenizer may have.
        hidden_size, intermediate_size: Multiples of GPTQ's group size, if the model is to be quantised.
        context_length: Tokens a block, and the longest that the model can read.
        steps: Optimizer steps.
        adam_beta2: Decay of AdamW's second moment; 0.98 learns sooner than 0.999 in runs of a few hundred steps.

    Raises:
        InputError: an empty or too short corpus, or sizes that do not fit each other.
        BelleError: the loss is NaN or infinite.
    """
    if hidden_size % (2 * num_attention_heads):
        raise InputError(
            f"hidden_size {hidden_size} does not part into {num_attention_heads} heads of even size",
            where="base",
            fix="make hidden_size a multiple of 2 × num_attention_heads",
        )
    prepare(threads, seed)
    texts = read_corpus(corpus)
    with atomic_folder(out) as unfinished:
        tokenizer = train_tokenizer(texts, unfinished, vocab_size)
        tokenizer.model_max_length = context_length
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden_size,
                intermediate_size=intermediate_size,
                num_hidden_layers=num_hidden_layers,
                num_attention_heads=num_attention_heads,
                num_key_value_heads=num_attention_heads,
                max_position_embeddings=context_length,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                initializer_range=INITIALIZER_RANGE,
                tie_word_embeddings=True,  # what it reads a character by, it writes it by: copying is learnt sooner
                dtype=torch.float32,
            )
        )
        settings = Settings(
            per_device_train_batch_size=per_device_train_batch_size,
            gradient_accumulation_steps=1,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_ratio=warmup_ratio,
            weight_decay=weight_decay,
            adam_beta2=adam_beta2,
            bf16=False,
            gradient_checkpointing=False,
            deepspeed="",
            save_steps=max(1, steps // CHECKPOINTS),
            threads=threads,
            seed=seed,
        )
        identity = {"stage": "base", "corpus": sha256_of(corpus), "model": model.config.to_dict()}
        trainer = train(
            model,
            blocks(texts, tokenizer, context_length),
            settings,
            count=steps * per_device_train_batch_size,
            checkpoints=checkpoints,
            identity=identity,
        )
        folder.save(model, tokenizer, unfinished)
        folder.check(unfinished, folder.count(model))
    discard(trainer)
