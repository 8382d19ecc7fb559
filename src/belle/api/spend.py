"""What a ledger holds and what it cost, by stage and model; its requests as rows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from belle.api.body import read_body
from belle.api.ledger import Ledger
from belle.api.prices import Prices
from belle.errors import InputError

_DIGEST = re.compile(r"[0-9a-f]{6,64}")


@dataclass
class Spend:
    """One stage's requests to one model.

    ``requests`` that were ever sent; ``replies``, each counted once, and what came a second time as ``extra``;
    ``refusals`` by reason; ``broken`` bodies; ``possibly_paid`` attempts that brought no reply; ``open`` requests that
    are under way, or were when their sender died. ``usd`` is None where no price is known.
    """

    stage: str
    model: str
    endpoint: str
    requests: int = 0
    replies: int = 0
    extra: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    possibly_paid: int = 0
    open: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    first: float = 0.0
    last: float = 0.0
    usd: float | None = 0.0


@dataclass
class _Known:
    """What the lines of one request say so far."""

    stage: str
    first: float
    last: float
    batch: str = ""
    open: bool = False
    lost: int = 0
    broken: int = 0
    refusal: dict[str, Any] | None = None
    replies: list[dict[str, Any]] = field(default_factory=list)

    def take_in(self, row: Mapping[str, Any]) -> None:
        kind, self.last = row["kind"], row["time"]
        if kind == "broken":
            self.broken += 1
        elif kind == "intent":
            batch = row.get("batch", "")
            # Once more by the same sender, or the same batch waited for by another: the first one is not over.
            if not row.get("again") and not (batch and batch == self.batch):
                self.lost += self.open
            self.open, self.batch = True, batch
        else:
            self.open = False
            self.lost += row.get("lost", int(row.get("paid") == "possibly"))
            if kind == "reply":
                self.replies.append(_kept(row))
            elif kind == "refusal":
                self.refusal = {**_kept(row), "reason": row["reason"]}


def spend(ledger: Ledger, prices: Prices) -> list[Spend]:
    """Count the ledger's lines by stage and model, sorted by both.

    A request that never ended has no model there: it counts under an empty one.
    """
    known: dict[str, _Known] = {}
    lines = set[int]()
    for row in ledger.lines():
        if row["kind"] == "reply":
            # The same line twice is a writing that was tried again; a reply that came twice was paid twice.
            if (mark := hash((row["digest"], row["time"], row["reply"]))) in lines:
                continue
            lines.add(mark)
        if (found := known.get(row["digest"])) is None:
            found = known[row["digest"]] = _Known(row.get("stage", ""), row["time"], row["time"])
        found.take_in(row)
    totals: dict[tuple[str, str, str], Spend] = {}
    for found in known.values():
        _add(totals, found, prices)
    return [totals[key] for key in sorted(totals)]


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stage": row.get("stage", ""), "model": row["request"]["model"], "endpoint": row["request"]["endpoint"],
        "usage": row.get("usage") or {}, "mode": row.get("mode", "chat"), "seconds": row.get("seconds", 0.0),
    }  # fmt: skip


def _add(totals: dict[tuple[str, str, str], Spend], found: _Known, prices: Prices) -> None:
    ended = found.replies[0] if found.replies else found.refusal
    ended = ended or {"stage": found.stage, "model": "", "endpoint": ""}
    key = (ended["stage"], ended["model"], ended["endpoint"])
    total = totals.setdefault(key, Spend(*key))
    total.requests += 1
    total.broken += found.broken
    total.possibly_paid += found.lost
    total.first = min(total.first or found.first, found.first)
    total.last = max(total.last, found.last)
    if found.replies:
        total.replies += 1
        total.extra += len(found.replies) - 1
        total.seconds += ended["seconds"]
    elif found.refusal is not None:
        reason = found.refusal["reason"]
        total.refusals[reason] = total.refusals.get(reason, 0) + 1
    else:
        total.open += found.open
    for reply in found.replies:
        counts = [reply["usage"].get(f"{kind}_tokens") for kind in ("prompt", "completion")]
        prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
        total.prompt_tokens += prompt
        total.completion_tokens += completion
        price = prices.of(reply["endpoint"], reply["model"], reply["mode"])
        total.usd = None if price is None or total.usd is None else total.usd + price.usd(prompt, completion)


def find(ledger: Ledger, wanted: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the requests whose digest begins with ``wanted``, or whose messages or reply contain it.

    Raises:
        InputError: nothing is wanted.
    """
    if not wanted:
        raise InputError("nothing to look for", where="command line", fix="give a text, or six digits of a digest")
    by_digest = bool(_DIGEST.fullmatch(wanted))
    for row in rows(ledger):
        texts = [row["text"], *(message["content"] for message in row["messages"])]
        if (by_digest and row["digest"].startswith(wanted)) or any(wanted in text for text in texts):
            yield row


def rows(ledger: Ledger, *, stage: str = "", model: str = "") -> Iterator[dict[str, Any]]:
    """Yield one row for each request that has a reply or a refusal, in the ledger's order, of a stage and a model.

    A row has ``digest, stage, time, seconds, attempts, mode``, the request's fields, and of its end ``text,
    finish_reason, usage, refusal`` (a reason, or empty).
    """
    refused: dict[str, dict[str, Any]] = {}
    answered = set[str]()
    for line in ledger.lines():
        if line["kind"] == "refusal":
            refused.setdefault(line["digest"], line)
        if line["kind"] != "reply" or line["digest"] in answered:
            continue
        answered.add(line["digest"])
        if _chosen(line, stage, model):
            yield _row(line, read_body(line["reply"]).text)
    for digest, line in refused.items():
        if digest not in answered and _chosen(line, stage, model):
            yield _row(line, "")


def _chosen(line: Mapping[str, Any], stage: str, model: str) -> bool:
    return (not stage or line.get("stage") == stage) and (not model or line["request"]["model"] == model)


def _row(line: Mapping[str, Any], text: str) -> dict[str, Any]:
    request = line["request"]
    return {
        "digest": line["digest"], "stage": line.get("stage", ""), "time": line["time"], "seconds": line["seconds"],
        "attempts": line["attempts"], "mode": line.get("mode", "chat"), "endpoint": request["endpoint"],
        "model": request["model"], "messages": request["messages"], "params": request["params"],
        "sample": request["sample"], "text": text, "finish_reason": line.get("finish_reason", ""),
        "usage": line.get("usage", {}), "refusal": line.get("reason", ""),
    }  # fmt: skip
