"""Make instruction rows by Self-Instruct, as BELLE does: three shots, ten tasks asked, the ledger behind it."""

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle import jsonl
from belle.api.budget import Budget
from belle.api.client import Client, Reply, Request
from belle.api.ledger import Ledger
from belle.api.provider import provider
from belle.data.selfinstruct import REASONS, parse, render
from belle.errors import BelleError, InputError
from belle.files import atomic_file, read_text
from belle.records import SeedTask, load_seeds

SYSTEM = "你负责编写训练任务。只按给定的格式接着写，不寒暄，不解释。"
"""The system message of every request."""

PATIENCE = 60
"""After so many replies one after another without a row, we take it that none will come."""


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
) -> None:
    """Write ``rows`` raw rows and a report of what became of every item of the replies that were needed.

    Replies are used in the order of their requests, so that rows and report depend on the replies alone: not on
    their timing, not on ``in_flight``, not on what the ledger held before.

    Args:
        seeds: Seed tasks, of which each request shows ``shots``.
        prompt: A text with ``{tasks}`` where the number of tasks stands.
        out: JSON Lines of ``id, request, sample, seeds, instruction, input, output``.
        report: JSON: ``replies`` used, their ``items``, ``kept``, and ``dropped`` by reason. An item of the last
            reply that was not needed any more is dropped as ``surplus``.
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
    text = load_prompt(prompt, tasks)
    params: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    if stop:
        params["stop"] = stop

    def shown(sample: int) -> list[SeedTask]:
        return shots_of(tasks_of_seeds, shots, seed, sample)

    def request(sample: int) -> Request:
        return request_of(text, shown(sample), model, params, sample)

    made, counts = list[jsonl.Row](), Counter[str]()
    with (
        Ledger(ledger) as book,
        provider(base_url, api_key) as api,
        Client(
            ledger=book, base_url=api.base_url, endpoint=api.endpoint, api_key=api.api_key, in_flight=in_flight,
            timeout_s=timeout_s, budget=budget,
        ) as client,
        tqdm(total=rows, desc="generate", unit="row", mininterval=1) as bar,
    ):  # fmt: skip
        sample = fruitless = 0
        while len(made) < rows:
            per_reply = len(made) / sample if made else tasks
            wave = min(in_flight, math.ceil((rows - len(made)) / per_reply))
            requests = [request(sample + position) for position in range(wave)]
            for reply in client.ask(requests, describe="generate", bar=False):
                if len(made) == rows:
                    break
                before = len(made)
                for row in _rows(reply, sample, [task.id for task in shown(sample)], rows - before, counts):
                    made.append(row)
                sample += 1
                fruitless = 0 if len(made) > before else fruitless + 1
                bar.update(len(made) - before)
                if fruitless == PATIENCE:
                    raise _nothing(fruitless, counts, reply, api.base_url)
    jsonl.write(out, made)
    with atomic_file(report) as file:
        json.dump(_report(sample, len(made), counts), file, ensure_ascii=False, indent=2)
        file.write("\n")


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


def request_of(text: str, shots: list[SeedTask], model: str, params: dict[str, Any], sample: int) -> Request:
    """Request number ``sample``."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": render(text, shots)}]
    return Request(model, messages, params, sample)


def _rows(reply: Reply, sample: int, seeds: list[str], wanted: int, counts: Counter[str]) -> Iterator[jsonl.Row]:
    """Yield the rows of a reply, at most ``wanted``, and count what every other item is dropped for."""
    for item in parse(reply.text, finish_reason=reply.finish_reason):
        reason = item.reason or ("" if wanted else "surplus")
        if reason:
            counts[reason] += 1
            continue
        wanted -= 1
        yield {
            "id": f"r-{reply.digest[:12]}-{item.number}",
            "request": reply.digest,
            "sample": sample,
            "seeds": seeds,
            "instruction": item.instruction,
            "input": item.input,
            "output": item.output,
        }


def _report(replies: int, kept: int, counts: Counter[str]) -> dict[str, Any]:
    dropped = {reason: counts[reason] for reason in (*REASONS, "surplus")}
    return {"replies": replies, "items": kept + sum(dropped.values()), "kept": kept, "dropped": dropped}


def _nothing(replies: int, counts: Counter[str], last: Reply, base_url: str) -> BelleError:
    seen = ", ".join(f"{reason} {count}" for reason, count in counts.most_common()) or "no item at all"
    return BelleError(
        f"{replies} replies one after another gave no row ({seen}); the last begins {last.text[:60]!r}",
        where=base_url,
        cause="a model that does not keep to the format, or max_tokens too small for one whole item",
        fix="look at the replies in the ledger, then change the model, the prompt or max_tokens",
    )
