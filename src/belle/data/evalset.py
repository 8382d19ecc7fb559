"""Write an evaluation set of the tiny world: combinations that no training row holds, or phrasings that none has."""

from pathlib import Path
from random import Random

from belle import jsonl
from belle.api.teacher.family import draw_task
from belle.api.teacher.tasks import CLASSES, families_of, find_task
from belle.errors import InputError

SPLITS = {"entities": (True, False), "phrasings": (True, True), "reworded": (False, True)}
"""Split → whether its combinations are held out of all training, and whether its phrasings are."""

MAX_DRAWS = 2_000
"""Draws in a row without a new question after which a class counts as exhausted."""


def evalset(*, out: Path, rows_per_split: int, splits: list[str], classes: list[str], seed: int) -> None:
    """Write ``question, class, std_answer, split`` rows, classes in equal shares, the families of a class in turn.

    A question comes once in the whole set. Where many answers are right, ``std_answer`` is one of them.

    Args:
        out: The JSON Lines file to write.
        rows_per_split: Rows of each split; the shares of two classes differ by one row at most.
        splits: Which of ``SPLITS``, in this order.
        classes: Which of the families' classes, in this order; none: all.
        seed: Seed of the draw.

    Raises:
        InputError: a class of no family, fewer rows than classes, or more than a class has in a split.
    """
    if odd := [cls for cls in classes if cls not in CLASSES]:
        raise InputError(f"no task family of the tiny world is of class {odd[0]!r}", where="evalset",
                         fix=f"choose among {', '.join(CLASSES)}")  # fmt: skip
    wanted_classes = classes or CLASSES
    if rows_per_split < len(wanted_classes):
        raise InputError(
            f"`rows_per_split` is {rows_per_split}, but there are {len(wanted_classes)} classes",
            where="evalset",
            fix=f"ask for at least {len(wanted_classes)} rows",
        )
    rng = Random(seed)
    rows: list[jsonl.Row] = []
    seen: set[str] = set()
    for split in splits:
        from_held_out, untaught = SPLITS[split]
        for place, cls in enumerate(wanted_classes):
            wanted = rows_per_split // len(wanted_classes) + (place < rows_per_split % len(wanted_classes))
            families = families_of(cls)
            found = misses = 0
            while found < wanted:
                family = families[(found + misses) % len(families)]
                task = draw_task(family, rng, from_held_out=from_held_out, untaught=untaught)
                question = task.instruction + task.input
                if question in seen or (not from_held_out and _taught(question)):
                    misses += 1
                    if misses > MAX_DRAWS:
                        raise InputError(
                            f"{wanted} rows of class {cls!r} asked in split {split!r}, only {found} can be made",
                            where="evalset",
                            cause="the class has too few questions of this kind",
                            fix="lower `rows_per_split`",
                        )
                    continue
                seen.add(question)
                found += 1
                rows.append({"question": question, "class": cls, "std_answer": task.output, "split": split})
    jsonl.write(out, rows)


def _taught(question: str) -> bool:
    """Whether a row of training that says the same holds the question as it stands, with a word before or behind."""
    found = find_task(question)
    assert found
    family, slots = found
    return any(question in (phrasing.instruction + phrasing.input).format_map(slots) for phrasing in family.taught)
