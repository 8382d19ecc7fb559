"""The lines that a ledger is made of, and how each is spelt.

intent    before a request is sent: its digest, who sends it, and under a budget its worst case (``usd``); with
          ``batch``, the name of the batch that it is sent in
reply     the whole request and the whole body, before anything else is done with them
broken    a body that came with status 200 and is no whole completion: kept, counted, and no reply
refusal   the request alone is at fault, or no attempt at it gave a whole completion: not sent again
release   a sender gives up: ``paid`` is "no" (refused) or "possibly" (sent, no reply seen)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from belle import jsonl
from belle.api.process import Process
from belle.api.request import FIELDS

Mode = Literal["chat", "batch"]
"""One request after another over HTTP, or many in a file that the API works off within a day, for less."""

KINDS = ("intent", "reply", "broken", "refusal", "release")


@dataclass(frozen=True)
class Entry:
    """A reply to be recorded: the request's ``FIELDS`` and the body as it came.

    ``lost``: earlier attempts that may have been paid without a whole reply being seen. ``price``: USD per million
    prompt and completion tokens as known when it came; empty where nobody said.
    """

    digest: str
    request: Mapping[str, Any]
    body: str
    usage: Mapping[str, Any]
    finish_reason: str
    seconds: float
    attempts: int = 1
    lost: int = 0
    mode: Mode = "chat"
    price: Sequence[float] = field(default=())

    def line(self, stage: str, now: float) -> bytes:
        """The ledger's line."""
        more: dict[str, Any] = {"mode": self.mode} if self.mode != "chat" else {}
        if self.lost:
            more["lost"] = self.lost
        if self.price:
            more["price"] = list(self.price)
        return line_of(
            "reply", self.digest, request=_fields(self.request), reply=self.body, usage=self.usage,
            finish_reason=self.finish_reason, stage=stage, seconds=round(self.seconds, 3), attempts=self.attempts,
            time=now, **more,
        )  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """A request that ends without a reply for a ``reason`` of its own; of its attempts ``lost`` may have been paid."""

    digest: str
    request: Mapping[str, Any]
    reason: str
    message: str
    seconds: float
    attempts: int = 1
    lost: int = 0

    def line(self, stage: str, now: float) -> bytes:
        """The ledger's line."""
        return line_of(
            "refusal", self.digest, request=_fields(self.request), reason=self.reason, message=self.message,
            paid="possibly" if self.lost else "no", lost=self.lost, stage=stage, seconds=round(self.seconds, 3),
            attempts=self.attempts, time=now,
        )  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """What came of one attempt in place of a completion: ``reason`` is "malformed" or "cut"."""

    digest: str
    reason: str
    body: str

    def line(self, stage: str, now: float) -> bytes:
        """The ledger's line."""
        return line_of("broken", self.digest, reason=self.reason, body=self.body, stage=stage, time=now)


def intent_line(
    digest: str, me: Process, now: float, stage: str, lease_s: float, usd: float | None, batch: str, again: bool = False
) -> bytes:
    """The line of a request about to be sent by the process ``me``, or by it once more (``again``)."""
    more: dict[str, Any] = {"usd": usd} if usd else {}
    if again:
        more["again"] = True
    if batch:
        more["batch"] = batch
    return line_of(
        "intent", digest, pid=me.pid, host=me.host, started=me.started, stage=stage, lease_s=lease_s, time=now, **more
    )


def line_of(kind: str, digest: str, **values: Any) -> bytes:
    """A line of any kind, with its line end."""
    return jsonl.dumps({"kind": kind, "digest": digest, **values}).encode("utf-8", "backslashreplace") + b"\n"


def parsed(line: bytes) -> dict[str, Any] | None:
    """The values of a line; None if it is no ledger line."""
    try:
        row = json.loads(line)
        if row["kind"] in KINDS and len(bytes.fromhex(row["digest"])) == 32:
            return row
    except (ValueError, KeyError, TypeError):
        pass
    return None


def _fields(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: request[name] for name in sorted(FIELDS)}
