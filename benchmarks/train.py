"""Fine-tuning: useful tokens a second beside BELLE's padded batches and the plain Hugging Face Trainer; and tokenising.

One model (LLaMA-shaped, its output layer a sixth of the arithmetic, as BLOOM-7B's is), one set of rows whose answers
are log-normal in length, one process, one thread, all in turns. Useful tokens are those of rows, prompts and answers;
padding counts as nothing. Each peer sees every row once; times are the Trainer's own, without loading or tokenising.

- ours: blocks of 1,024 tokens by best fit, attention by row, logits where a label is
- BELLE: random order, padded to the longest of a batch and to a multiple of 8, logits everywhere. Its published run has
  two rows on each of eight devices, which reduce their gradients after every batch (ZeRO-2 does so within a step, too)
  and so wait for the longest of 16 rows: `belle_16`, one batch of 16, takes what the eight take together. `belle` is
  one device alone, two rows a batch and four batches a step, which waits for nobody
- trainer: the Trainer's defaults: random order, eight rows a batch, padded to the longest

Tokenising: rows of a file to token ids and labels, ours kept on the disk; BELLE's loop over turns with the same fast
tokenizer, alone and inside `datasets`' map as upstream runs it.

    python benchmarks/train.py --out benchmarks/results/train.json
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import datasets
import numpy as np
import torch
from common import publish, row
from rows import ASKS, TOPICS, sentence, write
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)  # fmt: skip

from belle import jsonl
from belle.prompts import IGNORE, prompt
from belle.records import turns
from belle.train.attention import BY_ROW
from belle.train.packing import Packed, best_fit, lay
from belle.train.settings import Settings
from belle.train.sft import read_examples
from belle.train.trainer import prepare, train

CUTOFF = 1024
VOCABULARY = 3000


def made(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one exchange or several; the tokens of a row are 165 in the mean, from 20 to over a thousand."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        talk = []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            ask = rng.choice(ASKS).format(topic=rng.choice(TOPICS), other=rng.choice(TOPICS), n=rng.randint(3, 200))
            answer, wanted = "", rng.lognormvariate(np.log(90), 1.0)
            while len(answer) < wanted:
                answer += sentence(rng)
            talk += [{"from": "human", "value": ask}, {"from": "assistant", "value": answer[: max(4, int(wanted))]}]
        found.append({"id": f"r-{number}", "conversations": talk})
    return found


def tokenizer_of(rows: list[dict[str, Any]]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of ``VOCABULARY`` tokens trained on some of the rows."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<pad>", "</s>"], show_progress=False)
    plain.train_from_iterator((prompt(turn["value"]) for one in rows for turn in one["conversations"]), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=plain, **{"eos_token": "</s>", "pad_token": "<pad>"})


def model(attention: str) -> LlamaForCausalLM:
    """The same random weights each time."""
    torch.manual_seed(0)
    return LlamaForCausalLM._from_config(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4,
            max_position_embeddings=CUTOFF,
        ),
        attn_implementation=attention,
    )  # fmt: skip


def belle_row(one: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """One row as BELLE's SFT v2 encodes it: a call of the tokenizer for each turn, lists put together."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in one["conversations"]:
        if turn["from"] == "human":
            part = tokenizer.encode(f"Human: \n{turn['value']}\n\nAssistant: \n", add_special_tokens=False)
            labels += [IGNORE] * len(part)
        else:
            part = [*tokenizer.encode(turn["value"], add_special_tokens=False), tokenizer.eos_token_id]
            labels += part
        ids += part
    return {
        "input_ids": ids[:CUTOFF], "attention_mask": [1] * len(ids[:CUTOFF]), "labels": labels[:CUTOFF],
    }  # fmt: skip


def ours(examples: Any, folder: Path) -> float:
    """Seconds of one epoch, packed."""
    prepare(1, 7)
    packed = Packed(examples, capacity=CUTOFF, epochs=1, seed=7)
    settings = Settings(
        per_device_train_batch_size=2, gradient_accumulation_steps=1, learning_rate=1e-4,
        lr_scheduler_type="constant", warmup_ratio=0.0, weight_decay=0.0, adam_beta2=0.999, bf16=False,
        gradient_checkpointing=False, deepspeed="", save_steps=10**6, threads=1, seed=7,
    )  # fmt: skip
    trainer = train(
        model(BY_ROW), packed, settings, count=len(packed), checkpoints=folder / "ours",
        identity={"at": time.time()}, collate=lay, order=range(len(packed)),
    )  # fmt: skip
    return float(trainer.state.log_history[-1]["train_runtime"])


def padded(
    rows: list[dict[str, list[int]]], tokenizer: Any, folder: Path, batch: int, steps: int, multiple: int | None
) -> float:
    """Seconds of one epoch by the Hugging Face Trainer, in padded batches of a random order."""
    prepare(1, 7)
    arguments = TrainingArguments(
        output_dir=str(folder / "peer"), per_device_train_batch_size=batch, gradient_accumulation_steps=steps,
        num_train_epochs=1, learning_rate=1e-4, lr_scheduler_type="constant", save_strategy="no", report_to="none",
        use_cpu=True, seed=7, disable_tqdm=True, dataloader_pin_memory=False, logging_strategy="no",
    )  # fmt: skip
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True, pad_to_multiple_of=multiple, return_tensors="pt")
    trainer = Trainer(
        model=model("sdpa"), args=arguments, train_dataset=datasets.Dataset.from_list(rows), data_collator=collator
    )
    return float(trainer.train().metrics["train_runtime"])


def training(count: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Useful tokens a second of each, in turns."""
    rows = made(count, 1)
    tokenizer = tokenizer_of(rows)
    write(folder / "rows.jsonl", iter(rows))
    examples = read_examples(
        folder / "rows.jsonl", tokenizer, data_fraction=1.0, prompt_format="belle", cutoff_len=CUTOFF
    )
    encoded = [belle_row(one, tokenizer) for one in rows]
    assert [one["input_ids"] for one in encoded] == [one.input_ids.tolist() for one in examples]
    tokens = int(examples.lengths.sum())
    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(examples, folder),
        "belle": lambda: padded(encoded, tokenizer, folder, 2, 4, 8),
        "belle_16": lambda: padded(encoded, tokenizer, folder, 16, 1, 8),
        "trainer": lambda: padded(encoded, tokenizer, folder, 8, 1, None),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(run() / tokens * 1e6)
    return [
        row(
            f"{count} rows, {tokens} tokens, beside {name}", taken["ours"], taken[name], "µs a useful token",
            tokens_per_second={key: round(1e6 / float(np.median(taken[key]))) for key in ("ours", name)},
            model="LLaMA-shaped, 6 layers, hidden 192, vocabulary 3000", cutoff_len=CUTOFF,
        )
        for name in ("belle", "belle_16", "trainer")
    ]  # fmt: skip


def tokenising(count: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Microseconds a row, from a file to ids and labels."""
    rows = made(count, 2)
    path = folder / "many.jsonl"
    write(path, iter(rows))
    tokenizer = tokenizer_of(rows[:1000])
    whole = {"data_fraction": 1.0, "prompt_format": "belle", "cutoff_len": CUTOFF}

    def cached() -> None:
        with tempfile.TemporaryDirectory() as cache:
            read_examples(path, tokenizer, tokens=Path(cache), **whole)

    def loop() -> None:
        _ = [belle_row(one, tokenizer) for one in jsonl.read(path) if turns(one, "")]

    def mapped() -> None:
        read = datasets.Dataset.from_list(list(jsonl.read(path)))
        read.map(lambda one: belle_row(one, tokenizer), load_from_cache_file=False, remove_columns=read.column_names)

    datasets.disable_progress_bars()
    taken: dict[str, list[float]] = {"ours": [], "loop": [], "map": []}
    for _ in range(rounds):
        for name, run in (("ours", cached), ("loop", loop), ("map", mapped)):
            begin = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - begin) / count * 1e6)
    return [
        row(f"tokenising {count} rows, beside {name}", taken["ours"], taken[peer], "µs a row")
        for name, peer in (("BELLE's loop", "loop"), ("BELLE's loop in datasets.map", "map"))
    ]


def packing(count: int, folder: Path) -> dict[str, Any]:
    """The share of room that packing leaves, and what it takes."""
    rows = made(2000, 3)
    write(folder / "some.jsonl", iter(rows))
    some = read_examples(
        folder / "some.jsonl", tokenizer_of(rows), data_fraction=1.0, prompt_format="belle", cutoff_len=CUTOFF
    ).lengths
    lengths = np.random.default_rng(1).choice(some, count)
    begin = time.perf_counter()
    blocks = best_fit(lengths, CUTOFF, 1)
    seconds = time.perf_counter() - begin
    assert sorted(at for block in blocks for at in block) == list(range(count))
    found: dict[str, Any] = {
        "name": f"packing {count} rows into blocks of {CUTOFF}",
        "waste": round(1 - lengths.sum() / len(blocks) / CUTOFF, 5),
        "rows_cut": 0,
        "us_per_row": round(seconds / count * 1e6, 2),
        "tokens_a_row": {"mean": round(float(lengths.mean()), 1)},
    }
    found["tokens_a_row"] |= {f"{at}%": int(np.percentile(lengths, at)) for at in (5, 50, 95)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=192, help="of the training")
    parser.add_argument("--tokenised", type=int, default=10_000, help="rows that are tokenised")
    parser.add_argument("--packed", type=int, default=200_000, help="rows that are packed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the JSON goes; without it, it is printed only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = [packing(args.packed, folder), *tokenising(args.tokenised, args.rounds, folder)]
        found += training(args.rows, args.rounds, folder)
    publish(found, args.out)


if __name__ == "__main__":
    main()
