"""One attempt at one chat completion over HTTP, and what its failure means."""

import asyncio
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai

from belle.api.body import Body, read_body

_AGAIN = frozenset({408, 409, 425, 429})
_SECRET_CHARS = 12
"""A shorter key is a word for a server that asks for none, and such a word may well stand in a reply."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class RefusedError(Exception):
    """An attempt without a reply.

    ``again``: whether to try again; ``paid``: ``no`` or ``possibly``; ``wait_s``: what the server asked to wait.
    """

    def __init__(self, what: str, *, again: bool, paid: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.what, self.again, self.paid, self.wait_s = what, again, paid, wait_s


class Wire:
    """A pool of connections to one OpenAI-compatible API."""

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self._api_key, self._timeout_s = api_key, timeout_s
        url = urlsplit(base_url)
        # The pool of httpx itself collapses above about 64 connections; aiohttp's does not. A proxy from the
        # environment must not stand between us and a server on this machine, and reading the certificates of the
        # world costs a tenth of a second that plain http has no use for (so it must not be led on to https).
        pool = openai.DefaultAioHttpClient(
            trust_env=url.hostname not in _LOOPBACK, verify=url.scheme != "http", follow_redirects=url.scheme != "http"
        )
        self._openai = openai.AsyncOpenAI(
            api_key=api_key, base_url=base_url, max_retries=0, timeout=timeout_s, http_client=pool
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def post(self, request: Mapping[str, Any], digest: str) -> Body:
        """Send one request (the ledger's ``FIELDS``), its digest as ``Idempotency-Key``.

        Raises:
            RefusedError: there is no reply, for any reason.
        """
        body = {"model": request["model"], "messages": request["messages"], **request["params"]}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._openai.post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    body=body,
                    options={"headers": {"Idempotency-Key": digest}},
                )
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except (TimeoutError, openai.APIConnectionError) as error:
            raise self._lost(error) from None
        except httpx2.InvalidURL as error:
            raise RefusedError(f"not a URL: {self._hide(str(error))}", again=False, paid="no") from None
        raw = self._hide(response.content.decode("utf-8", "backslashreplace"))
        try:
            return read_body(raw)
        except ValueError as error:
            raise RefusedError(f"HTTP 200, but {error}: {raw[:200]!r}", again=True, paid="possibly") from None

    def _lost(self, error: BaseException) -> RefusedError:
        # With aiohttp below it, openai takes every lost connection for a time-out: what it was stands further down.
        chain = [error]
        while (cause := chain[-1].__cause__) is not None:
            chain.append(cause)
        for link in chain:
            if isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
                return RefusedError(f"connection failed: {self._hide(str(link))}", again=True, paid="no")
        for link in chain:
            if isinstance(link, aiohttp.ClientError) and not isinstance(link, TimeoutError):
                return RefusedError(f"connection lost: {self._hide(str(link))}", again=True, paid="possibly")
        if any(isinstance(link, TimeoutError) for link in chain):
            return RefusedError(f"no reply within {self._timeout_s:g} s", again=True, paid="possibly")
        return RefusedError(f"connection lost: {self._hide(str(chain[-1]))}", again=True, paid="possibly")

    def _status(self, error: openai.APIStatusError) -> RefusedError:
        status = error.status_code
        told = error.body.get("message") if isinstance(error.body, dict) else None
        message = self._hide(str(told or error.response.text or error.message).strip())[:500]
        again = (status in _AGAIN or status >= 500) and error.code != "insufficient_quota"
        return RefusedError(
            f"HTTP {status}: {message}",
            again=again,
            paid="possibly" if status >= 500 else "no",
            wait_s=_retry_after(error.response.headers),
        )

    def _hide(self, text: str) -> str:
        """Take the key out of what a server sent back, whole or in the shortened form that OpenAI echoes."""
        if len(self._api_key) >= _SECRET_CHARS:
            text = text.replace(self._api_key, "[key]")
        return re.sub(r"\bsk-[\w-]*\*[\w*-]*", "[key]", text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, given as milliseconds, seconds or a date; None if it does not say."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        if value and value.strip().replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except ValueError:
        return None
