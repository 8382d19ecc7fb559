"""Make instruction rows by Self-Instruct, as BELLE does: three shots, ten tasks asked, the ledger behind it."""

import random
from pathlib import Path
from typing import Any

from belle.api.budget import Budget
from belle.api.client import Mode, Request
from belle.api.teacher.identity import identity
from belle.data.selfinstruct import REASONS, parse, render
from belle.data.threads import (
    PATIENCE,
    REFUSED,
    Drawn,
    Item,
    Messages,
    Rounds,
    Source,
    collect,
    is_refused,
    sampling,
)  # fmt: skip
from belle.errors import InputError
from belle.files import read_text
from belle.records import SeedTask, load_seeds

SYSTEM = "你负责编写训练任务。只按给定的格式接着写，不寒暄，不解释。"
"""The system message of every request."""


def generate(
    *,
    seeds: Path,
    prompt: Path,
    out: Path,
    report: Path,
    ledger: Path,
    base_url: str,
    model: str,
    api_key: str,
    rows: int,
    shots: int,
    tasks: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    stop: list[str],
    in_flight: int,
    timeout_s: float,
    seed: int,
    budget: Budget | None = None,
    mode: Mode = "chat",
) -> None:
    """Write ``rows`` raw rows and a report of what became of every item of the replies that were needed.

    Args:
        seeds: Seed tasks, of which each request shows ``shots``.
        prompt: A text with ``{tasks}`` where the number of tasks stands.
        out: JSON Lines of ``id, request, sample, seeds, instruction, input, output``.
        report: As for ``belle.data.threads.collect``.
        ledger: The ledger's folder.
        base_url: An OpenAI-compatible API, or ``offline`` for the teacher, which is started and stopped here.
        budget: What all that the ledger holds may cost; None sets no limit.
        stop: Strings at which the API ends a reply; none if empty.
        seed: Decides which seed tasks each request shows.

    Raises:
        InputError: the seeds or the prompt are at fault, or the key is missing.
        BelleError: the API fails, the budget is reached, or ``PATIENCE`` replies in a row give no row.
    """
    tasks_of_seeds = load_seeds(seeds)
    if shots > len(tasks_of_seeds):
        raise InputError(f"{shots} shots are asked of {len(tasks_of_seeds)} seed tasks", where=str(seeds))
    kind = SelfInstruct(tasks_of_seeds, load_prompt(prompt, tasks), shots, tasks, seed)
    source = Source(
        base_url, model, sampling(temperature, top_p, max_tokens, stop), identity(), ledger, api_key,
        in_flight, timeout_s, budget, mode,
    )  # fmt: skip
    collect(kind, source, rows=rows, out=out, report=report, describe="generate")


class SelfInstruct(Drawn):
    """Single-turn rows: one request a thread, whose reply goes on with a list that a few seed tasks begin."""

    reasons = REASONS

    def __init__(self, seeds: list[SeedTask], text: str, shots: int, tasks: int, seed: int) -> None:
        self._seeds, self._text, self._shots, self._seed = seeds, text, shots, seed
        self.most_rows = tasks

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """The one request of a thread."""
        return [] if rounds else [messages_of(self._text, shots_of(self._seeds, self._shots, self._seed, sample))]

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """The items of the reply."""
        ((reply,),) = rounds
        if is_refused(reply):
            return [Item(1, REFUSED)]
        seeds = [task.id for task in shots_of(self._seeds, self._shots, self._seed, sample)]
        return [
            Item(
                item.number, item.reason, [reply], seeds,
                {"instruction": item.instruction, "input": item.input, "output": item.output},
            )
            for item in parse(reply.text, finish_reason=reply.finish_reason)
        ]  # fmt: skip


def load_prompt(prompt: Path, tasks: int) -> str:
    """The prompt with the number of tasks in its place.

    Raises:
        InputError: it has no such place.
    """
    template = read_text(prompt, "prompt")
    if "{tasks}" not in template:
        raise InputError(
            "`{tasks}`, the place of the number of tasks, is missing",
            where=str(prompt),
            cause="another prompt, or an edit by hand",
            fix="write {tasks} where the prompt says how many tasks are asked",
        )
    return template.replace("{tasks}", str(tasks))


def shots_of(tasks: list[SeedTask], shots: int, seed: int, sample: int) -> list[SeedTask]:
    """The seed tasks that request number ``sample`` shows."""
    return random.Random(f"{seed}-{sample}").sample(tasks, shots)


def messages_of(text: str, shots: list[SeedTask]) -> Messages:
    """The messages of a request."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": render(text, shots)}]


def request_of(text: str, shots: list[SeedTask], model: str, params: dict[str, Any], sample: int) -> Request:
    """Request number ``sample``."""
    return Request(model, messages_of(text, shots), params, sample)


__all__ = ["PATIENCE", "SelfInstruct", "generate", "load_prompt", "messages_of", "request_of", "shots_of"]
