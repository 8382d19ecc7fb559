"""What a task family is: phrasings with slots, words for the slots, and a rule that answers.

A combination is what the slots of one row say. Combinations are split by a hash of their key into those that
the teacher may teach and those that are held out for the evaluation set, so that no held-out row can ever be
emitted, whatever the seed.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

Slots = Mapping[str, str]

HELD_OUT_IN = 5
"""One combination in so many is held out."""

SALT = "747 "
"""Goes into the hash; chosen so that each of the seven fact families has 3 or 4 of its 16 facts held out."""

MAX_DRAWS = 10_000


@dataclass(frozen=True)
class Phrasing:
    """One way to ask: ``instruction`` and ``input`` are templates with ``{slot}`` places."""

    instruction: str
    input: str = ""


def _always(slots: Slots) -> bool:
    return True


@dataclass(frozen=True)
class Family:
    """One task family.

    Attributes:
        name: Its name, unique.
        cls: Its instruction class.
        words: The words that each slot may hold.
        draw: Draws the slots of one row.
        key: The combination's name; families that share a name share the hold-out.
        answer: Answers a combination; the generator serves where many answers are right.
        check: Scores an answer in [0, 1] where there is no one reference, else ``None``.
        possible: Whether the words that a question has in its slots go together.
        exact: An answer is right or wrong; likeness to the reference earns nothing.
        taught: Phrasings of the training data.
        untaught: Phrasings that only the evaluation set uses.
    """

    name: str
    cls: str
    words: Mapping[str, tuple[str, ...]]
    draw: Callable[[Random], Slots]
    key: Callable[[Slots], str]
    answer: Callable[[Slots, Random], str]
    taught: tuple[Phrasing, ...]
    untaught: tuple[Phrasing, ...]
    check: Callable[[Slots, str], float] | None = None
    possible: Callable[[Slots], bool] = _always
    exact: bool = False


@dataclass(frozen=True)
class Task:
    """One row of a family."""

    instruction: str
    input: str
    output: str
    cls: str


def held_out(key: str) -> bool:
    """Whether the combination of this key belongs to the evaluation set alone."""
    return int.from_bytes(hashlib.sha256((SALT + key).encode()).digest()[:4], "big") % HELD_OUT_IN == 0


def draw_slots(family: Family, rng: Random, *, from_held_out: bool = False) -> Slots:
    """Draw the slots of one row: a taught combination unless told otherwise."""
    for _ in range(MAX_DRAWS):
        slots = family.draw(rng)
        if held_out(family.key(slots)) == from_held_out:
            return slots
    raise AssertionError(f"{family.name}: no combination with held_out={from_held_out} in {MAX_DRAWS:,} draws")


def draw_task(family: Family, rng: Random, *, from_held_out: bool = False, untaught: bool = False) -> Task:
    """Draw one row: a taught combination in a taught phrasing unless told otherwise."""
    slots = draw_slots(family, rng, from_held_out=from_held_out)
    phrasing = rng.choice(family.untaught if untaught else family.taught)
    return Task(
        instruction=phrasing.instruction.format_map(slots),
        input=phrasing.input.format_map(slots),
        output=family.answer(slots, rng),
        cls=family.cls,
    )


@cache
def _pattern(template: str, words: tuple[tuple[str, tuple[str, ...]], ...]) -> re.Pattern[str]:
    choices, seen, parts = dict(words), set(), []
    for literal, slot in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        parts.append(re.escape(literal))
        if slot in seen:
            parts.append(f"(?P={slot})")
        elif slot:
            seen.add(slot)
            longest_first = sorted(choices[slot], key=len, reverse=True)
            parts.append(f"(?P<{slot}>{'|'.join(re.escape(word) for word in longest_first)})")
    return re.compile("".join(parts))


def recognise(question: str, families: tuple[Family, ...]) -> tuple[Family, Slots] | None:
    """Find the family and the slots that ``question`` was made from, in any of its phrasings."""
    for family in families:
        words = tuple(sorted(family.words.items()))
        for phrasing in (*family.taught, *family.untaught):
            match = _pattern(phrasing.instruction + phrasing.input, words).fullmatch(question.strip())
            if match and family.possible(match.groupdict()):
                return family, match.groupdict()
    return None
