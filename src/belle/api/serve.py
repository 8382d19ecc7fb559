"""The process that sends requests: ``python -m belle.api.serve``.

It outlives a stage that is killed by as long as its requests are under way: it sends nothing new, records what arrives,
and ends. So a reply that is being paid for is not lost with the stage, and the next run of the stage waits for it
rather than ask again.

Standard input: a line of settings (those of ``Sender``, with the ledger's folder), then, as often as wanted, a line
``[digest, request]`` for each request and a line ``{"stage": …, "refusals": …, "mode": …}`` that sends them off.
Standard output: lines ``{"came": …}`` (``Came``: so much has ended since the last of them), ``{"tell": text}``, and for
each order one ``{"end": fault}``, where fault is null, the parts of a ``BelleError``, or ``{"bug": traceback}``.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from belle import jsonl
from belle.api.ledger import Ledger
from belle.api.progress import Came
from belle.api.sender import Sender
from belle.errors import BelleError

_SAY_EVERY_S = 0.1
"""How often to say what came: a line for each reply would cost more than the reply."""


class _Saying:
    """Gathers what came, and says it now and then."""

    def __init__(self, emit: Callable[[Mapping[str, Any]], None]) -> None:
        self._emit, self._came, self._due = emit, Came(), False

    def came(self, more: Came) -> None:
        """Add what came."""
        self._came += more
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_SAY_EVERY_S, self.say)

    def say(self) -> None:
        """Say what was not said yet."""
        came, self._came, self._due = self._came, Came(), False
        if came != Came():
            self._emit({"came": asdict(came)})


async def _serve(lines: Callable[[], bytes], emit: Callable[[Mapping[str, Any]], None]) -> bool:
    """Carry out what ``lines`` (blocking, empty at the end) asks for, one batch after the other.

    Returns whether a signal ended it, and ``lines`` may still be waited for.
    """
    settings = json.loads(lines())
    end: dict[str, str] | None
    loop, orders = asyncio.get_running_loop(), asyncio.Queue[Any]()
    with Ledger(Path(settings.pop("ledger"))) as ledger:
        saying = _Saying(emit)
        sender = Sender(ledger=ledger, came=saying.came, tell=lambda text: emit({"tell": text}), **settings)

        signals = list[str]()

        def told_to_stop(number: signal.Signals) -> None:
            signals.append(number.name)
            sender.stop()
            orders.put_nowait(None)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, told_to_stop, number)

        def read() -> None:
            batch = {}
            # A stage that is killed while it writes leaves half a line behind: no order, like the end itself.
            with contextlib.suppress(ValueError):
                while line := lines():
                    order = json.loads(line)
                    if isinstance(order, list):
                        batch[order[0]] = order[1]
                    else:
                        loop.call_soon_threadsafe(orders.put_nowait, (order, batch))
                        batch = {}
            loop.call_soon_threadsafe(sender.stop)
            loop.call_soon_threadsafe(orders.put_nowait, None)

        threading.Thread(target=read, daemon=True).start()
        while order := await orders.get():
            terms, batch = order
            try:
                await sender.send(batch, **terms)
            except BelleError as error:
                end = {"what": error.what, "where": error.where, "cause": error.cause, "fix": error.fix}
            except Exception:
                end = {"bug": traceback.format_exc()}
            else:
                end = _stopped(signals[0]) if signals else None
            saying.say()
            emit({"end": end})
        await sender.close()
    return bool(signals)


def _stopped(name: str) -> dict[str, str]:
    return {
        "what": f"the process that sends requests was told to stop ({name})",
        "where": "belle.api.serve",
        "cause": "a user, or a system that shuts down",
        "fix": "run again: what was under way has been recorded in the ledger",
    }


def main() -> None:
    """Serve the process that started this one, over its pipes."""
    # Nothing but events goes out on the pipe, whatever a library prints.
    events = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def emit(event: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(events, jsonl.dumps(event).encode() + b"\n")

    if asyncio.run(_serve(sys.stdin.buffer.readline, emit)):
        os._exit(0)  # the thread that reads holds standard input, and Python would wait for it


if __name__ == "__main__":
    main()
