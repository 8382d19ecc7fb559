"""Attempts without a reply: what each failure means, whom it concerns, and how long a server asks to wait."""

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

CONTEXT_LENGTH, CONTENT_FILTER = "context_length", "content_filter"
MALFORMED, CUT, EMPTY = "malformed", "cut", "empty"

REASONS = (CONTEXT_LENGTH, CONTENT_FILTER, MALFORMED, CUT, EMPTY)
"""Why a single request can end without a usable reply."""

_AGAIN = frozenset({408, 409, 425, 429})
_SLOWER = frozenset({429, 503, 529})
_OF_THE_REQUEST = frozenset({400, 403, 413, 422})
"""Statuses that may speak of one request alone, if the error says so."""

_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context (?:length|window|size)|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_filter|content_policy|ResponsibleAIPolicy|content (?:management )?policy|content filter"
    r"|data_inspection_failed",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class RefusedError(Exception):
    """An attempt without a reply.

    ``again``: whether to try again; ``paid``: ``no`` or ``possibly``; ``wait_s``: what the server asked to wait;
    ``reason``: one of ``REASONS`` where the fault is of this request alone, else empty; ``slower``: whether the
    server asks for fewer requests at a time; ``body``: what came with status 200 in place of a completion.
    """

    def __init__(
        self,
        what: str,
        *,
        again: bool,
        paid: str,
        wait_s: float | None = None,
        reason: str = "",
        slower: bool = False,
        body: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.again, self.paid, self.wait_s = what, again, paid, wait_s
        self.reason, self.slower, self.body = reason, slower, body


def of_status(status: int, raw: str, headers: Mapping[str, str]) -> RefusedError:
    """What a status other than 200 means; ``raw`` is the body, with the key taken out."""
    code, told = _told(raw)
    message = (told or raw.strip() or headers.get("reason", ""))[:500]
    what = f"HTTP {status}: {message}"
    if 300 <= status < 400:
        # The key goes to base_url and nowhere else, so nobody is followed.
        what = f"HTTP {status}: the server points to {headers.get('location', 'another place')}"
        return RefusedError(what, again=False, paid="no")
    if status in _OF_THE_REQUEST:
        for reason, pattern in ((CONTEXT_LENGTH, _TOO_LONG), (CONTENT_FILTER, _FILTERED)):
            if pattern.search(f"{code} {message}"):
                return RefusedError(what, again=False, paid="no", reason=reason)
    return RefusedError(
        what,
        again=(status in _AGAIN or status >= 500) and code != "insufficient_quota",
        paid="possibly" if status >= 500 else "no",
        wait_s=retry_after(headers),
        slower=status in _SLOWER,
    )


def broken(reason: str, why: str, raw: str) -> RefusedError:
    """A body that came with status 200 and is no whole completion: it was made, so it may have been paid."""
    return RefusedError(f"HTTP 200, but {why}: {raw[:200]!r}", again=True, paid="possibly", reason=reason, body=raw)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait; None if it does not say.

    Read are Retry-After in milliseconds, seconds or as a date, and OpenAI's ``x-ratelimit-reset-…`` of the limit
    that is used up. Header names are in lower case.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if value := headers.get(name, "").strip():
            wait = _number(value, scale)
            return wait if wait is not None else _until(value)
    waits = [
        _duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(value: str, scale: float) -> float | None:
    try:
        wait = float(value) * scale
    except ValueError:
        return None
    return max(0.0, wait) if math.isfinite(wait) else None


def _until(value: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _duration(value: str) -> float | None:
    """Seconds of a duration as ``6m0s``, ``1.5s`` or ``20ms``."""
    parts = _DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value.strip():
        return _number(value, 1.0)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _told(raw: str) -> tuple[str, str]:
    """The code and the message of an error's body; empty where it has none."""
    try:
        body: Any = json.loads(raw)
    except ValueError:
        return "", ""
    error = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    code = " ".join(str(item) for item in codes if item)
    return ("insufficient_quota" if "insufficient_quota" in code.split() else code), str(error.get("message") or "")
