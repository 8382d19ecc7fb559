"""Where requests go: a URL, or the offline teacher, started for the time it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from belle.api.teacher.identity import identity
from belle.api.teacher.server import OfflineTeacher
from belle.errors import InputError

OFFLINE = "offline"
"""The ``base_url`` that stands for the offline teacher."""


@dataclass(frozen=True)
class Provider:
    """An API: its URL, its name in the ledger (which holds no secret), and the key to send."""

    base_url: str
    endpoint: str
    api_key: str


@contextmanager
def provider(base_url: str, api_key: str, *, teacher: str = "") -> Iterator[Provider]:
    """Yield the API that ``base_url`` names; ``offline`` starts the teacher and stops it at the end of the block.

    ``teacher`` is the offline teacher's name in the ledger, if not that of its ``identity``.

    Raises:
        InputError: ``base_url`` is no http(s) URL, or carries a name, password or query, where keys hide.
    """
    if base_url == OFFLINE:
        with OfflineTeacher() as url:
            yield Provider(url, teacher or identity(), OFFLINE)
    else:
        endpoint = endpoint_name(base_url)
        yield Provider(base_url, endpoint, api_key or (OFFLINE if _on_this_machine(endpoint) else ""))


def _on_this_machine(endpoint: str) -> bool:
    """Whether a server is one's own: it asks for no key, though the client must send some word."""
    return urlsplit(endpoint).hostname in ("localhost", "127.0.0.1", "::1")


def endpoint_name(base_url: str) -> str:
    """The one spelling of an API's URL: scheme and host in lower case, no slash at the end.

    Raises:
        InputError: as for ``provider``.
    """
    try:
        parts = urlsplit(base_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InputError(
            "base_url must carry no name, password, query or fragment",
            where="base_url",
            cause="a key put into the URL",
            fix="leave the key out of base_url and set OPENAI_API_KEY",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"not an http(s) URL: {base_url!r}",
            where="base_url",
            fix='write a URL as https://api.openai.com/v1, or "offline"',
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
