"""Send what the ledger lets us send, many requests at a time, and record every reply before it counts."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from belle.api.budget import Account, Budget
from belle.api.ledger import Claims, Entry, Ledger
from belle.api.wire import RefusedError, Wire
from belle.errors import BelleError

_LOOK_AGAIN_S = 0.2
"""How often to look whether another process has brought a reply that we wait for."""

_TELL_AFTER_S = 5.0
"""How long to wait for another process before saying so."""

_LONGEST_PAUSE_S = 30.0
"""The bound of the pauses that double from one failure to the next. A server's Retry-After has none."""

_REPLY_BYTES, _TOKEN_BYTES = 16384, 16
"""Room on the disk for one reply's line, and for each token that the reply may have."""


@dataclass(frozen=True)
class _Refused:
    """Requests that the budget does not allow now, the error to raise if it never will, and whom to wait for."""

    digests: list[str]
    error: BelleError
    others_send: bool


class Sender:
    """Claims requests, keeps ``in_flight`` of them under way, and records the replies in batches.

    Lives in one event loop; ``send`` may be called again and again over the same connections.

    Args:
        replies: Called with the number of requests that were found to be answered since the last call.
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
        budget: Mapping[str, Any] | None = None,
        replies: Callable[[int], None],
        tell: Callable[[str], None],
    ) -> None:
        self._ledger, self._base_url, self._replies, self._tell = ledger, base_url, replies, tell
        self._in_flight, self._max_retries, self._first_pause_s = in_flight, max_retries, first_pause_s
        self._lease_s = (timeout_s + _LONGEST_PAUSE_S) * (max_retries + 1)
        self._account = Account(ledger.folder, Budget.from_json(budget)) if budget else None
        self._wire = Wire(base_url=base_url, api_key=api_key, timeout_s=timeout_s)
        self._stopping = False
        self._wake = asyncio.Event()
        self._not_before = 0.0
        self._again = set[str]()
        self._arrived: list[tuple[Entry, asyncio.Future[None]]] = []
        self._recording: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Send nothing new and try nothing again; ``send`` returns when what is under way is recorded.

        May be called by a signal handler of the event loop.
        """
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()
        if self._account:
            self._account.close()

    async def send(self, requests: Mapping[str, Mapping[str, Any]], *, stage: str) -> None:
        """Bring the replies to ``requests`` (digest → the ledger's ``FIELDS``) into the ledger.

        What another process sends is waited for. After a failure nothing new is sent, what is under way is still
        waited for and recorded, and the first failure is raised.
        """
        waiting, theirs = deque(requests), dict[str, str]()
        running, failures = set[asyncio.Task[None]](), list[BaseException]()
        wake, started, told = self._wake, time.monotonic(), False
        self._again.clear()
        room_for_one = _REPLY_BYTES + _TOKEN_BYTES * max(
            (_max_tokens(request) for request in requests.values()), default=0
        )

        def finished(task: asyncio.Task[None]) -> None:
            running.discard(task)
            wake.set()
            if not task.cancelled():
                error = task.exception()
                if error is None:
                    self._replies(1)
                else:
                    failures.append(error)

        try:
            while running or ((waiting or theirs) and not failures and not self._stopping):
                wake.clear()
                full = elsewhere = False
                while waiting and not (failures or full or self._stopping) and len(running) < self._in_flight:
                    room = min(len(waiting), self._in_flight - len(running))
                    batch = [waiting.popleft() for _ in range(room)]
                    try:
                        self._ledger.reserve(room_for_one * self._in_flight)
                        claims, refused = await asyncio.to_thread(self._claim, batch, requests, stage)
                    except BelleError as error:  # a full disk: what is under way is still waited for
                        failures.append(error)
                        break
                    self._again.update(claims.possibly_paid)
                    theirs.update(claims.theirs)
                    self._replies(len(claims.answered))
                    for digest in claims.mine:
                        task = asyncio.create_task(self._bring(digest, requests[digest], stage))
                        task.add_done_callback(finished)
                        running.add(task)
                    if refused:
                        # What is under way is reserved at its worst case: room comes back with its replies.
                        full, elsewhere = True, refused.others_send
                        waiting.extendleft(reversed(refused.digests))
                        if not (running or theirs or elsewhere):
                            failures.append(refused.error)
                if not (running or theirs or elsewhere):
                    continue
                if theirs and not told and time.monotonic() - started > _TELL_AFTER_S:
                    told = True
                    holder = next(iter(theirs.values()))
                    self._tell(f"{stage}: waiting for {len(theirs)} replies that {holder} has asked for")
                try:
                    await asyncio.wait_for(wake.wait(), _LOOK_AGAIN_S if theirs or elsewhere else None)
                except TimeoutError:
                    waiting.extend(theirs)
                    theirs.clear()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if self._recording is not None:
                await self._recording
            if self._again:
                self._tell(
                    f"{stage}: {len(self._again)} requests had been sent before without a reply being seen "
                    "(a killed run, or a lost connection); they are possibly paid, and were sent again"
                )
        if failures:
            raise failures[0]

    def _claim(
        self, batch: list[str], requests: Mapping[str, Mapping[str, Any]], stage: str
    ) -> tuple[Claims, _Refused | None]:
        """Claim what the budget allows; what it does not comes back beside it."""
        most = {digest: self._account.budget.most(requests[digest]) for digest in batch} if self._account else {}
        if not self._account or not any(most.values()):
            return self._ledger.claim(batch, stage=stage, lease_s=self._lease_s), None
        with self._account.alone():
            unknown = [digest for digest in batch if digest not in self._ledger]
            fits = self._account.fitting((digest, most[digest]) for digest in unknown)
            over = unknown[len(fits) :]
            allowed = [digest for digest in batch if digest not in over]
            claims = self._ledger.claim(allowed, stage=stage, lease_s=self._lease_s, usd=fits)
            if not over:
                return claims, None
            return claims, _Refused(over, self._account.exceeded(most[over[0]]), self._account.others_send())

    def _claim_again(self, digest: str, request: Mapping[str, Any], stage: str) -> None:
        """Reserve one more attempt at a request that may have been paid already.

        Raises:
            BelleError: the budget does not allow it.
        """
        assert self._account is not None
        most = self._account.budget.most(request)
        if not most:
            return
        with self._account.alone():
            if not self._account.fitting([(digest, most)]):
                raise self._account.exceeded(most)
            self._ledger.claim_again(digest, stage=stage, lease_s=self._lease_s, usd=most)

    async def _bring(self, digest: str, request: Mapping[str, Any], stage: str) -> None:
        """Bring one reply into the ledger, or give its claim up there and raise."""
        started, refused = time.monotonic(), RefusedError("not sent", again=True, paid="no")
        # Once a single attempt may have been paid, the request as a whole may have been.
        paid = "no"
        try:
            for attempt in range(self._max_retries + 1):
                await self._pause(attempt, refused.wait_s)
                if self._account and paid == "possibly":
                    await asyncio.to_thread(self._claim_again, digest, request, stage)
                before, paid = paid, "possibly"
                try:
                    body = await self._wire.post(request, digest)
                except RefusedError as error:
                    refused, paid = error, before if error.paid == "no" else "possibly"
                    if not error.again or self._stopping:
                        break
                    if paid == "possibly" and attempt < self._max_retries:
                        self._again.add(digest)
                else:
                    seconds = time.monotonic() - started
                    await self._record(
                        Entry(digest, request, body.raw, body.usage, body.finish_reason, seconds, attempt + 1), stage
                    )
                    return
            raise self._failure(refused, attempt + 1)
        except BaseException as error:
            reason = refused.what.partition(":")[0] if isinstance(error, BelleError) else type(error).__name__
            self._ledger.release({digest: (paid, reason)}, stage=stage)
            raise

    async def _pause(self, attempt: int, wait_s: float | None) -> None:
        """Wait before an attempt: for what the server asked, of this request or of any other, or longer each time."""
        if wait_s is not None:
            self._not_before = max(self._not_before, time.monotonic() + wait_s)
        elif attempt:
            longest = min(_LONGEST_PAUSE_S, self._first_pause_s * 2 ** (attempt - 1))
            await asyncio.sleep(longest * random.uniform(0.5, 1.0))
        while (rest := self._not_before - time.monotonic()) > 0:
            # Not all at the same moment, and never before the moment that the server named.
            await asyncio.sleep(rest + random.uniform(0.0, min(1.0, 0.25 * rest)))

    async def _record(self, entry: Entry, stage: str) -> None:
        """Return when the reply is on the disk. Replies that arrive during one write share the next."""
        done = asyncio.get_running_loop().create_future()
        self._arrived.append((entry, done))
        if self._recording is None or self._recording.done():
            self._recording = asyncio.create_task(self._record_all(stage))
        await done

    async def _record_all(self, stage: str) -> None:
        while self._arrived:
            batch, self._arrived = self._arrived, []
            try:
                await asyncio.to_thread(self._ledger.record, [entry for entry, _ in batch], stage=stage)
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)

    def _failure(self, refused: RefusedError, attempts: int) -> BelleError:
        causes = {
            "HTTP 401": ("the key is wrong or expired", "check OPENAI_API_KEY"),
            "HTTP 403": ("the key may not use this model or API", "check the account's rights"),
            "HTTP 404": ("a wrong base_url or model name", "check both in params.yaml"),
            "HTTP 429": ("the rate limit or the quota is used up", "lower in_flight, or check the account"),
            "connection failed": ("a wrong base_url, no network, or a server that is down", "check base_url"),
        }
        cause, fix = causes.get(refused.what.partition(":")[0], ("", ""))
        again = "run again later: every reply so far is in the ledger and is not paid again"
        times = f" ({attempts} attempts)" if attempts > 1 else ""
        return BelleError(
            refused.what + times, where=self._base_url, cause=cause, fix=f"{fix}; {again}" if fix else again
        )


def _max_tokens(request: Mapping[str, Any]) -> int:
    params = request["params"]
    return int(params.get("max_tokens") or params.get("max_completion_tokens") or 4096)
