"""What a training row has in common with an evaluation row, and whether that is too much.

Texts are compared by their keys (``belle.data.normalise``). A question and a text overlap where they share an n-gram of
``gram`` characters; 13 is what GPT-3 used, of words (arXiv 2005.14165, appendix C). A shorter question overlaps with a
text that holds it whole, or, where it is too short for that to say anything, with one that says nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np

from belle.data import normalise
from belle.data.contamination import codes
from belle.data.contamination.grams import Longs, Places, Sieve
from belle.errors import InputError
from belle.records import load_eval

_PORTION = 50_000
"""Characters that are looked at together."""


@dataclass(frozen=True)
class Overlap:
    """What a text has in common with one evaluation row.

    Attributes:
        id: The evaluation row.
        share: The larger of the shares of the question and of the text that shared n-grams cover, 0 to 1.
        of_question: The question's share.
        of_text: The text's share.
        run: The longest stretch of the question that shared n-grams cover, in characters of its key.
        shared: That stretch, as a person reads a key.
        contaminates: Whether it is too much.
    """

    id: str
    share: float
    of_question: float
    of_text: float
    run: int
    shared: str
    contaminates: bool


_Ranked = tuple[tuple[bool, float, float, int, int], Overlap]
"""An overlap behind what says how much it says: most is greatest, the number of the question negative."""


class Contamination:
    """An index of evaluation questions, asked which of them a row overlaps with.

    What is said of a row depends on the row and on the questions, on nothing else.

    Args:
        questions: The texts to keep out of training.
        ids: A name for each; several texts may have one. By default their numbers.
        gram: Characters of an n-gram, at least 2.
        share: From which share of the question on an overlap contaminates; 0: any shared n-gram does.
        text_share: From which share of the text on it does: a row that only asks a part of a question. It is higher,
            for two tasks may be worded alike and be about different things.
        run: From which length of a covered stretch on it does whatever the share; 0: no length does.
        short: The least length of a question that contaminates by being part of a text, 1 to ``gram``. A question
            of fewer characters contaminates only a text of the same key.

    Raises:
        InputError: a setting out of range, or other than one id for each question.
    """

    def __init__(
        self,
        questions: Sequence[str],
        ids: Sequence[str] = (),
        *,
        gram: int = 13,
        share: float = 0.5,
        text_share: float = 0.8,
        run: int = 50,
        short: int = 8,
    ) -> None:
        _check_settings(gram, share, text_share, run, short)
        self.ids = list(ids) or [str(number) for number in range(len(questions))]
        if len(self.ids) != len(questions):
            raise InputError(f"{len(self.ids)} ids for {len(questions)} questions", where="contamination")
        self.gram, self.share, self.text_share, self.run, self.short = gram, share, text_share, run, short
        self._keys = [normalise.key(question) for question in questions]
        self._short: dict[str, int] = {}
        self._same: dict[str, int] = {}
        for number, key in enumerate(self._keys):
            if 0 < len(key) < gram:
                (self._short if len(key) >= short else self._same).setdefault(key, number)
        self._longest_same = max(map(len, self._same), default=0)
        # Hashes beside one text of all keys take 20 bytes an n-gram; a dictionary of strings would take 200.
        self._text = "\n".join(self._keys)
        self._starts = np.array([0, *accumulate(len(key) + 1 for key in self._keys)])
        self._places = Places(self._text, gram)
        long = (key for key in self._keys if len(key) >= gram)
        self._sieve = Sieve(long, self._short, self._places, gram=gram, least=short)

    @classmethod
    def load(cls, evals: Mapping[str, Path], *, answers: int = 0, **settings: Any) -> Contamination:
        """Index evaluation sets.

        Args:
            evals: Name → the set's JSON Lines file. An id here is the name, a slash and the row's id.
            answers: From which length on (characters of the key) reference answers are kept out too; 0: none are.
            settings: ``gram``, ``share``, ``text_share``, ``run`` and ``short``.

        Raises:
            InputError: a setting out of range, or a file that is no evaluation set.
        """
        if answers < 0:
            raise InputError(f"must be at least 0, found {answers}", where="contamination.answers")
        texts, ids = [], []
        for name, path in evals.items():
            for row in load_eval(path):
                texts.append(row.question)
                ids.append(f"{name}/{row.id}")
                if answers and len(normalise.key(row.std_answer)) >= answers:
                    texts.append(row.std_answer)
                    ids.append(f"{name}/{row.id}")
        return cls(texts, ids, **settings)

    def overlap(self, text: str) -> Overlap | None:
        """What a text has most in common with any question; None where it overlaps with none."""
        return self.check([[text]])[0]

    def check(self, rows: Sequence[Sequence[str]]) -> list[Overlap | None]:
        """For each row the overlap of its texts that says most; None where there is none.

        Overlaps that contaminate go before those that do not, then the larger share, more of the question, the longer
        run, the earlier question. Rows are best given by the hundred: a call has a price of its own.

        Args:
            rows: The texts of each row: instruction and input as one text and the output as another, or the turns.
        """
        texts = list(chain.from_iterable(rows))
        row_ends = list(accumulate(map(len, rows)))
        text_ends = list(accumulate(map(len, texts)))
        best: dict[int, _Ranked] = {}
        begin = 0
        while begin < len(texts):
            before = text_ends[begin - 1] if begin else 0
            end = bisect_right(text_ends, before + _PORTION, begin + 1)
            for text, overlap in self._of(codes.keys(texts[begin:end])):
                row = bisect_right(row_ends, begin + text)
                if row not in best or overlap[0] > best[row][0]:
                    best[row] = overlap
            begin = end
        return [best[number][1] if number in best else None for number in range(len(rows))]

    def _of(self, keys: codes.Keys) -> Iterator[tuple[int, _Ranked]]:
        """The overlaps of each text, in any order."""
        sharing, holding = self._sieve.suspects(keys)
        for text in sharing:
            yield from ((text, overlap) for overlap in self._sharing(keys.key(text)))
        for text, short in holding:
            key = keys.key(text)
            if short in key:
                starts = np.array([start for start in range(len(key)) if key.startswith(short, start)])
                yield text, self._ranked(self._short[short], 1.0, _covered(starts, len(short)) / len(key), short)
        if self._same:
            lengths = np.diff(keys.ends, prepend=-1) - 1
            for text in np.flatnonzero((lengths > 0) & (lengths <= self._longest_same)).tolist():
                key = keys.key(text)
                if key in self._same:
                    yield text, self._ranked(self._same[key], 1.0, 1.0, key)

    def _sharing(self, key: str) -> Iterator[_Ranked]:
        """The overlap of a text with each question that shares an n-gram with it."""
        here, there = self._places.shared(key)
        numbers = np.searchsorted(self._starts, there, "right") - 1
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            question = self._keys[number]
            starts = np.unique(there[mine]) - self._starts[number]
            begin, end = _longest(starts, self.gram)
            yield self._ranked(
                number,
                _covered(starts, self.gram) / len(question),
                _covered(np.unique(here[mine]), self.gram) / len(key),
                question[begin:end],
            )

    def _ranked(self, number: int, of_question: float, of_text: float, stretch: str) -> _Ranked:
        share, run = max(of_question, of_text), len(stretch)
        contaminates = of_question >= self.share or of_text >= self.text_share or 0 < self.run <= run
        overlap = Overlap(
            self.ids[number], share, of_question, of_text, run, normalise.shown(stretch), contaminates
        )  # fmt: skip
        return (contaminates, share, of_question, run, -number), overlap


def _check_settings(gram: int, share: float, text_share: float, run: int, short: int) -> None:
    faults = [
        (gram < 2, "gram", "at least 2", gram),
        (not 0 <= share <= 1, "share", "0 to 1", share),
        (not 0 <= text_share <= 1, "text_share", "0 to 1", text_share),
        (run < 0, "run", "at least 0 (0: off)", run),
        (not 1 <= short <= gram, "short", f"1 to gram, which is {gram}", short),
    ]
    for wrong, name, wanted, found in faults:
        if wrong:
            raise InputError(f"must be {wanted}, found {found}", where=f"contamination.{name}")


def _covered(starts: Longs, length: int) -> int:
    """How many characters lie in stretches of ``length`` from ``starts``, which ascend."""
    return int(np.minimum(np.diff(starts), length).sum()) + length


def _longest(starts: Longs, length: int) -> tuple[int, int]:
    """Begin and end of the longest stretch that such stretches cover without a gap, the first of several."""
    gaps = np.flatnonzero(np.diff(starts) > length)
    begins = starts[np.concatenate([[0], gaps + 1])]
    ends = starts[np.concatenate([gaps, [len(starts) - 1]])] + length
    most = int(np.argmax(ends - begins))
    return int(begins[most]), int(ends[most])
