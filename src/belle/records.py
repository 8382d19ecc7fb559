"""The row types that travel the chain, and their loaders.

A row's id survives from the paid reply to the table: seed id → request digest → raw row → clean row → shard.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle import jsonl
from belle.errors import InputError, shown

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


_OTHER_SCHEMA = "another schema than this loader's"


def _text(row: jsonl.Row, key: str, where: str, *, empty: bool = False) -> str:
    value = row.get(key)
    if not isinstance(value, str) or (not value.strip() and not empty):
        found = "nothing" if value is None else shown(value)
        raise InputError(
            f"`{key}` must be {'text' if empty else 'text that is not empty'}, found {found}",
            where=where,
            cause=_OTHER_SCHEMA,
            fix=f"give every row a `{key}`",
        )
    return value


def _plain(row: jsonl.Row, key: str, where: str, *, empty: bool = False) -> str:
    """Text that can be asked, hashed and written: a half of a surrogate pair or a NUL is in no real one."""
    value = _text(row, key, where, empty=empty)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"`{key}` holds half a character, {value[error.start]!r} at {error.start}",
                where=where,
                cause="a text that was cut between the two halves of an emoji",
                fix="write that text again",
            ) from None
    if "\0" in value:
        raise InputError(
            f"`{key}` holds NUL at {value.index(chr(0))}",
            where=where,
            cause="a damaged text",
            fix="write that text again",
        )
    return value


def _name(row: jsonl.Row, key: str, where: str) -> str:
    value = _plain(row, key, where)
    if not value.isprintable():
        raise InputError(
            f"`{key}` must be one line, found {shown(value)}",
            where=where,
            cause="a text that took the place of a name",
            fix="give it a name without line ends",
        )
    return value


def load_seeds(path: Path) -> list[SeedTask]:
    """Load seed tasks: ``id, name, instruction, instances[{input, output}], is_classification``, JSON Lines.

    Raises:
        InputError: a field is missing or of the wrong type, an id comes twice, or the file is empty.
    """
    seeds: dict[str, SeedTask] = {}
    rows: dict[str, int] = {}
    for number, row in enumerate(jsonl.read(path, "seed tasks"), 1):
        where = f"{path}, row {number}"
        instances = row.get("instances")
        if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
            raise InputError(
                f"`instances` must be a list of at least one {{input, output}}, found {shown(instances)}",
                where=where,
                cause=_OTHER_SCHEMA,
                fix='write "instances": [{"input": "…", "output": "…"}]',
            )
        if not isinstance(row.get("is_classification"), bool):
            raise InputError(
                f"`is_classification` must be true or false, found {shown(row.get('is_classification'))}",
                where=where,
                cause=_OTHER_SCHEMA,
                fix="write true or false, without quotes",
            )
        seed = SeedTask(
            id=_name(row, "id", where),
            name=_plain(row, "name", where),
            instruction=_plain(row, "instruction", where),
            input=_plain(instances[0], "input", where, empty=True),
            output=_plain(instances[0], "output", where),
            is_classification=row["is_classification"],
        )
        if seed.id in seeds:
            raise InputError(
                f"`id`: {shown(seed.id)} comes twice, first in row {rows[seed.id]}",
                where=where,
                cause="two seed files put together, or a row that was copied",
                fix="give every seed its own id",
            )
        seeds[seed.id], rows[seed.id] = seed, number
    if not seeds:
        raise InputError(
            "no seed tasks in it", where=str(path), cause="a file that was not written to its end", fix="copy it again"
        )
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
    first: dict[str, int] = {}
    for number, row in enumerate(jsonl.read(path, "evaluation set"), 1):
        where = f"{path}, row {number}"
        question = _plain(row, "question", where)
        split = row.get("split", "")
        if not isinstance(split, str):
            raise InputError(
                f"`split` must be text, found {shown(split)}",
                where=where,
                cause=_OTHER_SCHEMA,
                fix="name the kind of the row, or leave `split` out",
            )
        record = EvalRow(
            id="e-" + hashlib.sha256(question.encode()).hexdigest()[:12],
            question=question,
            cls=class_name(_plain(row, "class", where)),
            std_answer=_plain(row, "std_answer", where, empty=True),
            split=split,
        )
        if record.id in rows:
            raise InputError(
                f"`question`: {shown(question, 30)} comes twice, first in row {first[record.id]}",
                where=where,
                cause="two sets put together, or a row that was copied",
                fix="leave one of them",
            )
        rows[record.id], first[record.id] = record, number
    if not rows:
        raise InputError(
            "no rows in it", where=str(path), cause="a file that was not written to its end", fix="copy it again"
        )
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
        found = f"{len(conversations)} of them" if isinstance(conversations, list) else shown(conversations)
        raise InputError(
            f"`conversations` must hold an even number of turns, at least 2, found {found}",
            where=where,
            cause="a question without its answer, or another schema",
            fix="end every conversation with an answer; `import_dataset` drops and counts those that do not",
        )
    result = []
    for position, turn in enumerate(conversations):
        expected = ("human", "assistant")[position % 2]
        if not isinstance(turn, dict) or turn.get("from") != expected:
            found = shown(turn.get("from") if isinstance(turn, dict) else turn)
            raise InputError(
                f"`conversations`: turn {position + 1} must be from {expected!r}, found {found}",
                where=where,
                cause="roles under other names, or two turns of one role in a row",
                fix="import the file as a dataset of kind `local`, which knows other names",
            )
        result.append(Turn(expected, _text(turn, "value", f"{where}, turn {position + 1}")))
    return result
