"""Subjects, the seeds of all kinds but Self-Instruct: what a request is about."""

from dataclasses import dataclass
from pathlib import Path

from belle import jsonl
from belle.errors import InputError

TOPIC, TASK_TYPE, ROLE, POINT = KINDS = ("topic", "task_type", "role", "point")
"""What a subject can be: a topic, a type of task, an occupation, a point of the mathematics curriculum."""


@dataclass(frozen=True)
class Subject:
    """A subject; ``text`` is one line."""

    id: str
    kind: str
    text: str


def load_subjects(path: Path, *wanted: str) -> dict[str, list[Subject]]:
    """Load subjects, JSON Lines of ``id, kind, text``, by their kind and in their order.

    Raises:
        InputError: a field is missing, no text or more than one line, a kind is unknown, an id comes twice, or there is
            no subject of a kind that is ``wanted``.
    """
    found: dict[str, list[Subject]] = {kind: [] for kind in KINDS}
    seen: set[str] = set()
    for number, row in enumerate(jsonl.read(path, "subjects"), 1):
        where = f"{path}, row {number}"
        for field in ("id", "kind", "text"):
            value = row.get(field)
            if not isinstance(value, str) or not value.strip() or "\n" in value or (field == "text" and "：" in value):
                raise InputError(
                    f"`{field}` must be one line of text without a full-width colon, found "
                    f"{'nothing' if value is None else repr(value)}",
                    where=where,
                    cause="another schema than id, kind, text",
                    fix=f"give every subject a `{field}`",
                )
        subject = Subject(row["id"], row["kind"], row["text"].strip())
        if subject.kind not in found:
            raise InputError(f"unknown kind {subject.kind!r}", where=where, fix=f"choose one of {', '.join(KINDS)}")
        if subject.id in seen:
            raise InputError(f"the id {subject.id!r} comes twice", where=where, fix="give every subject its own id")
        seen.add(subject.id)
        found[subject.kind].append(subject)
    for kind in wanted:
        if not found[kind]:
            raise InputError(
                f"no subject of the kind {kind!r}", where=str(path),
                cause="seeds of another kind of set", fix=f"add rows with `kind` {kind!r}",
            )  # fmt: skip
    return found
