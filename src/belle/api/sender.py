"""Send what the ledger lets us send, many requests at a time, and record every reply before it counts."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from belle.api.batches import Batches
from belle.api.claiming import Claiming, Order
from belle.api.fault import RefusedError
from belle.api.ledger import Ledger
from belle.api.lines import Broken, Entry, Mode, Refused
from belle.api.pace import Pace, sleep
from belle.api.progress import Came
from belle.api.recorder import Recorder
from belle.api.wire import Wire
from belle.errors import BelleError

_LOOK_AGAIN_S = 0.2
"""How often to look whether another process has brought a reply that we wait for."""

_TELL_AFTER_S = 5.0
"""How long to wait for another process before saying so."""

_LONGEST_PAUSE_S = 30.0
"""The bound of the pauses that double from one failure to the next. A server's Retry-After may be longer."""

_BROKEN_RETRIES = 2
"""How often a request is sent again whose reply came malformed or cut: each of them may have been paid."""

_GATHER_S, _GATHER_SHARE = 0.01, 16
"""With less than a sixteenth of ``in_flight`` free, claims wait a moment, so that more share one wait for the disk."""

_REPLY_BYTES, _TOKEN_BYTES = 16384, 16
"""Room on the disk for one reply's line, and for each token that the reply may have."""


@dataclass
class _Attempts:
    """What became of the attempts at one request so far: ``lost`` ones may have been paid, and no reply is kept."""

    count: int = 0
    throttled: int = 0
    failures: int = 0
    broken: int = 0
    lost: int = 0


class Sender:
    """Claims requests, keeps up to ``in_flight`` of them under way, and records the replies together.

    Lives in one event loop; ``send`` may be called again and again over the same connections.

    Args:
        came: Called whenever requests have ended.
        tell: Called with what the user should know.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        base_url: str,
        api_key: str,
        in_flight: int,
        timeout_s: float,
        max_retries: int,
        first_pause_s: float,
        came: Callable[[Came], None],
        tell: Callable[[str], None],
        patience_s: float = 900.0,
        poll_s: float = 5.0,
        budget: Mapping[str, Any] | None = None,
    ) -> None:
        self._ledger, self._base_url, self._came, self._tell = ledger, base_url, came, tell
        self._in_flight, self._max_retries, self._first_pause_s = in_flight, max_retries, first_pause_s
        self._patience_s = patience_s
        self._claiming = Claiming(ledger, budget, lease_s=patience_s + timeout_s + _LONGEST_PAUSE_S)
        self._recorder = Recorder(ledger)
        self._wire = Wire(base_url=base_url, api_key=api_key, timeout_s=timeout_s)
        self._wake, self._stop = asyncio.Event(), asyncio.Event()
        self._pace = Pace(in_flight, self._wake.set, self._stop)
        self._again = set[str]()
        self._batches = Batches(
            ledger=ledger, claiming=self._claiming, recorder=self._recorder, base_url=base_url, api_key=api_key,
            timeout_s=timeout_s, max_retries=max_retries, first_pause_s=first_pause_s, poll_s=poll_s,
            hide=self._wire.hide, came=came, tell=tell, stop=self._stop,
        )  # fmt: skip

    def stop(self) -> None:
        """Send nothing new and try nothing again; ``send`` returns when what is under way is recorded.

        A batch goes on by itself: it is not waited for, and found again by the next run. May be called by a signal
        handler of the event loop.
        """
        self._stop.set()
        self._wake.set()

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()
        await self._batches.close()
        self._claiming.close()

    async def send(
        self, requests: Mapping[str, Mapping[str, Any]], *, stage: str, refusals: bool = False, mode: Mode = "chat"
    ) -> None:
        """Bring the replies to ``requests`` (digest → the ledger's ``FIELDS``) into the ledger.

        What another process sends is waited for. After a failure nothing new is sent, what is under way is still
        waited for and recorded, and the first failure is raised. With ``refusals``, a failure of one request alone
        is recorded as its end instead.
        """
        order = Order(requests, stage, refusals)
        if mode == "batch":
            await self._batches.send(order)
        else:
            await self._chat(order)

    async def _chat(self, order: Order) -> None:
        waiting, theirs = deque(order.requests), dict[str, str]()
        running, failures = set[asyncio.Task[None]](), list[BaseException]()
        wake, started, told = self._wake, time.monotonic(), False
        self._again.clear()
        room_for_one = _REPLY_BYTES + _TOKEN_BYTES * max(
            (_max_tokens(request) for request in order.requests.values()), default=0
        )

        def finished(task: asyncio.Task[None]) -> None:
            running.discard(task)
            wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                failures.append(error)

        def start(work: Any) -> None:
            task = asyncio.create_task(work)
            task.add_done_callback(finished)
            running.add(task)

        def room() -> int:
            free = min(self._in_flight - len(running), self._pace.room)
            return free if running else max(1, free)

        try:
            while running or ((waiting or theirs) and not failures and not self._stop.is_set()):
                wake.clear()
                full = elsewhere = False
                while waiting and not (failures or full or self._stop.is_set()) and room() > 0:
                    if running and room() < self._in_flight // _GATHER_SHARE:
                        await asyncio.sleep(_GATHER_S)
                    alone = not running
                    batch = [waiting.popleft() for _ in range(min(len(waiting), room()))]
                    try:
                        self._ledger.reserve(room_for_one * self._in_flight)
                        claims, over = await asyncio.to_thread(self._claiming.claim, batch, order)
                    except BelleError as error:  # a full disk: what is under way is still waited for
                        failures.append(error)
                        break
                    self._again.update(claims.possibly_paid)
                    theirs.update(claims.theirs)
                    self._came(Came(len(claims.answered)))
                    for digest in claims.mine:
                        if digest not in claims.batched:
                            start(self._bring(digest, order))
                    if claims.batched:
                        start(self._await_batches(claims.batched, order, waiting))
                    if over:
                        # What is under way is reserved at its worst case: room comes back with its replies.
                        full, elsewhere = True, over.others_send
                        waiting.extendleft(reversed(over.digests))
                        # What ended while the account was read had its room back too late to be seen: look again.
                        if alone and not (running or theirs or elsewhere):
                            failures.append(over.error)
                if not (running or theirs or elsewhere):
                    continue
                if theirs and not told and time.monotonic() - started > _TELL_AFTER_S:
                    told = True
                    holder = next(iter(theirs.values()))
                    self._tell(f"{order.stage}: waiting for {len(theirs)} replies that {holder} has asked for")
                try:
                    await asyncio.wait_for(wake.wait(), _LOOK_AGAIN_S if theirs or elsewhere else None)
                except TimeoutError:
                    waiting.extend(theirs)
                    theirs.clear()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._recorder.idle()
            if self._again:
                self._tell(
                    f"{order.stage}: {len(self._again)} requests had been sent before without a reply being seen "
                    "(a killed run, or a lost connection); they are possibly paid, and were sent again"
                )
        if failures:
            raise failures[0]

    async def _await_batches(self, batched: Mapping[str, str], order: Order, waiting: deque[str]) -> None:
        """Take from batches of an earlier run what they hold; the rest is sent as any other request."""
        waiting.extend(await self._batches.adopt(batched, order))

    async def _bring(self, digest: str, order: Order) -> None:
        """Bring one reply, or its refusal, into the ledger, or give its claim up there and raise."""
        request, started, so_far = order.requests[digest], time.monotonic(), _Attempts()
        refused = RefusedError("not sent", again=True, paid="no")
        try:
            while True:
                sent_at = await self._pace.enter()
                replied, slower = False, False
                try:
                    if self._stop.is_set():
                        break
                    if so_far.lost:
                        await asyncio.to_thread(self._claiming.claim_again, digest, order)
                    so_far.count, so_far.lost = so_far.count + 1, so_far.lost + 1
                    body = await self._wire.post(request, digest)
                    replied = True
                except RefusedError as error:
                    refused, slower = error, error.slower
                    so_far.lost -= error.paid == "no"
                finally:
                    self._pace.leave(sent_at, slower=slower, replied=replied)
                if replied:  # until it is on the disk, it counts as lost
                    price = self._claiming.price(request)
                    entry = Entry(
                        digest, request, body.raw, body.usage, body.finish_reason, time.monotonic() - started,
                        so_far.count, so_far.lost - 1, price=price,
                    )  # fmt: skip
                    await self._recorder.keep(entry, order.stage)
                    self._came(Came.of(body.usage, price))
                    return
                if refused.body is not None:
                    await self._recorder.keep(Broken(digest, refused.reason, refused.body), order.stage)
                pause = self._next_pause(refused, so_far, started + self._patience_s - time.monotonic())
                if pause is None or self._stop.is_set():
                    break
                if so_far.lost:
                    self._again.add(digest)
                await sleep(pause, self._stop)
            if self._stop.is_set() and refused.again:
                self._give_up(digest, so_far, "stopped", order)
                return
            if not (order.refusals and refused.reason):
                raise self._failure(refused, so_far.count)
            seconds = time.monotonic() - started
            end = Refused(digest, request, refused.reason, refused.what, seconds, so_far.count, so_far.lost)
            await self._recorder.keep(end, order.stage)
            self._came(Came(1, refused={refused.reason: 1}))
        except BaseException as error:
            reason = refused.what.partition(":")[0] if isinstance(error, BelleError) else type(error).__name__
            self._give_up(digest, so_far, reason, order)
            raise

    def _give_up(self, digest: str, so_far: _Attempts, reason: str, order: Order) -> None:
        paid = "possibly" if so_far.lost else "no"
        self._ledger.release({digest: (paid, reason)}, stage=order.stage, lost=so_far.lost)

    def _next_pause(self, refused: RefusedError, so_far: _Attempts, patience_s: float) -> float | None:
        """Seconds to wait before the next attempt; None if there is none.

        A wait that the server names holds every request back. Where nothing can have been paid it is not counted
        among the failures: a rate limit is met by waiting, however many others are in the queue. The patience bounds
        all waits together.
        """
        wait_s = refused.wait_s or 0.0
        if not refused.again or patience_s <= 0:
            return None
        if wait_s > patience_s:
            refused.what += f" (the server asks to wait {wait_s:.0f} s, which is longer than we do)"
            return None
        if wait_s:
            self._pace.hold(wait_s)
            if refused.paid == "no":
                so_far.throttled += 1
                return random.uniform(0.0, min(_LONGEST_PAUSE_S, self._first_pause_s * so_far.throttled))
        so_far.failures += 1
        so_far.broken += refused.body is not None
        if so_far.failures > self._max_retries or so_far.broken > _BROKEN_RETRIES:
            return None
        longest = min(_LONGEST_PAUSE_S, self._first_pause_s * 2 ** (so_far.failures - 1))
        return longest * random.uniform(0.5, 1.0)

    def _failure(self, refused: RefusedError, attempts: int) -> BelleError:
        causes = {
            "HTTP 401": ("the key is wrong or expired", "check OPENAI_API_KEY"),
            "HTTP 403": ("the key may not use this model or API", "check the account's rights"),
            "HTTP 404": ("a wrong base_url or model name", "check both in params.yaml"),
            "HTTP 429": ("the rate limit or the quota is used up", "lower in_flight, or check the account"),
            "connection failed": ("a wrong base_url, no network, or a server that is down", "check base_url"),
        }
        cause, fix = causes.get(refused.what.partition(":")[0], ("", ""))
        if refused.what.startswith("HTTP 3"):
            cause, fix = "an API that moved", "write where it is in base_url"
        again = "run again later: every reply so far is in the ledger and is not paid again"
        times = f" ({attempts} attempts)" if attempts > 1 else ""
        return BelleError(
            refused.what + times, where=self._base_url, cause=cause, fix=f"{fix}; {again}" if fix else again
        )


def _max_tokens(request: Mapping[str, Any]) -> int:
    params = request["params"]
    return int(params.get("max_tokens") or params.get("max_completion_tokens") or 4096)
