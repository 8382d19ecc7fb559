"""All task families, and the rows that the teacher makes of them in equal shares of the classes."""

from random import Random

from belle.api.teacher.families import TEXT_FAMILIES
from belle.api.teacher.family import Family, Slots, Task, draw_task, recognise
from belle.api.teacher.knowledge import FACT_FAMILIES
from belle.api.teacher.sums import SUM_FAMILIES
from belle.api.teacher.words import WORD_FAMILIES

FAMILIES = (*TEXT_FAMILIES, *FACT_FAMILIES, *SUM_FAMILIES, *WORD_FAMILIES)
CLASSES = tuple(dict.fromkeys(family.cls for family in FAMILIES))
"""The instruction classes of the families: 11 of the 12."""


def families_of(cls: str) -> tuple[Family, ...]:
    """The families of one class."""
    return tuple(family for family in FAMILIES if family.cls == cls)


def draw_taught(rng: Random) -> Task:
    """Draw one row of training data: classes in equal shares, then the families of the class."""
    return draw_task(rng.choice(families_of(rng.choice(CLASSES))), rng)


def find_task(question: str) -> tuple[Family, Slots] | None:
    """Find the family and the slots of a question, or ``None`` if it is of no family."""
    return recognise(question, FAMILIES)
