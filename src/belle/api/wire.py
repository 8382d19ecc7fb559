"""One attempt at one chat completion over HTTP."""

import json
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi

from belle.api.body import Body, read_body
from belle.api.fault import CUT, MALFORMED, RefusedError, broken, of_status

_SECRET_CHARS = 12
"""A shorter key is a word for a server that asks for none, and such a word may well stand in a reply."""

_CONNECT_S = 30.0
"""A connection that takes longer does not come about, and nothing was paid."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ECHOED_KEY = re.compile(r"\bsk-[\w-]*\*[\w*-]*")


class Wire:
    """A pool of connections to one OpenAI-compatible API. To be made inside the event loop that it is used in."""

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self._api_key, self._timeout_s = api_key, timeout_s
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        # How many are under way is decided above. aiohttp's trust_env would read ~/.netrc at every request.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_certificates(base_url)),
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy(base_url),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, request: Mapping[str, Any], digest: str) -> Body:
        """Send one request (the ledger's ``FIELDS``), its digest as ``Idempotency-Key``.

        Raises:
            RefusedError: there is no reply, for any reason.
        """
        body = json.dumps(body_of(request), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {**self._headers, "Idempotency-Key": digest}
        parts: list[bytes] = []
        status = 0
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
                while part := await response.content.readany():
                    parts.append(part)
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise RefusedError(f"not a URL: {self.hide(str(error))}", again=False, paid="no") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._lost(error, status, b"".join(parts)) from None
        raw = self.hide(b"".join(parts).decode("utf-8", "backslashreplace"))
        if not 200 <= status < 300:
            told = {name.lower(): value for name, value in response.headers.items()}
            raise of_status(status, raw, {"reason": response.reason or "", **told})
        try:
            return read_body(raw)
        except ValueError as error:
            raise broken(MALFORMED, str(error), raw) from None

    def _lost(self, error: BaseException, status: int, came: bytes) -> RefusedError:
        told = self.hide(str(error)) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return RefusedError(f"connection failed: {told}", again=True, paid="no")
        if isinstance(error, TimeoutError):
            return RefusedError(f"no reply within {self._timeout_s:g} s", again=True, paid="possibly")
        if 200 <= status < 300:
            return broken(CUT, "the connection ended inside the body", self.hide(came.decode("utf-8", "replace")))
        return RefusedError(f"connection lost: {told}", again=True, paid="possibly")

    def hide(self, text: str) -> str:
        """Take the key out of what a server sent back, whole or in the shortened form that OpenAI echoes."""
        if len(self._api_key) >= _SECRET_CHARS:
            text = text.replace(self._api_key, "[key]")
        return _ECHOED_KEY.sub("[key]", text) if "sk-" in text else text


def body_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request (the ledger's ``FIELDS``) as the API takes it."""
    return {"model": request["model"], "messages": request["messages"], **request["params"]}


def is_local(base_url: str) -> bool:
    """Whether a server is on this machine: no proxy may stand before it."""
    return urlsplit(base_url).hostname in _LOOPBACK


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for a URL."""
    url = urlsplit(base_url)
    if is_local(base_url) or not url.hostname or proxy_bypass(url.hostname):
        return None
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


def _certificates(base_url: str) -> ssl.SSLContext | bool:
    """The system's certificates and Mozilla's: a slim container has none of its own."""
    if not base_url.startswith("https:"):
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
