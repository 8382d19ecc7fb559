"""What comes is on the disk before it counts; many at once share one wait for the disk."""

import asyncio

from belle.api.ledger import Ledger
from belle.api.lines import Broken, Entry, Refused


class Recorder:
    """Writes to a ledger, one write at a time: what arrives during one goes into the next. Lives in one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._arrived: list[tuple[Entry | Refused | Broken, str, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, entry: Entry | Refused | Broken, stage: str) -> None:
        """Return when it is on the disk.

        Raises:
            BelleError: the ledger cannot be written to.
        """
        done = asyncio.get_running_loop().create_future()
        self._arrived.append((entry, stage, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def idle(self) -> None:
        """Return when nothing is being written any more."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._arrived:
            batch, self._arrived = self._arrived, []
            stages = dict.fromkeys(stage for _, stage, _ in batch)
            for stage in stages:
                mine = [(entry, done) for entry, of, done in batch if of == stage]
                error: Exception | None = None
                try:
                    await asyncio.to_thread(self._ledger.record, [entry for entry, _ in mine], stage=stage)
                except Exception as fault:
                    error = fault
                for _, done in mine:
                    if done.done():
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(error)
