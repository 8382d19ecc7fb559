"""How many requests are on the wire at a time, and from when on: the API's own limits, found and kept.

Additive increase, multiplicative decrease, as in TCP (Chiu and Jain 1989): each full round of replies raises the
number by a step, a 429 or 503 halves it, once for all the requests that were sent before it fell.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

_STEPS = 32
"""So many rounds without a refusal lead from nothing to ``most``."""


async def sleep(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but not beyond the moment that ``stop`` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


class Pace:
    """At most ``most`` requests at a time, fewer where the server asks for it. Lives in one event loop.

    ``changed`` is called when there may be room. Once ``stop`` is set nobody is held back any more: who enters then
    has to look, and to send nothing.
    """

    def __init__(self, most: int, changed: Callable[[], None], stop: asyncio.Event) -> None:
        self._most, self._changed, self._stop = most, changed, stop
        self._step = max(1.0, most / _STEPS)
        self._limit = float(most)
        self._on_wire = 0
        self._cut_at = self._not_before = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be on the wire now."""
        return max(1, int(self._limit))

    @property
    def room(self) -> int:
        """How many could be sent at once by somebody new."""
        if self._not_before > time.monotonic():
            return 0
        return max(0, self.limit - self._on_wire - len(self._waiting))

    def hold(self, seconds: float) -> None:
        """Let nothing go out for so long: a server asked for it, and it speaks for all requests."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    async def enter(self) -> float:
        """Return when one may send; the answer is the moment, for ``leave``."""
        while True:
            while (rest := self._not_before - time.monotonic()) > 0 and not self._stop.is_set():
                # Not all at the same moment, and never before the moment that the server named.
                await sleep(rest + random.uniform(0.0, min(1.0, 0.25 * rest)), self._stop)
                self._changed()
            if self._on_wire < self.limit:
                self._on_wire += 1
                return time.monotonic()
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._call_next()
                raise

    def leave(self, sent_at: float, *, slower: bool, replied: bool) -> None:
        """Say what became of a request that was sent at ``sent_at``."""
        self._on_wire -= 1
        if slower and sent_at > self._cut_at:
            self._limit, self._cut_at = max(1.0, self.limit / 2), time.monotonic()
        elif replied:
            self._limit = min(float(self._most), self._limit + self._step / self._limit)
        self._call_next()
        self._changed()

    def _call_next(self) -> None:
        free = self.limit - self._on_wire
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
