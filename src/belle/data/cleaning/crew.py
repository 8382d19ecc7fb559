"""A file looked at block by block, by worker processes where it is long enough to be worth them."""

from __future__ import annotations

import mmap
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from tqdm import tqdm

from belle import jsonl
from belle.data.cleaning import worker
from belle.data.cleaning.looking import Looked, Looker, Looking, RowFault
from belle.errors import BelleError

BLOCK = 1 << 20
"""Bytes of lines that are looked at together."""
ALONE = 8 << 20
"""Up to so many bytes, starting processes takes longer than doing the work."""
AHEAD = 2
"""Blocks that a worker has before it at a time."""
Span = tuple[int, int]
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


def look(path: Path, looking: Looking, spans: list[Span], workers: int) -> Iterator[Looked]:
    """Yield what is seen in each span of a file, in order; the result does not depend on ``workers``.

    Raises:
        RowFault: a line that is no row; everything before it was yielded.
        BelleError: a worker died.
    """
    total = sum(size for _, size in spans)
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=total, desc="clean", unit="B", unit_scale=True, unit_divisor=1024, mininterval=1, delay=1)
        )
        if workers < 2 or total <= ALONE:
            looker = Looker(looking)
            file = stack.enter_context(open(path, "rb", buffering=0))
            for start, size in spans:
                file.seek(start)
                yield looker.look(file.read(size))
                bar.update(size)
            return
        crew = [stack.enter_context(_Worker(looking, path)) for _ in range(min(workers, len(spans)))]
        for number, span in enumerate(spans[: AHEAD * len(crew)]):
            crew[number % len(crew)].give(span)
        for number, (_, size) in enumerate(spans):
            member = crew[number % len(crew)]
            seen = member.take()
            following = number + AHEAD * len(crew)
            if following < len(spans):
                member.give(spans[following])
            yield seen
            bar.update(size)


class _Worker:
    def __init__(self, looking: Looking, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker.MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin
        assert self._process.stdout
        self._jobs, self._answers = self._process.stdin, self._process.stdout
        self._give((looking, str(path)))

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._process.kill()  # what it may still look at nobody waits for
        self._process.wait()
        with suppress(BrokenPipeError):
            self._jobs.close()

    def give(self, span: Span) -> None:
        self._give(span)

    def _give(self, message: object) -> None:
        try:
            pickle.dump(message, self._jobs, protocol=5)
            self._jobs.flush()
        except BrokenPipeError:
            raise self._died() from None

    def take(self) -> Looked:
        try:
            answer = pickle.load(self._answers)  # noqa: S301 - of a process of our own
        except (EOFError, pickle.UnpicklingError):
            raise self._died() from None
        if isinstance(answer, RowFault):
            raise answer
        assert isinstance(answer, Looked)
        return answer

    def _died(self) -> BelleError:
        return BelleError(
            f"a process that looks at rows ended with status {self._process.wait()}",
            where="clean",
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
