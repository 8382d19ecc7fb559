"""The row types that travel the chain, and their loaders.

A row's id survives from the paid reply to the table: seed id → request digest → raw row → clean row → shard.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle import jsonl
from belle.errors import InputError

INSTRUCTION_CLASSES = (
    "math", "code", "cot", "classification", "extract", "rewrite",
    "open qa", "closed qa", "generation", "brainstorming", "translation", "summarization",
)  # fmt: skip
"""The 12 instruction classes of arXiv 2303.14742, in its order."""


@dataclass(frozen=True)
class SeedTask:
    """One seed task in BELLE's schema; only the first instance is used as a shot."""

    id: str
    name: str
    instruction: str
    input: str
    output: str
    is_classification: bool


@dataclass(frozen=True)
class EvalRow:
    """One evaluation question.

    ``std_answer`` is empty where the class is judged without a reference. ``split`` tells held-out kinds apart
    (empty where the set has none).
    """

    id: str
    question: str
    cls: str
    std_answer: str
    split: str = ""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; ``role`` is ``human`` or ``assistant``."""

    role: str
    text: str


def _text(row: jsonl.Row, key: str, where: str, *, empty: bool = False) -> str:
    value = row.get(key)
    if not isinstance(value, str) or (not value.strip() and not empty):
        found = "nothing" if value is None else repr(value)
        raise InputError(
            f"`{key}` must be {'text' if empty else 'text that is not empty'}, found {found}",
            where=where,
            cause="another schema than this loader's",
            fix=f"give every row a `{key}`",
        )
    return value


def load_seeds(path: Path) -> list[SeedTask]:
    """Load seed tasks: ``id, name, instruction, instances[{input, output}], is_classification``, JSON Lines.

    Raises:
        InputError: a field is missing or of the wrong type, an id comes twice, or the file is empty.
    """
    seeds: dict[str, SeedTask] = {}
    for number, row in enumerate(jsonl.read(path, "seed tasks"), 1):
        where = f"{path}, row {number}"
        instances = row.get("instances")
        if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
            raise InputError("`instances` must be a list of at least one {input, output}", where=where)
        if not isinstance(row.get("is_classification"), bool):
            raise InputError("`is_classification` must be true or false", where=where)
        seed = SeedTask(
            id=_text(row, "id", where),
            name=_text(row, "name", where),
            instruction=_text(row, "instruction", where),
            input=_text(instances[0], "input", where, empty=True),
            output=_text(instances[0], "output", where),
            is_classification=row["is_classification"],
        )
        if seed.id in seeds:
            raise InputError(f"the id {seed.id!r} comes twice", where=where, fix="give every seed its own id")
        seeds[seed.id] = seed
    if not seeds:
        raise InputError("no seed tasks in it", where=str(path))
    return list(seeds.values())


def class_name(name: str) -> str:
    """The one spelling of a class: BELLE's sets and prompts differ in case and carry no-break spaces."""
    return " ".join(name.replace("\xa0", " ").split()).lower()


def load_eval(path: Path) -> list[EvalRow]:
    """Load an evaluation set: ``question, class, std_answer`` (and ``split`` where a set has kinds), JSON Lines.

    Row ids are made from the question, so that they stay when rows are added or moved.

    Raises:
        InputError: a field is missing or of the wrong type, a question comes twice, or the file is empty.
    """
    rows: dict[str, EvalRow] = {}
    for number, row in enumerate(jsonl.read(path, "evaluation set"), 1):
        where = f"{path}, row {number}"
        question = _text(row, "question", where)
        split = row.get("split", "")
        if not isinstance(split, str):
            raise InputError(f"`split` must be text, found {split!r}", where=where)
        record = EvalRow(
            id="e-" + hashlib.sha256(question.encode()).hexdigest()[:12],
            question=question,
            cls=class_name(_text(row, "class", where)),
            std_answer=_text(row, "std_answer", where, empty=True),
            split=split,
        )
        if record.id in rows:
            raise InputError(f"the question {question[:30]!r}… comes twice", where=where)
        rows[record.id] = record
    if not rows:
        raise InputError("no rows in it", where=str(path))
    return list(rows.values())


def turns(row: jsonl.Row, where: str) -> list[Turn]:
    """The conversation of a training row, human first, the two roles in turn.

    Takes both of BELLE's shapes: ``conversations: [{from, value}]`` and ``instruction, input, output``
    (instruction and input are joined without a separator, as BELLE's converter does).

    Raises:
        InputError: neither shape, an unknown role, or roles out of turn.
    """
    conversations: Any = row.get("conversations")
    if conversations is None:
        question = _text(row, "instruction", where) + _text({"input": "", **row}, "input", where, empty=True)
        return [Turn("human", question), Turn("assistant", _text(row, "output", where))]
    if not isinstance(conversations, list) or len(conversations) < 2 or len(conversations) % 2:
        raise InputError("`conversations` must hold an even number of turns, at least 2", where=where)
    result = []
    for position, turn in enumerate(conversations):
        expected = ("human", "assistant")[position % 2]
        if not isinstance(turn, dict) or turn.get("from") != expected:
            found = turn.get("from") if isinstance(turn, dict) else turn
            raise InputError(f"turn {position + 1} must be from {expected!r}, found {found!r}", where=where)
        result.append(Turn(expected, _text(turn, "value", where)))
    return result
