"""A hard limit on what a ledger may cost: nothing is sent that could take it over.

Spent is what every reply in the ledger costs by its usage. A request under way is reserved at its worst case, which
its intent in the ledger carries (``usd``), so that all processes on one ledger see each other's. A request that was
sent without a reply being seen stays reserved: it may have been paid.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belle.api.prices import Prices, most_tokens
from belle.api.process import Process, this_process
from belle.api.shard import SHARDS, Shard
from belle.errors import BelleError

KEY = "budget.max_cost_usd"
"""The key of params.yaml that raises the limit."""


@dataclass(frozen=True)
class Budget:
    """How many USD a ledger may cost in all, and by which prices."""

    max_cost_usd: float
    prices: Prices

    def as_json(self) -> dict[str, Any]:
        """For the sender's pipe; ``from_json`` reads it."""
        return {"max_cost_usd": self.max_cost_usd, "prices": self.prices.as_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Budget":
        """Undo ``as_json``."""
        return cls(value["max_cost_usd"], Prices.from_json(value["prices"]))

    def most(self, request: Mapping[str, Any], mode: str = "chat") -> float:
        """The worst case of a request (the ledger's ``FIELDS``) in USD.

        Raises:
            InputError: its price is not known, or nothing bounds its completion.
        """
        price = self.prices.required(request["endpoint"], request["model"], mode)
        return price.usd(*most_tokens(request)) if price.prompt or price.completion else 0.0


@dataclass(frozen=True)
class _Reserved:
    """A request without a reply: its worst case, and who sends it (None: nobody any more)."""

    usd: float
    sender: Process | None
    until: float
    batch: str = ""


@dataclass
class _Book:
    """One shard's sums: replies, requests without a reply by digest, and attempts possibly paid and repeated."""

    spent: float = 0.0
    open: dict[str, _Reserved] = field(default_factory=dict)
    lost: float = 0.0
    seen: set[int] = field(default_factory=set)


class Account:
    """What a ledger's folder has cost, read on from where the last look ended.

    Raises:
        InputError: the ledger holds replies of a model whose price nobody named.
    """

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.folder, self.budget = Path(folder), budget
        self._shards = {digit: Shard(self.folder / f"{digit}.jsonl") for digit in SHARDS}
        self._books = {digit: _Book() for digit in SHARDS}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the files."""
        for shard in self._shards.values():
            shard.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the account of this folder against every other process, and bring it up to date."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self.refresh()
                yield
            finally:
                os.close(descriptor)

    def refresh(self) -> None:
        """Take in what was appended to the ledger since the last look."""
        for digit, shard in self._shards.items():
            for offset, line in shard.news():
                if offset == 0:
                    self._books[digit] = _Book()
                self._take_in(self._books[digit], line)

    @property
    def spent(self) -> float:
        """What the replies cost, in USD."""
        return sum(book.spent for book in self._books.values())

    @property
    def reserved(self) -> float:
        """The worst case of what is under way or possibly paid, in USD."""
        return sum(book.lost + sum(held.usd for held in book.open.values()) for book in self._books.values())

    def others_send(self) -> bool:
        """Whether another living process has requests under way: room may come back when they are answered."""
        me, now = this_process(), time.time()
        senders = {(held.sender, held.until) for book in self._books.values() for held in book.open.values()}
        return any(
            sender.alive() if sender.host == me.host else now < until
            for sender, until in senders
            if sender is not None and sender != me
        )

    def fitting(self, requests: Iterable[tuple[str, float]]) -> dict[str, float]:
        """The first of ``requests`` (digest, worst case) that fit together with all that is spent and reserved.

        To be called, and acted upon, inside ``alone``.
        """
        room = self.budget.max_cost_usd - self.spent - self.reserved
        fits: dict[str, float] = {}
        for digest, most in requests:
            held = self._books[digest[0]].open.get(digest)
            more = 0.0 if held and held.batch else most  # one that is in a batch is waited for, and not paid again
            if more and more > room:
                break
            room -= more
            fits[digest] = most
        return fits

    def exceeded(self, most: float) -> BelleError:
        """What to tell where a request of the worst case ``most`` does not fit any more."""
        return BelleError(
            f"the budget of {_usd(self.budget.max_cost_usd)} is reached: {_usd(self.spent)} spent, "
            f"{_usd(self.reserved)} in flight or possibly paid, and the next request may cost up to {_usd(most)}",
            where=str(self.folder),
            cause=f"{KEY} in params.yaml, a limit on all that this ledger holds",
            fix=f"raise {KEY} and run again: no reply is lost, and nothing else is rebuilt",
        )

    def _take_in(self, book: _Book, line: bytes) -> None:
        try:
            row = json.loads(line)
            kind, digest = row["kind"], row["digest"]
        except (ValueError, KeyError, TypeError):
            return  # the ledger itself refuses such a line, and names its place
        if kind == "reply":
            # A reply that came twice was paid twice; the same line twice is a writing that was tried again.
            if (mark := hash(line)) in book.seen:
                return
            book.seen.add(mark)
            held = book.open.pop(digest, None)
            book.spent += self._cost(row, held.usd if held else 0.0)
        elif kind == "intent":
            held, batch = book.open.pop(digest, None), row.get("batch", "")
            # A batch that another process goes on waiting for is paid once.
            book.lost += held.usd if held and not (batch and batch == held.batch) else 0.0
            if usd := row.get("usd"):
                sender = Process(row["host"], row["pid"], row["started"])
                book.open[digest] = _Reserved(usd, sender, row["time"] + row["lease_s"], batch)
        elif kind in ("release", "refusal") and (held := book.open.pop(digest, None)) and row.get("paid") != "no":
            book.open[digest] = _Reserved(held.usd, None, 0.0)

    def _cost(self, row: Mapping[str, Any], most: float) -> float:
        request, usage = row["request"], row.get("usage") or {}
        mode = row.get("mode", "chat")
        price = self.budget.prices.required(request["endpoint"], request["model"], mode)
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if isinstance(prompt, int) and isinstance(completion, int):
            return price.usd(prompt, completion)
        return most or self.budget.most(request, mode)


def _usd(value: float) -> str:
    return f"${value:.2f}" if value >= 1 else f"${value:.6f}".rstrip("0").rstrip(".") if value else "$0"
