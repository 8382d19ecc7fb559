"""OpenAI's Batch API: a file of requests that is worked off within a day, and the files of what came of them."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from belle.api.body import Body, read_body
from belle.api.fault import MALFORMED, RefusedError, broken, of_status
from belle.api.wire import body_of, is_local

MARK = "belle"
"""The key of a batch's metadata that holds our name for it: by it a batch is found whose id nobody kept."""

OVER = frozenset({"completed", "failed", "expired", "cancelled"})
"""The states that a batch stays in."""

_URL = "/v1/chat/completions"
_LONGEST_PAUSE_S = 60.0


@dataclass
class Output:
    """What a batch's files hold for each digest, and how many lines were no use."""

    ended: dict[str, Body | RefusedError] = field(default_factory=dict)
    duplicates: int = 0
    strangers: int = 0


class BatchApi:
    """The files and batches of one account, by openai's own client, which is loaded when it is needed."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout_s: float,
        max_retries: int,
        first_pause_s: float,
        hide: Callable[[str], str],
    ) -> None:
        self._base_url, self._api_key, self._timeout_s, self._hide = base_url, api_key, timeout_s, hide
        self._max_retries, self._first_pause_s = max_retries, first_pause_s
        self._client: Any = None

    async def close(self) -> None:
        """Close the connections, if there were any."""
        if self._client is not None:
            await self._client.close()

    async def find(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """The account's batches by our names for them; several where a reply to their making was lost.

        Raises:
            RefusedError: the API refuses, or fails to the end.
        """
        wanted, found = set(names), dict[str, list[Any]]()

        async def listed() -> None:
            found.clear()
            async for batch in self._api().batches.list(limit=100):
                if (name := (batch.metadata or {}).get(MARK)) in wanted:
                    found.setdefault(name, []).append(batch)

        await self._tried(listed)
        return found

    async def submit(self, name: str, requests: Mapping[str, Mapping[str, Any]]) -> Any:
        """Upload the requests and have them worked off; a batch of that name is made once.

        Raises:
            RefusedError: as ``find``; ``paid`` is "possibly" where a batch may have been made all the same.
        """
        lines = b"".join(
            json.dumps(
                {"custom_id": digest, "method": "POST", "url": _URL, "body": body_of(request)}, ensure_ascii=False
            ).encode()
            + b"\n"
            for digest, request in requests.items()
        )
        try:
            file = await self._tried(
                lambda: self._api().files.create(file=(f"{name}.jsonl", lines, "application/jsonl"), purpose="batch")
            )
        except RefusedError as error:
            error.paid = "no"  # a file alone costs nothing
            raise
        made = False

        async def make() -> Any:
            # A reply that was lost may stand for a batch that was made, and is being paid for.
            nonlocal made
            if made and (found := (await self.find([name])).get(name)):
                return found[0]
            made = True
            return await self._api().batches.create(
                input_file_id=file.id, endpoint=_URL, completion_window="24h", metadata={MARK: name}
            )

        return await self._tried(make)

    async def look(self, identity: str) -> Any:
        """The batch as it is now."""
        return await self._tried(lambda: self._api().batches.retrieve(identity))

    async def output(self, batch: Any, wanted: Iterable[str]) -> Output:
        """What came of the requests of a batch that is over: each of ``wanted`` that its files name."""
        found, ours = Output(), set(wanted)
        for file in (batch.output_file_id, batch.error_file_id):
            if file:

                async def download(file: str = file) -> bytes:
                    return (await self._api().files.content(file)).content

                read_lines(self._hide((await self._tried(download)).decode("utf-8", "backslashreplace")), ours, found)
        return found

    def _api(self) -> Any:
        if self._client is None:
            import openai

            local = is_local(self._base_url)
            pool = openai.DefaultAioHttpClient(
                trust_env=not local, verify=self._base_url.startswith("https"), follow_redirects=False
            )
            self._client = openai.AsyncOpenAI(
                api_key=self._api_key, base_url=self._base_url, max_retries=0, timeout=self._timeout_s, http_client=pool
            )
        return self._client

    async def _tried(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do it until it is done, a refusal is final, or the attempts run out."""
        import openai

        for attempt in range(self._max_retries + 1):
            try:
                return await work()
            except openai.APIStatusError as error:
                refused = of_status(
                    error.status_code, self._hide(error.response.text), dict(error.response.headers.items())
                )
            except (openai.APIConnectionError, TimeoutError, OSError) as error:
                refused = RefusedError(
                    f"connection lost: {self._hide(str(error.__cause__ or error))}", again=True, paid="possibly"
                )
            if not refused.again or attempt == self._max_retries:
                raise refused
            longest = min(_LONGEST_PAUSE_S, self._first_pause_s * 2**attempt)
            await asyncio.sleep(max(min(refused.wait_s or 0.0, _LONGEST_PAUSE_S), longest * random.uniform(0.5, 1.0)))
        raise AssertionError


def read_lines(text: str, wanted: set[str], found: Output) -> None:
    """Add the lines of an output or error file; of a request, the first whole completion counts."""
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            digest, response, error = row["custom_id"], row.get("response"), row.get("error")
        except (ValueError, KeyError, TypeError, AttributeError):
            found.strangers += 1
            continue
        if digest not in wanted:
            found.strangers += 1
            continue
        ended = _ended(response, error)
        if digest in found.ended:
            found.duplicates += 1
            if not (isinstance(ended, Body) and isinstance(found.ended[digest], RefusedError)):
                continue
        found.ended[digest] = ended


def _ended(response: Any, error: Any) -> Body | RefusedError:
    if not isinstance(response, dict):
        code = error.get("code") if isinstance(error, dict) else ""
        return RefusedError(f"no response in the batch: {code or 'unknown'}", again=True, paid="no")
    status, body = response.get("status_code"), response.get("body")
    raw = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    if status != 200:
        return of_status(status if isinstance(status, int) else 500, raw, {})
    try:
        return read_body(raw)
    except ValueError as fault:
        return broken(MALFORMED, str(fault), raw)
