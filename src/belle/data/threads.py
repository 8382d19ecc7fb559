"""Ask for rows by threads: the first round of requests, those that the replies lead to, and what becomes of them all.

A kind of set says how a thread's requests are written and how its replies are read. A later request holds earlier
replies, so that each has its place in the ledger, and a thread that was cut short goes on where it stood.
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from belle import jsonl
from belle.api.budget import Budget
from belle.api.client import Client, Mode, Refusal, Reply, Request
from belle.api.ledger import Ledger
from belle.api.provider import provider
from belle.api.request import request_digest
from belle.errors import BelleError
from belle.files import atomic_file

PATIENCE = 60
"""After so many threads one after another without a row, we take it that none will come."""

WAVE = 8
"""Threads that are begun together, as a multiple of the requests in flight: their slowest should hold nobody up."""

SURPLUS = "surplus"
"""The reason of an item of the last thread that was not needed any more."""

REFUSED = "refused"
"""The reason of an item whose request ended without a usable reply: filtered, too long, broken or empty each time.

It stands in the place of such a reply, too: without text, its ``finish_reason`` begins with this word.
"""

Messages = list[dict[str, str]]
Rounds = Sequence[Sequence[Reply]]
"""The replies of a thread so far: those to the requests of its first round in their order, of its second, and so on."""


@dataclass(frozen=True)
class Item:
    """What one item of a thread became: a row's own fields, or the reason why it is none.

    Args:
        number: Its place in the thread, from 1.
        reason: Empty for a row, else one of the kind's ``reasons``.
        replies: Those that it was made from, the last last; empty for an item that is no row.
        seeds: Ids of the seeds that its requests showed.
        fields: What the row holds besides its id and origin.
    """

    number: int
    reason: str
    replies: Sequence[Reply] = ()
    seeds: Sequence[str] = ()
    fields: Mapping[str, Any] | None = None


class Kind(Protocol):
    """A kind of set. All its methods depend on their arguments and on what it was made with, and on nothing else."""

    @property
    def reasons(self) -> Sequence[str]:
        """Every reason that an item can have, in the order of the report."""

    @property
    def most_rows(self) -> int:
        """The most rows that one thread gives."""

    @property
    def most_threads(self) -> float:
        """How many threads there can be: without an end where each draws anew."""

    @property
    def draws(self) -> bool:
        """Whether equal requests of two threads are two draws, each paid for, or one."""

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """The next round of requests of thread number ``sample``; empty where it has come to its end."""

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """What became of a thread that has come to its end."""


class Drawn:
    """What kinds have in common whose threads draw anew, without an end."""

    most_threads = math.inf
    draws = True


@dataclass(frozen=True)
class Source:
    """Whom to ask, and how.

    Args:
        base_url: An OpenAI-compatible API, or ``offline`` for the teacher, which is started and stopped.
        model, params: As the request carries them.
        teacher: The offline teacher's name in the ledger for requests of this kind.
        ledger: The ledger's folder.
        api_key: Sent to the API and kept nowhere.
        in_flight, timeout_s, budget, mode: As for ``belle.api.client.Client``.
    """

    base_url: str
    model: str
    params: Mapping[str, Any]
    teacher: str
    ledger: Path
    api_key: str
    in_flight: int
    timeout_s: float
    budget: Budget | None = None
    mode: Mode = "chat"


def sampling(temperature: float, top_p: float, max_tokens: int, stop: Sequence[str] = ()) -> dict[str, Any]:
    """Sampling parameters as a request carries them; no ``stop`` where there is none."""
    params: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    return {**params, "stop": list(stop)} if stop else params


def collect(kind: Kind, source: Source, *, rows: int, out: Path, report: Path, describe: str) -> None:
    """Write ``rows`` rows and a report of what became of every item of the threads that were needed.

    Where the kind comes to its end before, they are fewer.

    Threads are used in their order, so that rows and report depend on the replies alone: not on their timing, not on
    ``in_flight``, not on what the ledger held before. What the ledger holds is used before anything is sent.

    Args:
        out: JSON Lines of ``id, request, sample, seeds`` and the kind's own fields; rows made from several replies
            name them all under ``requests``.
        report: JSON: ``replies`` used, their ``items``, ``kept``, and ``dropped`` by reason; where requests were
            refused, ``refused`` counts them by the API's reason, too.
        describe: The name of the asking in the ledger and on the progress bar.

    Raises:
        InputError: the key is missing, or a budget's price.
        BelleError: the API fails, the budget is reached, or ``PATIENCE`` threads in a row give no row.
    """
    counts, refused = Counter[str](), Counter[str]()
    sample = made = replies = fruitless = 0
    with (
        Ledger(source.ledger) as book,
        provider(source.base_url, source.api_key, teacher=source.teacher) as api,
        Client(
            ledger=book, base_url=api.base_url, endpoint=api.endpoint, api_key=api.api_key,
            in_flight=source.in_flight, timeout_s=source.timeout_s, budget=source.budget, mode=source.mode,
        ) as client,
        tqdm(total=rows, desc=describe, unit="row", mininterval=1) as bar,
        atomic_file(out) as file,
    ):  # fmt: skip
        asking = _Asking(kind, source, client, book, api.endpoint, describe)
        while made < rows and sample < kind.most_threads:
            per_thread = made / sample if made else kind.most_rows
            wave = int(min(WAVE * source.in_flight, math.ceil((rows - made) / per_thread), kind.most_threads - sample))
            for rounds in asking.threads(sample, wave):
                before = made
                for item in kind.items(sample, rounds):
                    reason = item.reason or (SURPLUS if made == rows else "")
                    if reason:
                        counts[reason] += 1
                    else:
                        file.write(jsonl.dumps(_row(item, sample)) + "\n")
                        made += 1
                sample += 1
                for reply in itertools.chain.from_iterable(rounds):
                    if is_refused(reply):
                        refused[reply.finish_reason.partition(": ")[2]] += 1
                    else:
                        replies += 1
                fruitless = 0 if made > before else fruitless + 1
                bar.update(made - before)
                if made == rows:
                    break
                if fruitless == PATIENCE:
                    raise _nothing(fruitless, counts, rounds, api.base_url)
    reasons = (*kind.reasons, *([REFUSED] if counts[REFUSED] else []), SURPLUS)
    dropped = {reason: counts[reason] for reason in reasons}
    summary = {"replies": replies, "items": made + sum(dropped.values()), "kept": made, "dropped": dropped}
    if refused:
        summary["refused"] = dict(sorted(refused.items()))
    with atomic_file(report) as file:
        json.dump(summary, file, ensure_ascii=False, indent=2)
        file.write("\n")


@dataclass(frozen=True)
class _Asking:
    """A kind, and the client that its threads go to."""

    kind: Kind
    source: Source
    client: Client
    book: Ledger
    endpoint: str
    describe: str

    def threads(self, first: int, count: int) -> Iterator[Rounds]:
        """Threads from number ``first`` on, each at its end: those that the ledger knows, else ``count`` together."""
        known = first
        while known < self.kind.most_threads and (rounds := self._known(known)) is not None:
            yield rounds
            known += 1
        if known == first:
            yield from self._carried(range(first, first + count))

    def _request(self, messages: Messages, sample: int) -> Request:
        return Request(self.source.model, messages, self.source.params, sample if self.kind.draws else 0)

    def _known(self, sample: int) -> Rounds | None:
        """A thread whose replies are all in the ledger; None for another."""
        rounds: list[list[Reply]] = []
        while asked := self.kind.ask(sample, rounds):
            requests = [self._request(messages, sample) for messages in asked]
            if self.book.missing([request_digest(one.identity(self.endpoint)) for one in requests], refusals=True):
                return None
            rounds.append(self._ask(requests))
        return rounds

    def _ask(self, requests: Sequence[Request]) -> list[Reply]:
        ended = self.client.ask(requests, describe=self.describe, bar=False, refusals=True) if requests else []
        return [without_reply(one) if isinstance(one, Refusal) else one for one in ended]

    def _carried(self, samples: Sequence[int]) -> list[list[list[Reply]]]:
        """Threads carried to their end together, round by round."""
        rounds: list[list[list[Reply]]] = [[] for _ in samples]
        going = list(enumerate(samples))
        while going:
            asked = [(place, sample, self.kind.ask(sample, rounds[place])) for place, sample in going]
            asked = [(place, sample, messages) for place, sample, messages in asked if messages]
            requests = [self._request(one, sample) for _, sample, messages in asked for one in messages]
            replies = iter(self._ask(requests))
            for place, _, messages in asked:
                rounds[place].append([next(replies) for _ in messages])
            going = [(place, sample) for place, sample, _ in asked]
        return rounds


def without_reply(refusal: Refusal) -> Reply:
    """What stands in the place of a reply that a request did not get."""
    return Reply(refusal.digest, "", f"{REFUSED}: {refusal.reason}", {})


def is_refused(reply: Reply) -> bool:
    """Whether this only stands in the place of a reply."""
    return reply.finish_reason.startswith(REFUSED)


def _row(item: Item, sample: int) -> jsonl.Row:
    last = item.replies[-1].digest
    several = {"requests": [reply.digest for reply in item.replies]} if len(item.replies) > 1 else {}
    origin = {"id": f"r-{last[:12]}-{item.number}", "request": last, **several, "sample": sample}
    return {**origin, "seeds": list(item.seeds), **(item.fields or {})}


def _nothing(threads: int, counts: Counter[str], last: Rounds, base_url: str) -> BelleError:
    seen = ", ".join(f"{reason} {count}" for reason, count in counts.most_common()) or "no item at all"
    return BelleError(
        f"{threads} replies one after another gave no row ({seen}); the last begins {last[0][0].text[:60]!r}",
        where=base_url,
        cause="a model that does not keep to the format, or max_tokens too small for one whole item",
        fix="look at the replies in the ledger, then change the model, the prompt or max_tokens",
    )
