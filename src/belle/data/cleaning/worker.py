"""A process that looks at blocks of a file's lines: ``python -m belle.data.cleaning.worker``, told what by a pipe."""

from __future__ import annotations

import gc
import os
import pickle
import sys

from belle.data.cleaning.looked import RowFault

MODULE = __name__ if __name__ != "__main__" else "belle.data.cleaning.worker"


def main() -> None:
    """Read a task and a path, then answer each ``(start, size, …)`` with what is seen there, until the pipe ends."""
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints, nothing but answers goes out on the pipe
    gc.disable()  # thousands of rows at a time, and no cycle among them
    task, path = pickle.load(jobs)  # noqa: S301 - of the process that started this one
    looker = task.looker()
    with open(path, "rb", buffering=0) as file:
        while True:
            try:
                start, size, *told = pickle.load(jobs)  # noqa: S301 - of the process that started this one
            except EOFError:
                return
            file.seek(start)
            try:
                answer: object = looker.look(file.read(size), *told)
            except RowFault as fault:
                answer = fault
            pickle.dump(answer, answers, protocol=5)
            answers.flush()


if __name__ == "__main__":
    main()
