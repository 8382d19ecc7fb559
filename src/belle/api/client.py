"""Ask an OpenAI-compatible API many things at once, each at most once in a lifetime: the ledger remembers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, overload

from tqdm import tqdm

from belle import jsonl
from belle.api.body import read_body
from belle.api.budget import Budget
from belle.api.fault import CONTENT_FILTER, EMPTY
from belle.api.ledger import Ledger
from belle.api.lines import Mode
from belle.api.progress import Came
from belle.api.request import request_digest
from belle.errors import BelleError, InputError


@dataclass(frozen=True)
class Request:
    """A chat completion to ask for; ``sample`` tells apart requests that are otherwise the same."""

    model: str
    messages: Sequence[Mapping[str, str]]
    params: Mapping[str, Any]
    sample: int = 0

    def identity(self, endpoint: str) -> dict[str, Any]:
        """What the ledger knows this request by: its ``FIELDS``."""
        return {
            "endpoint": endpoint,
            "model": self.model,
            "messages": [dict(message) for message in self.messages],
            "params": dict(self.params),
            "sample": self.sample,
        }


@dataclass(frozen=True)
class Reply:
    """A reply out of the ledger. ``finish_reason``: ``stop``, ``length``, …; ``usage``: tokens as the API counted."""

    digest: str
    text: str
    finish_reason: str
    usage: Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A request that has no usable reply, for a reason of its own (``belle.api.fault.REASONS``).

    It is in the ledger, and is not asked again by who takes refusals.
    """

    digest: str
    reason: str
    message: str


@overload
def ask(
    requests: Sequence[Request], *, refusals: Literal[True], describe: str = "", **terms: Any
) -> list[Reply | Refusal]: ...
@overload
def ask(
    requests: Sequence[Request], *, refusals: Literal[False] = False, describe: str = "", **terms: Any
) -> list[Reply]: ...
def ask(
    requests: Sequence[Request], *, refusals: bool = False, describe: str = "", **terms: Any
) -> list[Reply] | list[Reply | Refusal]:
    """Return the replies in the order of ``requests``; ``terms`` are those of ``Client``, which can ask repeatedly."""
    with Client(**terms) as client:
        return (
            client.ask(requests, describe=describe, refusals=True)
            if refusals
            else client.ask(requests, describe=describe)
        )


class Client:
    """A ledger, and a sender for what is not in it; a context manager.

    The sender (``belle.api.serve``) is a process of its own, started when there is something to send. It alone
    talks to the API, and it outlives this process by what is under way, so that kill -9 loses no reply.

    Args:
        ledger: Where replies are kept, and looked for before anything is sent.
        base_url: The API, ending in ``/v1`` as a rule.
        endpoint: The API's name in the ledger (see ``belle.api.provider``).
        api_key: Sent to the API and kept nowhere.
        in_flight: The most requests that wait for a reply at a time.
        timeout_s: Seconds for one attempt, from sending to the end of the body.
        max_retries: Attempts after the first, on 408, 409, 425, 429, 5xx, time-outs and lost connections; pauses
            double and are jittered. A malformed or cut body is asked for again twice at most. Retry-After holds every
            request back and is no failure. A 429 or 503 halves how many are in flight, replies raise it again.
        first_pause_s: The pause after a first failure.
        patience_s: After so long no further attempt at a request is begun.
        budget: What all that the ledger holds may cost; None sets no limit.
        mode: ``batch`` sends by OpenAI's Batch API, which answers within a day for half the price.
        poll_s: Seconds between the first looks at a batch; they become longer, up to a minute.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        base_url: str,
        endpoint: str,
        api_key: str,
        in_flight: int,
        timeout_s: float,
        max_retries: int = 8,
        first_pause_s: float = 0.5,
        patience_s: float = 900.0,
        budget: Budget | None = None,
        mode: Mode = "chat",
        poll_s: float = 5.0,
    ) -> None:
        self._ledger, self._base_url, self._endpoint, self._api_key = ledger, base_url, endpoint, api_key
        self._settings = {
            "ledger": str(ledger.folder.resolve()), "base_url": base_url, "api_key": api_key, "in_flight": in_flight,
            "timeout_s": timeout_s, "max_retries": max_retries, "first_pause_s": first_pause_s,
            "patience_s": patience_s, "poll_s": poll_s, "budget": budget and budget.as_json(),
        }  # fmt: skip
        self._budget, self._mode = budget, mode
        self.came = Came()
        self._sender: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._pipes = ExitStack()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipes.close()
        # The sender ends when its pipe does, after what is under way. An impatient user need not wait for that.
        if self._sender is not None and not isinstance(error, KeyboardInterrupt):
            self._sender.wait()

    @overload
    def ask(
        self, requests: Sequence[Request], *, describe: str = "", bar: bool = True, refusals: Literal[False] = False
    ) -> list[Reply]: ...
    @overload
    def ask(
        self, requests: Sequence[Request], *, describe: str = "", bar: bool = True, refusals: Literal[True]
    ) -> list[Reply | Refusal]: ...
    def ask(
        self, requests: Sequence[Request], *, describe: str = "", bar: bool = True, refusals: bool = False
    ) -> list[Reply] | list[Reply | Refusal]:
        """Return the replies in the order of ``requests``; what the ledger holds is not sent.

        ``describe`` names the stage in the ledger, in messages and on the progress bar, which ``bar`` switches off.
        With ``refusals``, a request that has no usable reply for a reason of its own ends as a ``Refusal``: one that
        is too long or filtered, whose reply is empty, or came malformed or cut each time. What this client sent so
        far, its tokens, dollars and refusals by reason are counted in ``came``.

        Raises:
            InputError: something must be sent and there is no key, or a budget and no price.
            BelleError: the account or the server is at fault, or (without ``refusals``) one request is, every attempt
                failed, or the budget does not allow one more request; what was under way is still recorded.
        """
        identities = [request.identity(self._endpoint) for request in requests]
        digests = [request_digest(identity) for identity in identities]
        missing = set(self._ledger.missing(digests, refusals=refusals))
        todo = {d: identity for d, identity in zip(digests, identities, strict=True) if d in missing}
        if todo:
            self._check(todo)
            self._send(todo, len(set(digests)) - len(todo), describe, bar, refusals)
        if refusals:
            return [self._ended(digest) for digest in digests]
        return [self._reply(digest) for digest in digests]

    def _check(self, todo: Mapping[str, Mapping[str, Any]]) -> None:
        if not self._api_key:
            raise InputError(
                f"{len(todo)} requests are to be sent and there is no API key",
                where=self._base_url,
                cause="OPENAI_API_KEY is not set",
                fix="export OPENAI_API_KEY=… (any word does for a server of your own that asks for none)",
            )
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise InputError(
                "the API key holds a line end or another character that no header can carry",
                where="OPENAI_API_KEY",
                cause="it was copied with what stands around it",
                fix="export OPENAI_API_KEY=… anew",
            )
        if self._budget:
            for model in {identity["model"] for identity in todo.values()}:
                self._budget.prices.required(self._endpoint, model, self._mode)

    def _reply(self, digest: str) -> Reply:
        line = self._ledger.get(digest)
        if line is None:
            raise BelleError(f"the reply {digest} is gone", where=str(self._ledger.folder))
        body = read_body(line["reply"])
        return Reply(digest, body.text, body.finish_reason, body.usage)

    def _ended(self, digest: str) -> Reply | Refusal:
        if line := self._ledger.refusal(digest):
            return Refusal(digest, line["reason"], line["message"])
        reply = self._reply(digest)
        if reply.finish_reason == "content_filter":
            return Refusal(digest, CONTENT_FILTER, "the API filtered its own reply")
        if not reply.text.strip():
            return Refusal(digest, EMPTY, f"a reply without text (finish_reason {reply.finish_reason!r})")
        return reply

    def _send(
        self, todo: Mapping[str, Mapping[str, Any]], known: int, describe: str, bar: bool, refusals: bool
    ) -> None:
        """Have the sender bring the replies into the ledger."""
        sender = self._start()
        assert sender.stdin is not None
        assert sender.stdout is not None
        try:
            for order in (*todo.items(), {"stage": describe, "refusals": refusals, "mode": self._mode}):
                sender.stdin.write(jsonl.dumps(order).encode() + b"\n")
            sender.stdin.flush()
        except BrokenPipeError:
            raise self._broken(sender) from None
        with tqdm(
            total=known + len(todo), initial=known, desc=describe, unit="reply", mininterval=1, disable=not bar
        ) as progress:
            for line in sender.stdout:
                event = json.loads(line)
                if "came" in event:
                    came = Came(**event["came"])
                    self.came += came
                    progress.set_postfix_str(self.came.told(), refresh=False)
                    progress.update(came.requests)
                elif "tell" in event:
                    tqdm.write(event["tell"], file=sys.stderr)
                elif not event["end"]:
                    return
                elif "bug" in event["end"]:
                    raise RuntimeError(event["end"]["bug"])
                else:
                    fault = event["end"]
                    raise BelleError(fault["what"], where=fault["where"], cause=fault["cause"], fix=fault["fix"])
        raise self._broken(sender)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the sender if it does not run: in a session of its own, out of the reach of what kills this one."""
        if self._sender is None:
            source = str(Path(__file__).resolve().parents[2])
            paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
            self._said = self._pipes.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            self._sender = subprocess.Popen(
                [sys.executable, "-m", "belle.api.serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
            for pipe in (self._sender.stdout, self._sender.stdin):
                assert pipe is not None
                self._pipes.callback(_close, pipe)
            assert self._sender.stdin is not None
            self._sender.stdin.write(jsonl.dumps(self._settings).encode() + b"\n")
        return self._sender

    def _broken(self, sender: subprocess.Popen[bytes]) -> BelleError:
        status, said = sender.wait(), ""
        if self._said is not None:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip()[-2000:]
        return BelleError(
            f"the process that sends requests ended with {status}" + (f", saying:\n{said}" if said else ""),
            where=self._base_url,
            cause="it was killed, or ran out of memory",
            fix="run again: every reply so far is in the ledger",
        )


def _close(pipe: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        pipe.close()
