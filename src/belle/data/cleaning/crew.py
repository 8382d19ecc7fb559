"""A file looked at block by block, by worker processes where it is long enough to be worth them."""

from __future__ import annotations

import mmap
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from belle import jsonl
from belle.data.cleaning import worker
from belle.data.cleaning.looked import RowFault
from belle.errors import BelleError

BLOCK = 1 << 20
"""Bytes of lines that are looked at together."""
ALONE = 8 << 20
"""Up to so many bytes, starting processes takes longer than doing the work."""
AHEAD = 2
"""Blocks that a worker has before it at a time."""
Span = tuple[int, int]
Job = tuple[Any, ...]
View = mmap.mmap | bytes


def blocks_of(view: View, start: int, end: int, path: Path) -> Iterator[Span]:
    """Cut a range of whole lines into spans of about ``BLOCK`` bytes of whole lines.

    Raises:
        InputError: a line longer than ``jsonl.LONGEST_ROW``.
    """
    while start < end:
        line_end = view.find(b"\n", min(start + BLOCK, end), end)
        stop = end if line_end < 0 else line_end + 1
        if stop - start > jsonl.LONGEST_ROW:
            _check_lines(view, start, stop, path)
        yield start, stop - start
        start = stop


class Task(Protocol):
    """How blocks are looked at, as it travels to worker processes."""

    def looker(self) -> Any:
        """What has ``look(block, …)``; made once in each process."""


def look(path: Path, task: Task, jobs: Sequence[Job], workers: int, what: str = "clean") -> Iterator[Any]:
    """Yield what is seen in each span of a file, in order; the result does not depend on ``workers``.

    Args:
        path: The file.
        task: How its blocks are looked at.
        jobs: Where each block starts, its size, and what else its looker is told.
        workers: How many processes look.
        what: The stage's name.

    Raises:
        RowFault: a line that is no row; everything before it was yielded.
        BelleError: a worker died.
    """
    total = sum(job[1] for job in jobs)
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024, mininterval=1, delay=1)
        )
        if workers < 2 or total <= ALONE:
            looker = task.looker()
            file = stack.enter_context(open(path, "rb", buffering=0))
            for start, size, *told in jobs:
                file.seek(start)
                yield looker.look(file.read(size), *told)
                bar.update(size)
            return
        crew = [stack.enter_context(_Worker(task, path, what)) for _ in range(min(workers, len(jobs)))]
        for number, job in enumerate(jobs[: AHEAD * len(crew)]):
            crew[number % len(crew)].give(job)
        for number, job in enumerate(jobs):
            member = crew[number % len(crew)]
            seen = member.take()
            following = number + AHEAD * len(crew)
            if following < len(jobs):
                member.give(jobs[following])
            yield seen
            bar.update(job[1])


class _Worker:
    def __init__(self, task: object, path: Path, what: str) -> None:
        self._what = what
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker.MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it does no algebra, and a pool of threads takes memory
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._jobs, self._answers = self._process.stdin, self._process.stdout
        self._give((task, str(path)))

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._process.kill()  # what it may still look at nobody waits for
        self._process.wait()
        with suppress(BrokenPipeError):
            self._jobs.close()

    def give(self, job: Job) -> None:
        self._give(job)

    def _give(self, message: object) -> None:
        try:
            pickle.dump(message, self._jobs, protocol=5)
            self._jobs.flush()
        except BrokenPipeError:
            raise self._died() from None

    def take(self) -> Any:
        try:
            answer = pickle.load(self._answers)  # noqa: S301 - of a process of our own
        except (EOFError, pickle.UnpicklingError):
            raise self._died() from None
        if isinstance(answer, RowFault):
            raise answer
        return answer

    def _died(self) -> BelleError:
        return BelleError(
            f"a process that looks at rows ended with status {self._process.wait()}",
            where=self._what,
            cause="it was killed, by a user or for want of memory",
            fix="make room and run again: nothing was written",
        )


def _check_lines(view: View, start: int, stop: int, path: Path) -> None:
    while start < stop:
        end = view.find(b"\n", start, stop)
        end = stop if end < 0 else end
        if end - start > jsonl.LONGEST_ROW:
            number = 1
            at = view.find(b"\n", 0, start)
            while at >= 0:
                number, at = number + 1, view.find(b"\n", at + 1, start)
            raise jsonl.too_long(f"{path}:{number}")
        start = end + 1
