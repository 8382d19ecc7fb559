"""The ledger: every request and its reply, kept for ever, so that no call is paid twice.

A folder of JSON Lines, ``<first hex digit of the digest>.jsonl``, only ever appended to; ``belle.api.lines`` has the
kinds of line. An intent without a reply whose sender is dead, or that was released as "possibly", may have been paid.
"""

import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from belle.api.index import Index, parse
from belle.api.lines import Broken, Entry, Refused, intent_line, line_of
from belle.api.process import Process, process, this_process
from belle.api.shard import SHARDS, Shard, no_room
from belle.errors import BelleError


@dataclass
class Claims:
    """What became of a claim: digests that are ``answered``, ``mine`` to send, or ``theirs`` (with the sender).

    ``possibly_paid`` are those of mine that somebody sent before without a reply being seen; ``batched`` are those of
    mine that somebody put into a batch (by its name): they are to be looked for there and not to be sent.
    """

    answered: list[str] = field(default_factory=list)
    mine: list[str] = field(default_factory=list)
    theirs: dict[str, str] = field(default_factory=dict)
    possibly_paid: list[str] = field(default_factory=list)
    batched: dict[str, str] = field(default_factory=dict)


class Ledger:
    """The replies of a folder, shared by any number of threads and processes, any of which may be killed.

    Reads on from where it stopped whenever it is asked for something that it does not know; a look-up is O(1).

    Raises:
        BelleError: the folder cannot be written to, or a line in it is no ledger line (names file and byte).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._shards = {digit: Shard(self.folder / f"{digit}.jsonl") for digit in SHARDS}
        self._indexes = {digit: Index() for digit in SHARDS}
        self._lock = threading.RLock()
        self._reserve: IO[bytes] | None = None

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; they open again when they are needed."""
        with self._lock:
            for shard in self._shards.values():
                shard.close()
            self._give_up_reserve()

    def __contains__(self, digest: str) -> bool:
        """Tell whether a request is answered."""
        with self._lock:
            key = bytes.fromhex(digest)
            return key in self._indexes[digest[0]].replies or key in self._refresh(digest[0]).replies

    def missing(self, digests: Iterable[str], *, refusals: bool = False) -> list[str]:
        """Those that are not answered, each once; with ``refusals``, a refusal is an answer."""
        digests, found = list(dict.fromkeys(digests)), []
        with self._lock:
            for digit, group in _by_shard(digests):
                index = self._refresh(digit)
                for digest in group:
                    key = bytes.fromhex(digest)
                    if not (key in index.replies or (refusals and key in index.refusals)):
                        found.append(digest)
        wanted = set(found)
        return [digest for digest in digests if digest in wanted]

    def refusal(self, digest: str) -> dict[str, Any] | None:
        """The refusal line of a request: ``reason``, ``message``, …; None if there is none, or a reply."""
        with self._lock:
            if digest in self:
                return None
            place = self._indexes[digest[0]].refusals.get(bytes.fromhex(digest))
            return None if place is None else self._at(digest[0], place)

    def get(self, digest: str) -> dict[str, Any] | None:
        """The reply line of a request: ``request``, ``reply`` (raw body), ``usage``, …; None if not answered."""
        with self._lock:
            digit, key = digest[0], bytes.fromhex(digest)
            while digest in self:
                place = self._indexes[digit].replies[key]
                line = self._shards[digit].read(place >> 32, place & 0xFFFFFFFF)
                if digest.encode() in line:
                    return parse(self._shards[digit].path, place >> 32, line)
                # The file was replaced under us (by `dvc checkout`, say): what we knew of it holds no more.
                self._indexes[digit] = Index()
                self._shards[digit].close()
            return None

    def claim(
        self,
        digests: Iterable[str],
        *,
        stage: str = "",
        lease_s: float = 600,
        usd: Mapping[str, float] | None = None,
        batch: str = "",
        refusals: bool = False,
    ) -> Claims:
        """Take what nobody answered or sends as one's own to send: an intent for each is on the disk on return.

        A sender on another host cannot be looked up: it counts as alive for ``lease_s`` seconds, the longest that
        a request can take. ``usd`` is what a request may cost at most, for the account that a budget is kept by.
        ``batch`` names the batch to send in. With ``refusals``, a refusal is an answer.
        """
        claims = Claims()
        me, now = this_process(), round(time.time(), 3)
        running: dict[int, Process | None] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            for digit, group in _by_shard(digests):
                with self._shards[digit].locked():
                    index = self._refresh(digit)
                    lines = []
                    for digest in group:
                        key = bytes.fromhex(digest)
                        if key in index.replies or (refusals and key in index.refusals):
                            claims.answered.append(digest)
                            continue
                        sent_in = batch
                        if key in index.open:
                            intent = self._at(digit, index.open[key])
                            released = key in index.released
                            if not released and _sends_still(intent, me, now, running):
                                claims.theirs[digest] = f"process {intent['pid']} on {intent['host']}"
                                continue
                            if not released and intent.get("batch"):
                                claims.batched[digest] = sent_in = intent["batch"]
                            else:
                                claims.possibly_paid.append(digest)
                        claims.mine.append(digest)
                        lines.append(intent_line(digest, me, now, stage, lease_s, (usd or {}).get(digest), sent_in))
                    if lines:
                        self._shards[digit].append(b"".join(lines))
        return claims

    def claim_again(self, digest: str, *, stage: str = "", lease_s: float = 600, usd: float = 0.0) -> None:
        """Say that a request of one's own, possibly paid already, is sent once more: ``usd`` comes on top."""
        me, now = this_process(), round(time.time(), 3)
        self._append([(digest, intent_line(digest, me, now, stage, lease_s, usd, "", again=True))])

    def reserve(self, size: int) -> None:
        """Hold ``size`` bytes of disk for replies to come: when the disk is full, ``record`` takes them from there.

        The file has no name, so a killed process gives them back.

        Raises:
            BelleError: the disk has not so much room; nothing should be sent whose reply could not be kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            if self._reserve is not None or not hasattr(os, "posix_fallocate"):
                return
            reserve = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            try:
                os.posix_fallocate(reserve.fileno(), 0, size)
            except OSError as error:
                reserve.close()
                what = f"no room for {size / 1e6:.1f} MB of replies: {error.strerror}; nothing is sent"
                raise no_room(what, self.folder) from None
            self._reserve = reserve

    def _give_up_reserve(self) -> bool:
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            reserve.close()
        return reserve is not None

    def record(self, entries: Sequence[Entry | Refused | Broken], *, stage: str = "") -> None:
        """Keep what came: it is on the disk on return. Many at once share one wait for the disk."""
        now = round(time.time(), 3)
        lines = [(entry.digest, entry.line(stage, now)) for entry in entries]
        try:
            self._append(lines)
        except BelleError:
            with self._lock:
                if not self._give_up_reserve():
                    raise
            # Shards that were written in the first attempt hold their lines twice; the first one counts.
            self._append(lines)

    def release(self, digests: Mapping[str, tuple[str, str]], *, stage: str = "", lost: int = 1) -> None:
        """Give claims up: digest → (``no`` or ``possibly`` paid, the reason in a word or a few).

        ``lost``: how many attempts at each may have been paid, if any may have been.
        """
        now = round(time.time(), 3)
        lines = []
        for digest, (paid, error) in digests.items():
            more = {"lost": lost} if paid != "no" else {}
            lines.append((digest, line_of("release", digest, paid=paid, error=error, stage=stage, time=now, **more)))
        self._append(lines)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield every reply line, shard by shard, in the order in which they came."""
        for digit in SHARDS:
            with self._lock:
                places = sorted(self._refresh(digit).replies.values())
            for place in places:
                with self._lock:
                    line = self._at(digit, place)
                yield line

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield every line of every kind, shard by shard, in the order in which they came; torn ones not."""
        for digit in SHARDS:
            path = self.folder / f"{digit}.jsonl"
            shard = Shard(path)
            try:
                for offset, line in shard.news():
                    yield parse(path, offset, line)
            finally:
                shard.close()

    def __len__(self) -> int:
        """Count the answered requests."""
        with self._lock:
            return sum(len(self._refresh(digit).replies) for digit in SHARDS)

    def stats(self) -> dict[str, Any]:
        """Count ``replies``, ``open`` intents and ``torn`` lines, and tokens by model (``models``)."""
        models: dict[str, dict[str, int]] = defaultdict(
            lambda: {"replies": 0, "prompt_tokens": 0, "completion_tokens": 0}
        )
        for line in self:
            model = models[line["request"]["model"]]
            model["replies"] += 1
            for kind in ("prompt_tokens", "completion_tokens"):
                model[kind] += line["usage"].get(kind) or 0
        with self._lock:
            return {
                "replies": sum(model["replies"] for model in models.values()),
                "open": sum(len(index.open.keys() - index.refusals.keys()) for index in self._indexes.values()),
                "torn": sum(shard.torn() for shard in self._shards.values()),
                "models": dict(sorted(models.items())),
            }

    def _append(self, lines: Iterable[tuple[str, bytes]]) -> None:
        groups = defaultdict[str, list[bytes]](list)
        for digest, line in lines:
            groups[digest[0]].append(line)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            for digit, group in sorted(groups.items()):
                with self._shards[digit].locked():
                    self._shards[digit].append(b"".join(group))
                self._refresh(digit)

    def _refresh(self, digit: str) -> Index:
        """Take in what this or any other process appended to a shard since the last look."""
        index = self._indexes[digit]
        for offset, line in self._shards[digit].news():
            if offset == 0:
                index.clear()
            index.take_in(self._shards[digit].path, offset, line)
        return index

    def _at(self, digit: str, place: int) -> dict[str, Any]:
        offset, length = place >> 32, place & 0xFFFFFFFF
        return parse(self._shards[digit].path, offset, self._shards[digit].read(offset, length))


def _by_shard(digests: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    groups = defaultdict(list)
    for digest in dict.fromkeys(digests):
        groups[digest[0]].append(digest)
    yield from sorted(groups.items())


def _sends_still(intent: dict[str, Any], me: Process, now: float, running: dict[int, Process | None]) -> bool:
    """Tell whether the sender of an intent may still bring its reply; ``running`` remembers who was looked up."""
    sender = Process(intent["host"], intent["pid"], intent["started"])
    if sender.host != me.host:
        # An intent from the future tells of a clock that was set back; it must not hold us up until then.
        return bool(abs(now - intent["time"]) < intent["lease_s"])
    if sender.pid not in running:
        running[sender.pid] = process(sender.pid)
    return running[sender.pid] == sender
