"""Write the tiny world's evaluation set: combinations that no training row holds, in known and new phrasings."""

from pathlib import Path
from random import Random

from belle import jsonl
from belle.api.teacher.family import draw_task
from belle.api.teacher.tasks import CLASSES, families_of
from belle.errors import InputError

SPLITS = {"entities": False, "phrasings": True}
"""Split → whether its phrasings are new too; the combinations are held out in both."""

MAX_DRAWS = 2_000
"""Draws in a row without a new question after which a class counts as exhausted."""


def evalset(*, out: Path, rows_per_split: int, seed: int) -> None:
    """Write ``question, class, std_answer, split`` rows, classes in equal shares, the families of a class in turn.

    A question comes once in the whole set. Where many answers are right, ``std_answer`` is one of them.

    Args:
        out: The JSON Lines file to write.
        rows_per_split: Rows of each split; the shares of two classes differ by one row at most.
        seed: Seed of the draw.

    Raises:
        InputError: fewer rows than classes are asked, or more than the held-out combinations of a class give.
    """
    if rows_per_split < len(CLASSES):
        raise InputError(
            f"`rows_per_split` is {rows_per_split}, but there are {len(CLASSES)} classes",
            where="evalset",
            fix=f"ask for at least {len(CLASSES)} rows",
        )
    rng = Random(seed)
    rows: list[jsonl.Row] = []
    seen: set[str] = set()
    for split, untaught in SPLITS.items():
        for place, cls in enumerate(CLASSES):
            wanted = rows_per_split // len(CLASSES) + (place < rows_per_split % len(CLASSES))
            families = families_of(cls)
            found = misses = 0
            while found < wanted:
                family = families[(found + misses) % len(families)]
                task = draw_task(family, rng, from_held_out=True, untaught=untaught)
                question = task.instruction + task.input
                if question in seen:
                    misses += 1
                    if misses > MAX_DRAWS:
                        raise InputError(
                            f"{wanted} rows of class {cls!r} asked in split {split!r}, only {found} can be made",
                            where="evalset",
                            cause="the class has too few held-out combinations",
                            fix="lower `rows_per_split`",
                        )
                    continue
                seen.add(question)
                found += 1
                rows.append({"question": question, "class": cls, "std_answer": task.output, "split": split})
    jsonl.write(out, rows)
