"""Stage ``answer``: a model answers every question of an evaluation set."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from belle import jsonl
from belle.errors import InputError
from belle.prompts import chat_template
from belle.records import EvalRow, load_eval


def load(model: Path, prompt_format: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model folder, plain or quantised, for generation, with a tokenizer that pads on the left.

    Raises:
        InputError: it is no Hugging Face model folder.
    """
    if not (model / "config.json").is_file():
        raise InputError(
            "no config.json in it",
            where=str(model),
            cause="a wrong path, or a model that is not built yet",
            fix="build it with `snakemake`, or check its path",
        )
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    if not tokenizer.chat_template:
        tokenizer.chat_template = chat_template(prompt_format)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    on_gpu = torch.cuda.is_available()
    loaded = AutoModelForCausalLM.from_pretrained(
        model,
        dtype="auto" if on_gpu else torch.float32,
        device_map={"": 0} if on_gpu else None,
    )
    return loaded.eval(), tokenizer


def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], settings: GenerationConfig
) -> list[tuple[str, bool]]:
    """Answer one batch of prompts: the text, and whether the model ended it itself."""
    batch = tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        tokens = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=settings
        )
    answers = []
    for row in tokens[:, batch["input_ids"].shape[1] :].tolist():
        stopped = tokenizer.eos_token_id in row
        ids = row[: row.index(tokenizer.eos_token_id)] if stopped else row
        answers.append((tokenizer.decode(ids, skip_special_tokens=True).strip(), stopped))
    return answers


def answer(
    *,
    model: Path,
    questions: Path,
    out: Path,
    name: str,
    max_new_tokens: int,
    batch_size: int,
    do_sample: bool,
    temperature: float,
    top_p: float,
    prompt_format: str,
    threads: int,
    seed: int,
) -> None:
    """Answer every question in the model's own chat template and write one row a question, in the set's order.

    Args:
        model: Model folder, plain or GPTQ; on the GPU where there is one.
        name: The model's name in the rows.
        max_new_tokens: Longest answer in tokens.
        do_sample: Draw from the top ``top_p`` of the distribution at ``temperature``; else take the likeliest token.
        prompt_format: A name of ``prompts.PROMPT_FORMATS`` for folders without a chat template; others keep theirs.

    Raises:
        InputError: the folder or the evaluation set cannot be used.
    """
    rows = load_eval(questions)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    loaded, tokenizer = load(model, prompt_format)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=do_sample,
        temperature=temperature if do_sample else None,
        top_p=top_p if do_sample else None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row.question}], tokenize=False, add_generation_prompt=True
        )
        for row in rows
    ]
    # The longest first: a batch that does not fit into memory fails at once.
    order = sorted(range(len(rows)), key=lambda index: (-len(prompts[index]), index))
    answers: dict[int, tuple[str, bool]] = {}
    set_seed(seed)
    with tqdm(total=len(rows), desc="answer", unit="row", mininterval=1) as bar:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            answers.update(
                zip(indices, generate(loaded, tokenizer, [prompts[index] for index in indices], settings), strict=True)
            )
            bar.update(len(indices))
    jsonl.write(out, (_row(row, name, *answers[index]) for index, row in enumerate(rows)))


def _row(row: EvalRow, name: str, text: str, stopped: bool) -> jsonl.Row:
    return {
        "id": row.id,
        "question": row.question,
        "class": row.cls,
        "std_answer": row.std_answer,
        "split": row.split,
        "model": name,
        "answer": text,
        "stopped": stopped,
    }
