"""Rows of one question and one answer, and rows of text."""

from belle.data.importing.fields import Dropped, text
from belle.jsonl import Row


def is_instruction(row: Row) -> bool:
    """Alpaca's fields, which BELLE's 1M, 2M, school math and generated chat have, too; but no dialogue in them."""
    return _has(row, "instruction", "output") and not looks_as_dialogue(row)


def instruction(row: Row, where: str) -> Row:
    """``instruction, input, output``; ``input`` may be absent or null."""
    fields = {
        "instruction": text(row, "instruction", where),
        "input": text(row, "input", where, optional=True),
        "output": text(row, "output", where),
    }
    return _filled(fields)


def is_input_target(row: Row) -> bool:
    """The fields of BELLE's train_0.5M_CN."""
    return _has(row, "input", "target") and row.get("instruction") is None


def input_target(row: Row, where: str) -> Row:
    """``input, target``: instruction and input are one field already."""
    return _filled({"instruction": text(row, "input", where), "input": "", "output": text(row, "target", where)})


def is_text(row: Row) -> bool:
    """A document."""
    return _has(row, "text")


def text_row(row: Row, where: str) -> Row:
    """``text``, for pretraining."""
    fields = {"text": text(row, "text", where)}
    if not fields["text"].strip():
        raise Dropped("empty")
    return fields


def looks_as_dialogue(row: Row) -> bool:
    """Whether the instruction is a dialogue as BELLE writes it: from a human turn to where an answer is due."""
    value = row.get("instruction")
    return isinstance(value, str) and value.lstrip().startswith("Human:") and value.rstrip().endswith("Assistant:")


def _has(row: Row, *names: str) -> bool:
    return all(name in row for name in names) and any(row[name] is not None for name in names)


def _filled(fields: Row) -> Row:
    if not fields["instruction"].strip() or not fields["output"].strip():
        raise Dropped("empty")
    return fields
