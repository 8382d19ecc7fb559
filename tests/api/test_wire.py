"""Where a request goes on its way out, and what goes with it."""

import asyncio
from pathlib import Path

import pytest
from stub_api import StubApi

from belle.api.body import Body
from belle.api.client import Client, Request
from belle.api.fault import RefusedError
from belle.api.ledger import Ledger
from belle.api.wire import Wire
from belle.errors import InputError

KEY = "sk-secret-0123456789"
REQUEST = {"endpoint": "e", "model": "m", "messages": [{"role": "user", "content": "问"}], "params": {}, "sample": 0}


def post(base_url: str, timeout_s: float = 5.0) -> Body:
    async def once() -> Body:
        wire = Wire(base_url=base_url, api_key=KEY, timeout_s=timeout_s)
        try:
            return await wire.post(REQUEST, "digest")
        finally:
            await wire.close()

    return asyncio.run(once())


def test_the_proxy_of_the_environment_stands_before_the_rest_of_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubApi() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert post("http://api.example.test/v1").text == "答:问"
        monkeypatch.setenv("NO_PROXY", "example.test")
        with pytest.raises(RefusedError, match="connection failed") as raised:
            post("http://api.example.test/v1", 20.0)
        assert raised.value.paid == "no"
        assert proxy.posts.total() == 1


def test_a_netrc_file_does_not_come_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\ndefault login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with StubApi() as stub:
        post(stub.url + "/")
        assert stub.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("url", ["http://:99999/v1", "http://host:port/v1", "http://a..b/v1"])
def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(RefusedError, match="not a URL") as raised:
        post(url)
    assert (raised.value.again, raised.value.paid) == (False, "no")


@pytest.mark.parametrize("key", ["sk-secret\n", "sk secret\r\nX-Header: 1", "钥匙"])
def test_a_key_that_no_header_can_carry_is_refused_unread(tmp_path: Path, key: str) -> None:
    with StubApi() as stub, Ledger(tmp_path) as ledger:
        client = Client(ledger=ledger, base_url=stub.url, endpoint="e", api_key=key, in_flight=1, timeout_s=5)
        with client, pytest.raises(InputError, match="OPENAI_API_KEY") as raised:
            client.ask([Request("m", [{"role": "user", "content": "问"}], {})])
        assert key.strip() not in str(raised.value)
        assert not stub.posts
