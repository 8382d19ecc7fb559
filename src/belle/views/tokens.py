"""How many tokens a text has for an API that does not tell beforehand, and what the ledger knows of its replies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belle.api.ledger import Ledger
from belle.api.prices import LOOPBACK
from belle.api.provider import OFFLINE, endpoint_name
from belle.api.teacher.identity import identity, identity_for_sets
from belle.api.teacher.sets.answers import reply_to
from belle.views.interval import Interval, mean_of

HAN_TOKENS, OTHER_TOKENS = Interval(1.15, 0.9, 1.5), Interval(0.3, 0.2, 0.5)
"""Tokens of a Chinese character, and of any other, in OpenAI's vocabularies."""

ENOUGH = 8
"""Replies from which on what was measured goes before what is assumed."""
KEPT = 4000
"""Replies of one kind that are measured; more would change nothing."""
DRAWN = 64
"""Requests that the offline teacher is asked, in this process and for nothing, where the ledger knows too little."""


@dataclass
class Seen:
    """Replies of one model to one kind of request: tokens per character of the prompt, and tokens of the reply."""

    ratios: list[float] = field(default_factory=list)
    completions: list[int] = field(default_factory=list)


class Known:
    """A ledger, read once for what it teaches about replies to come."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder)
        self.seen: dict[tuple[str, str, str], Seen] = defaultdict(Seen)
        for line in self.ledger:
            request, usage = line["request"], line.get("usage") or {}
            seen = self.seen[request["endpoint"], request["model"], line.get("stage", "")]
            asked = sum(len(message["content"]) for message in request["messages"])
            prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
            if asked and isinstance(prompt, int) and isinstance(completion, int) and len(seen.ratios) < KEPT:
                seen.ratios.append(prompt / asked)
                seen.completions.append(completion)

    def measured(self, endpoint: str, model: str, kind: str) -> Seen | None:
        """What is known of these replies, if it is enough to go by."""
        seen = self.seen.get((endpoint, model, kind))
        return seen if seen and len(seen.ratios) >= ENOUGH else None

    def prompt_tokens(self, endpoint: str, model: str, kind: str, texts: Sequence[str], count: float) -> Interval:
        """Tokens of the prompts of ``count`` requests, of which ``texts`` are examples."""
        scale = count / max(1, len(texts))
        characters = sum(map(len, texts))
        if is_teacher(endpoint):
            return Interval.exactly(characters * scale)
        if seen := self.measured(endpoint, model, kind):
            return mean_of(seen.ratios, count) * (characters * scale)
        han = sum(character > "⺀" for text in texts for character in text)
        return HAN_TOKENS * (han * scale) + OTHER_TOKENS * ((characters - han) * scale)


def endpoint_of(base_url: str, *, sets: bool = False) -> str:
    """The API's name in the ledger; the offline teacher has another for requests that ask for ``sets``."""
    if base_url != OFFLINE:
        return endpoint_name(base_url)
    return identity_for_sets() if sets else identity()


def is_teacher(endpoint: str) -> bool:
    """Whether the offline teacher of this checkout answers: it counts a character as a token."""
    return endpoint in (identity(), identity_for_sets())


def drawn(request: dict[str, Any]) -> tuple[str, str]:
    """What the offline teacher would reply, and its finish reason: a pure function, so nothing is asked or recorded."""
    answer = reply_to({"model": request["model"], "messages": request["messages"], **request["params"]})
    return answer.text, answer.finish_reason


__all__ = ["DRAWN", "LOOPBACK", "Known", "drawn", "endpoint_of", "is_teacher"]
