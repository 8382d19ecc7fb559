"""The body of a chat completion: what is read out of it, when it comes and whenever the ledger gives it back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Body:
    """A completion as it came (``raw``) and what was read out of it."""

    raw: str
    text: str
    finish_reason: str
    usage: Mapping[str, Any]


def read_body(raw: str) -> Body:
    """Read a chat completion's first choice.

    Raises:
        ValueError: it is not JSON, or not a chat completion.
    """
    try:
        completion = json.loads(raw)
        choice = completion["choices"][0]
        text, finish_reason = choice["message"].get("content") or "", choice.get("finish_reason") or ""
        usage = completion.get("usage") or {}
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("not a chat completion") from None
    if not (isinstance(text, str) and isinstance(finish_reason, str) and isinstance(usage, dict)):
        raise ValueError("not a chat completion")
    # Half of a surrogate pair, as a reply cut inside an emoji has, could not be written to any file.
    return Body(raw, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), finish_reason, usage)
