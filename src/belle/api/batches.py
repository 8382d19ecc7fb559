"""Send requests as batches, and take in what came of them: also of batches whose sender was killed."""

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from belle.api.batch_api import OVER, BatchApi
from belle.api.body import Body
from belle.api.claiming import Claiming, Order
from belle.api.fault import RefusedError
from belle.api.ledger import Ledger
from belle.api.lines import Broken, Entry, Refused
from belle.api.pace import sleep
from belle.api.progress import Came
from belle.api.recorder import Recorder
from belle.errors import BelleError

_MOST_REQUESTS, _MOST_BYTES = 50_000, 150_000_000
"""What one batch may hold: OpenAI takes 50,000 requests and 200 MB."""

_ROUNDS, _BROKEN_ROUNDS = 5, 3
"""How many batches a request may be in before we give it up, and one whose reply came malformed: each may be paid."""

Unanswered = dict[str, RefusedError | None]
"""Requests without an answer, and what the last batch said of each."""

_LONGEST_POLL_S = 60.0
_JUST_NOW_S = 2.0
"""After so long at the latest a batch that was made is in the account's list."""


class Batches:
    """The batch mode of a sender. Lives in one event loop.

    The intents of a batch carry its name, which stands in its metadata, too. So whoever finds them without replies,
    and their sender dead, finds the batch on the server and goes on waiting for it.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        claiming: Claiming,
        recorder: Recorder,
        base_url: str,
        api_key: str,
        timeout_s: float,
        max_retries: int,
        first_pause_s: float,
        poll_s: float,
        hide: Callable[[str], str],
        came: Callable[[Came], None],
        tell: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        self._ledger, self._claiming, self._recorder = ledger, claiming, recorder
        self._base_url, self._poll_s, self._came, self._tell, self._stop = base_url, poll_s, came, tell, stop
        self._api = BatchApi(
            base_url=base_url, api_key=api_key, timeout_s=timeout_s, max_retries=max_retries,
            first_pause_s=first_pause_s, hide=hide,
        )  # fmt: skip

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def send(self, order: Order) -> None:
        """Bring the replies of an order into the ledger by batches.

        Raises:
            BelleError: the API refuses or fails, the budget is reached, or requests got no answer in any of five
                batches. What is in other batches under way is taken in first.
        """
        waiting, rounds = list(order.requests), Counter[str]()
        while waiting and not self._stop.is_set():
            tasks, later, over = list[asyncio.Task[Unanswered]](), list[str](), None
            for chunk in _chunks(waiting, order):
                if over:
                    later += chunk
                    continue
                name = f"belle-{os.urandom(8).hex()}"
                claims, over = await asyncio.to_thread(self._claiming.claim, chunk, order, mode="batch", batch=name)
                self._came(Came(len(claims.answered)))
                if claims.possibly_paid:
                    self._tell(
                        f"{order.stage}: {len(claims.possibly_paid)} requests had been sent before without a reply "
                        "being seen; they are possibly paid, and are sent again"
                    )
                later += [*claims.theirs, *(over.digests if over else [])]
                if mine := [digest for digest in claims.mine if digest not in claims.batched]:
                    tasks.append(asyncio.create_task(self._bring(name, mine, order)))
                if claims.batched:
                    tasks.append(asyncio.create_task(self.adopt(claims.batched, order)))
            if not tasks:
                if over and not over.others_send and len(over.digests) == len(later):
                    raise over.error
                await sleep(self._poll_s, self._stop)
            again = await _all(tasks)
            rounds.update(list(again))
            waiting = [*again, *later]
            given_up = [digest for digest, why in again.items() if rounds[digest] >= _most_rounds(why)]
            waiting = [digest for digest in waiting if digest not in set(given_up)]
            await self._give_up({digest: again[digest] for digest in given_up}, order)

    async def adopt(self, batched: Mapping[str, str], order: Order) -> Unanswered:
        """Wait for the batches (digest → name) that a killed sender left; the answer is what has no answer there."""
        names = defaultdict[str, list[str]](list)
        for digest, name in batched.items():
            names[name].append(digest)
        try:
            found = await self._api.find(names)
            if len(found) < len(names):
                await sleep(_JUST_NOW_S, self._stop)
                found = await self._api.find(names)
        except RefusedError as error:
            raise self._fault(error) from None
        again: Unanswered = {}
        for name, digests in names.items():
            if name in found:
                self._tell(f"{order.stage}: {len(digests)} requests are in a batch of an earlier run: waiting for it")
                again |= await self._await(found[name], digests, order)
            else:
                await self._release(digests, "no", "no such batch", order)
                again |= dict.fromkeys(digests)
        return again

    async def _bring(self, name: str, digests: list[str], order: Order) -> Unanswered:
        """Have requests worked off as the batch ``name``."""
        try:
            batch = await self._api.submit(name, {digest: order.requests[digest] for digest in digests})
        except RefusedError as error:
            # Where a batch may have been made, the intents stay: by its name it is found again.
            if error.paid == "no":
                await self._release(digests, "no", error.what.partition(":")[0], order)
            raise self._fault(error) from None
        return await self._await([batch], digests, order)

    async def _await(self, batches: list[Any], digests: list[str], order: Order) -> Unanswered:
        """Wait for batches that hold the same requests: one, unless the reply to its making was lost."""
        left: Unanswered = dict.fromkeys(digests)
        began, completed = time.monotonic(), False
        for batch in batches:
            try:
                over = await self._until_over(batch, order)
                if over is None:
                    return {}  # told to stop: the intents say where the replies will be
                output = await self._api.output(over, left)
            except RefusedError as error:
                raise self._fault(error) from None
            if over.status == "failed" and not output.ended:
                await self._release(left, "no", "batch failed", order)
                raise self._failed(over)
            completed = completed or over.status == "completed"
            left = await self._take_in(output.ended, left, time.monotonic() - began, order)
            if output.duplicates or output.strangers or left:
                self._tell(
                    f"{order.stage}: batch {over.id} ({over.status}): {output.duplicates} lines came twice, "
                    f"{output.strangers} belong to no request, {len(left)} requests have no answer in it"
                )
        # A batch that was not completed says itself what it did not work off; one that was has lost a line.
        lost = [digest for digest, why in left.items() if why is None]
        await self._release(lost, "possibly" if completed else "no", "no line", order)
        for why in left.values():
            if why is not None and not why.again:
                raise self._fault(why)
        return left

    async def _until_over(self, batch: Any, order: Order) -> Any:
        """The batch when it is over; None when we are told to stop first."""
        pause, status = self._poll_s, ""
        while batch.status not in OVER:
            if batch.status != status:
                status = batch.status
                self._tell(f"{order.stage}: batch {batch.id} is {status}")
            await sleep(pause, self._stop)
            if self._stop.is_set():
                return None
            pause = min(_LONGEST_POLL_S, pause * 1.5)
            batch = await self._api.look(batch.id)
        return batch

    async def _take_in(
        self, ended: Mapping[str, Body | RefusedError], left: Unanswered, seconds: float, order: Order
    ) -> Unanswered:
        """Record what ended; the answer is what did not."""
        still, kept = Unanswered(), list[Any]()
        for digest, earlier in left.items():
            request, what = order.requests[digest], ended.get(digest)
            price = self._claiming.price(request, "batch")
            if isinstance(what, Body):
                if digest not in self._ledger:
                    entry = Entry(
                        digest, request, what.raw, what.usage, what.finish_reason, seconds, mode="batch", price=price
                    )
                    kept.append(self._recorder.keep(entry, order.stage))
                self._came(Came.of(what.usage, price))
            elif what is None:
                still[digest] = earlier
            elif what.reason and order.refusals and not what.again:
                kept.append(self._refuse(digest, what, seconds, order))
            else:
                if what.body is not None:
                    kept.append(self._recorder.keep(Broken(digest, what.reason, what.body), order.stage))
                await self._release([digest], what.paid, what.what.partition(":")[0], order)
                still[digest] = what
        await asyncio.gather(*kept)
        return still

    async def _refuse(self, digest: str, why: RefusedError, seconds: float, order: Order) -> None:
        refused = Refused(digest, order.requests[digest], why.reason, why.what, seconds)
        await self._recorder.keep(refused, order.stage)
        self._came(Came(1, refused={why.reason: 1}))

    async def _give_up(self, lost: Unanswered, order: Order) -> None:
        """End requests that no batch answered: those for reasons of their own as refusals, if these are asked for."""
        nameless = dict(lost)
        for digest, error in lost.items():
            if error is not None and error.reason and order.refusals:
                await self._refuse(digest, error, 0.0, order)
                del nameless[digest]
        if nameless:
            last = next((error.what for error in nameless.values() if error is not None), "no line for them")
            raise BelleError(
                f"{len(nameless)} requests got no answer in {_BROKEN_ROUNDS} to {_ROUNDS} batches: {last}",
                where=self._base_url,
                cause="a server that drops requests, or that is overloaded",
                fix="run again later, or ask them one by one: every reply so far is in the ledger",
            )

    async def _release(self, digests: Iterable[str], paid: str, reason: str, order: Order) -> None:
        released = {digest: (paid, reason) for digest in digests}
        if released:
            await asyncio.to_thread(self._ledger.release, released, stage=order.stage)

    def _fault(self, error: RefusedError) -> BelleError:
        return BelleError(
            error.what,
            where=self._base_url,
            cause="the key, the network, or a server without a Batch API",
            fix="run again: what is in a batch under way is found again, and not paid again",
        )

    def _failed(self, batch: Any) -> BelleError:
        errors = getattr(batch.errors, "data", None) or []
        told = "; ".join(str(error.message) for error in errors[:3]) or "no reason given"
        return BelleError(
            f"the batch {batch.id} failed: {told}",
            where=self._base_url,
            cause="a model that batches cannot ask, or the account's limit for batches",
            fix="see what it says; nothing of it was paid",
        )


def _most_rounds(why: RefusedError | None) -> int:
    return _BROKEN_ROUNDS if why is not None and why.body is not None else _ROUNDS


async def _all(tasks: list[asyncio.Task[Unanswered]]) -> Unanswered:
    """Wait for every batch, also when one fails; then the first failure is raised."""
    again, faults = Unanswered(), list[BaseException]()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException):
            faults.append(ended)
        else:
            again |= ended
    if faults:
        raise faults[0]
    return again


def _chunks(waiting: list[str], order: Order) -> Iterator[list[str]]:
    """Divide requests into batches that the API takes."""
    chunk, size = list[str](), 0
    for digest in waiting:
        length = 300 + sum(4 * len(message["content"]) for message in order.requests[digest]["messages"])
        if chunk and (len(chunk) == _MOST_REQUESTS or size + length > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(digest)
        size += length
    if chunk:
        yield chunk
