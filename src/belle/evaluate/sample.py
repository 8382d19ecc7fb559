"""Stage ``sample``: a model draws several answers to each of some training prompts, for pairs to be made of."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, set_seed

from belle import jsonl
from belle.errors import InputError
from belle.evaluate.answer import generate, load
from belle.files import sha256_of
from belle.records import class_name, turns
from belle.train.blocks import Blocks
from belle.train.checkpoints import folder_digest


def chosen(data: Path, rows: int, seed: int) -> list[jsonl.Row]:
    """``rows`` rows in the order of a hash of their questions, each question once: more rows in ``data`` move few.

    Returns:
        Rows of ``row`` (its id), ``question, class, std_answer``; of a conversation its first exchange.

    Raises:
        InputError: a row without an id or of another schema, or no rows.
    """

    def hashed() -> Iterator[tuple[bytes, jsonl.Row]]:
        for number, row in enumerate(jsonl.read(data, "training rows"), 1):
            where = f"{data}, row {number}"
            if not isinstance(row.get("id"), str) or not row["id"]:
                raise InputError(
                    f"`id` must be text, found {row.get('id')!r}",
                    where=where,
                    cause="rows that no stage of ours cleaned",
                    fix="give every row an id",
                )
            question, answer = turns(row, where)[:2]
            kind = row.get("class") or row.get("category") or ""
            digest = hashlib.sha256(f"{seed}\0{question.text}".encode()).digest()
            found = {
                "row": row["id"], "question": question.text,
                "class": class_name(kind) if isinstance(kind, str) else "", "std_answer": answer.text,
            }  # fmt: skip
            yield digest, found

    # The first of the rows with one question stands for all of them.
    distinct: dict[bytes, jsonl.Row] = {}
    last = b"\xff" * 33
    for digest, row in hashed():
        if digest <= last:
            distinct.setdefault(digest, row)
        if len(distinct) > 2 * rows:
            distinct = {digest: distinct[digest] for digest in sorted(distinct)[:rows]}
            last = max(distinct)
    if not distinct:
        raise InputError(
            "no rows in it", where=str(data), cause="a file that was not written to its end", fix="build it again"
        )
    return [distinct[digest] for digest in sorted(distinct)[:rows]]


def sample(
    *,
    model: Path,
    data: Path,
    out: Path,
    checkpoints: Path,
    name: str,
    rows: int,
    answers: int,
    max_new_tokens: int,
    batch_size: int,
    temperature: float,
    top_p: float,
    prompt_format: str,
    threads: int,
    seed: int,
) -> None:
    """Draw ``answers`` answers to each of ``rows`` training prompts, in the model's own chat template.

    Each batch has a seed of its own and is kept as soon as it is made, so that a killed run goes on where it was, with
    the same rows.

    Args:
        data: Training rows with ids, see ``records.turns``.
        out: JSON Lines of ``id`` (the row's, and which answer), ``row, question, class, std_answer, split, model,
            answer, stopped``: what ``judge`` takes.
        checkpoints: Where a killed run finds its way back; removed at the end.
        name: The model's name in the rows.
        prompt_format: A name of ``prompts.PROMPT_FORMATS`` for folders without a chat template; others keep theirs.

    Raises:
        InputError: the folder or the data cannot be used.
    """
    asked = chosen(data, rows, seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    loaded, tokenizer = load(model, prompt_format)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=True, temperature=temperature, top_p=top_p, top_k=0,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["question"]}], tokenize=False, add_generation_prompt=True
        )
        for row in asked
    ]
    # The longest first: a batch that does not fit into memory fails at once. All answers to a prompt lie together.
    order = sorted(range(len(asked)), key=lambda index: (-len(prompts[index]), index))
    drawn = [(index, number) for index in order for number in range(answers)]
    parts = list(enumerate(drawn[at : at + batch_size] for at in range(0, len(drawn), batch_size)))

    def make(part: tuple[int, list[tuple[int, int]]]) -> list[Any]:
        number, indices = part
        set_seed(int.from_bytes(hashlib.sha256(f"{seed}\0{number}".encode()).digest()[:4]))
        return generate(loaded, tokenizer, [prompts[index] for index, _ in indices], settings)

    identity = [
        "sample", sha256_of(data), folder_digest(model), rows, answers, max_new_tokens, batch_size, temperature, top_p,
        prompt_format, threads, seed,
    ]  # fmt: skip
    blocks = Blocks(checkpoints, identity)
    found: dict[tuple[int, int], tuple[str, bool]] = {}
    for (_, indices), texts in zip(parts, blocks.all(parts, make, "sample"), strict=True):
        found.update({index: (text, stopped) for index, (text, stopped) in zip(indices, texts, strict=True)})
    jsonl.write(
        out,
        (
            {
                "id": f"{row['row']}#{number}",
                **row,
                "split": "",
                "model": name,
                "answer": found[index, number][0],
                "stopped": found[index, number][1],
            }
            for index, row in enumerate(asked)
            for number in range(answers)
        ),
    )
    blocks.discard()
