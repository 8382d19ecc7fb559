"""The client against a real server on a real socket that fails in every way a script can make it."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web
from stub_api import StubApi, completion

from belle.api.client import Client, Request, ask
from belle.api.ledger import Ledger
from belle.api.provider import endpoint_name, provider
from belle.api.request import request_digest
from belle.api.sender import Sender
from belle.errors import BelleError, InputError

KEY = "sk-secret-0123456789"


def some(count: int, first: int = 0) -> list[Request]:
    return [
        Request("m", [{"role": "user", "content": f"第{i}问"}], {"temperature": 0.5}, i)
        for i in range(first, first + count)
    ]


def asked(stub: StubApi, folder: Path, requests: list[Request], **changes: Any) -> list[str]:
    settings: dict[str, Any] = {
        "base_url": stub.url, "endpoint": "stub", "api_key": KEY, "in_flight": 16, "timeout_s": 5.0, "max_retries": 3,
        "describe": "test", **changes,
    }  # fmt: skip
    with Ledger(folder) as ledger:
        return [reply.text for reply in ask(requests, ledger=ledger, **settings)]


def sent(stub: StubApi, folder: Path, requests: list[Request], **changes: Any) -> list[str]:
    """As ``asked``, with the sender in this process: it is quick, and how processes share work is tested below."""
    settings: dict[str, Any] = {"in_flight": 16, "timeout_s": 5.0, "max_retries": 3, "first_pause_s": 0.02, **changes}
    identities = [request.identity("stub") for request in requests]

    async def send() -> None:
        sender = Sender(
            ledger=ledger, base_url=stub.url, api_key=KEY, came=lambda came: None, tell=lambda text: None, **settings
        )
        try:
            await sender.send({request_digest(identity): identity for identity in identities}, stage="test")
        finally:
            await sender.close()

    with Ledger(folder) as ledger:
        asyncio.run(send())
    return asked(stub, folder, requests, api_key="")


def everything_in(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir())


def test_replies_come_in_order_and_a_second_time_out_of_the_ledger(tmp_path: Path) -> None:
    requests = [*some(40), *some(3)]
    expected = [f"答:第{request.sample}问" for request in requests]
    with StubApi(delay_s=0.05) as stub:
        assert asked(stub, tmp_path, requests) == expected
        assert len(stub.bodies) == 40
        assert 8 < stub.most_under_way <= 16
        assert stub.bodies[0].keys() == {"model", "messages", "temperature"}
        assert stub.keys == {f"Bearer {KEY}"}
    # The server is gone: nothing needs it, nor a key.
    assert asked(stub, tmp_path, requests, api_key="") == expected


def test_the_idempotency_key_is_the_digest_and_the_ledger_holds_the_whole_reply(tmp_path: Path) -> None:
    with StubApi() as stub:
        sent(stub, tmp_path, some(1))
    (line,) = Ledger(tmp_path)
    assert list(stub.posts) == [line["digest"]]
    assert json.loads(line["reply"]) == completion("答:第0问")
    assert line["request"] == some(1)[0].identity("stub")
    assert (line["finish_reason"], line["usage"]["completion_tokens"], line["stage"]) == ("stop", 5, "test")


def test_one_pool_serves_many_calls(tmp_path: Path) -> None:
    with StubApi() as stub, Ledger(tmp_path) as ledger:
        common: dict[str, Any] = {"base_url": stub.url, "endpoint": "e", "api_key": KEY, "in_flight": 4, "timeout_s": 5}
        with Client(ledger=ledger, **common) as client:
            for wave in range(3):
                assert len(client.ask(some(4, 4 * wave), describe="wave", bar=False)) == 4


FAULTS = {
    "429": lambda n: web.Response(status=429) if n < 2 else None,
    "500": lambda n: web.json_response({"error": {"message": "oops"}}, status=500) if n < 2 else None,
    "503 page": lambda n: web.Response(status=503, text="<html>busy</html>") if n < 1 else None,
    "dropped": lambda n: "drop" if n < 2 else None,
    "stalled": lambda n: "stall" if n < 1 else None,
    "no JSON": lambda n: web.Response(text='{"choices": [{"mess') if n < 1 else None,
    "no choice": lambda n: web.json_response({"choices": []}) if n < 1 else None,
    "an error as 200": lambda n: web.json_response({"error": {"message": "x"}}) if n < 1 else None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again(tmp_path: Path, fault: str) -> None:
    with StubApi(fault=FAULTS[fault]) as stub:
        assert sent(stub, tmp_path, some(5), timeout_s=0.5 if fault == "stalled" else 5) == [
            f"答:第{i}问" for i in range(5)
        ]
        assert set(stub.answered.values()) == {1}
    assert all(line["attempts"] >= stub.posts[line["digest"]] > 1 for line in Ledger(tmp_path))


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {"retry-after-ms": "1000"}, {"Retry-After": "date"}],
    ids=["seconds", "milliseconds", "date"],
)
def test_retry_after_holds_every_request_back(tmp_path: Path, headers: dict[str, str]) -> None:
    refused_at: list[float] = []

    def fault(earlier: int) -> web.Response | None:
        if refused_at:
            return None
        refused_at.append(time.monotonic())
        dated = {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
        return web.Response(status=429, headers=dated if headers.get("Retry-After") == "date" else headers)

    with StubApi(fault=fault) as stub:
        sent(stub, tmp_path, some(6), in_flight=1)
        gap = stub.times[1] - stub.times[0]
    assert 0.95 <= gap < 3.5


def test_a_long_storm_ends_in_one_error_and_keeps_the_rest(tmp_path: Path) -> None:
    with StubApi(fault=lambda n: web.Response(status=429)) as stub:
        with pytest.raises(BelleError, match=r"HTTP 429.*\(4 attempts\)") as raised:
            sent(stub, tmp_path, some(3))
        assert "rate limit" in str(raised.value)
        stub.fault = None
        assert len(sent(stub, tmp_path, some(3))) == 3


@pytest.mark.parametrize(
    ("status", "code"), [(400, None), (401, "invalid_api_key"), (404, None), (429, "insufficient_quota")]
)
def test_what_does_not_pass_is_raised_at_once_without_the_key(tmp_path: Path, status: int, code: str | None) -> None:
    told = {"error": {"message": f"你错了: key {KEY} or sk-secr*****6789", "code": code}}
    with StubApi(fault=lambda n: web.json_response(told, status=status)) as stub:
        with pytest.raises(BelleError) as raised:
            sent(stub, tmp_path, some(1))
        assert sum(stub.posts.values()) == 1
    message = str(raised.value)
    assert f"HTTP {status}: 你错了" in message
    assert stub.url in message
    assert "sk-" not in message
    assert "sk-" not in everything_in(tmp_path)
    # A refusal is not paid: no warning about it the next time.
    assert Ledger(tmp_path).claim(list(stub.posts)).possibly_paid == []


def test_a_server_that_echoes_the_key_does_not_bring_it_into_the_ledger(tmp_path: Path) -> None:
    with StubApi(lambda body: f"your key is {KEY}") as stub:
        assert sent(stub, tmp_path, some(1)) == ["your key is [key]"]
    assert "sk-" not in everything_in(tmp_path)


def test_what_is_under_way_when_one_fails_is_recorded(tmp_path: Path) -> None:
    def fault(earlier: int) -> web.Response | None:
        return (
            web.Response(status=400, text="no")
            if len(stub.answered) == 3 and not refused.is_set() and not refused.set()
            else None
        )

    refused = threading.Event()
    with StubApi(delay_s=0.1, fault=fault) as stub:
        with pytest.raises(BelleError, match="HTTP 400"):
            asked(stub, tmp_path, some(64), in_flight=8)
        assert len(stub.posts) <= 16
        assert set(stub.answered) == {line["digest"] for line in Ledger(tmp_path)}
        asked(stub, tmp_path, some(64))
        assert set(stub.answered.values()) == {1}


def test_a_reply_that_could_not_be_kept_was_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise BelleError("cannot write to the ledger: no space")

    monkeypatch.setattr(Ledger, "record", full)
    with StubApi() as stub:
        with pytest.raises(BelleError, match="no space"):
            sent(stub, tmp_path, some(1))
        assert Ledger(tmp_path).claim(list(stub.posts)).possibly_paid == list(stub.posts)


def test_no_key_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with StubApi() as stub, pytest.raises(InputError, match="OPENAI_API_KEY"):
        asked(stub, tmp_path, some(2), api_key="")
    assert not stub.posts
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with StubApi() as stub:
        pass
    with pytest.raises(BelleError, match="connection failed"):
        sent(stub, tmp_path, some(2), max_retries=1)
    lines = [json.loads(line) for line in everything_in(tmp_path).splitlines()]
    assert {(line["kind"], line.get("paid")) for line in lines} == {("intent", None), ("release", "no")}


def test_half_an_emoji_is_readable(tmp_path: Path) -> None:
    with StubApi(lambda body: "笑\ud83d") as stub:
        assert sent(stub, tmp_path, some(1)) == ["笑\ufffd"]


def test_a_proxy_does_not_stand_before_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with StubApi() as stub:
        assert sent(stub, tmp_path, some(1)) == ["答:第0问"]


ASKER = """
import sys
from pathlib import Path
from belle.api.client import Request, ask
from belle.api.ledger import Ledger
from belle.api.request import request_digest
requests = [Request("m", [{"role": "user", "content": f"第{i}问"}], {}, i) for i in range(int(sys.argv[3]))]
replies = ask(requests, ledger=Ledger(Path(sys.argv[1])), base_url=sys.argv[2], endpoint="stub", api_key="k",
              in_flight=8, timeout_s=10, describe="twin")
print("".join(reply.text for reply in replies))
"""


def an_asker(folder: Path, url: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASKER, str(folder), url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_two_processes_on_one_ledger_ask_each_thing_once(tmp_path: Path) -> None:
    with StubApi(delay_s=0.1) as stub:
        twins = [an_asker(tmp_path, stub.url, 120) for _ in range(2)]
        outputs = [twin.communicate(timeout=40) for twin in twins]
        assert [twin.returncode for twin in twins] == [0, 0], outputs
        assert stub.most_under_way > 8
        assert len(stub.posts) == 120
        assert set(stub.posts.values()) == {1}
    assert outputs[0][0] == outputs[1][0] == "".join(f"答:第{i}问" for i in range(120)) + "\n"


def test_a_killed_process_loses_nothing_that_is_under_way(tmp_path: Path) -> None:
    """Its sender outlives it until the replies are recorded; the next process waits for those and asks for the rest."""
    with StubApi(hold_after=11) as stub:
        killed = an_asker(tmp_path, stub.url, 40)
        wait_for(lambda: stub.started == 19)
        killed.kill()
        killed.communicate()
        twin = an_asker(tmp_path, stub.url, 40)
        wait_for(lambda: stub.started == 27)
        stub.release()
        output, told = twin.communicate(timeout=40)
        assert twin.returncode == 0, told
        assert output == "".join(f"答:第{i}问" for i in range(40)) + "\n"
        assert len(stub.posts) == 40
        assert set(stub.posts.values()) == {1}
        assert "sent before" not in told


def test_the_sender_of_a_killed_process_asks_for_nothing_new(tmp_path: Path) -> None:
    with StubApi(hold_after=3) as stub:
        killed = an_asker(tmp_path, stub.url, 40)
        wait_for(lambda: stub.started == 11)
        (sender,) = psutil.Process(killed.pid).children()
        killed.kill()
        killed.communicate()
        stub.release()
        sender.wait(timeout=20)
        assert len(stub.posts) == 11
        assert {line["digest"] for line in Ledger(tmp_path)} == set(stub.answered) == set(stub.posts)


def test_what_a_killed_sender_had_under_way_is_sent_again_and_said(tmp_path: Path) -> None:
    with StubApi(hold_after=11) as stub:
        killed = an_asker(tmp_path, stub.url, 40)
        wait_for(lambda: stub.started == 19 and len(Ledger(tmp_path)) == 11)
        (sender,) = psutil.Process(killed.pid).children()
        sender.kill()
        _, told = killed.communicate(timeout=20)
        assert "the process that sends requests ended with -9" in told
        recorded = {line["digest"] for line in Ledger(tmp_path)}
        stub.release()
        output, told = an_asker(tmp_path, stub.url, 40).communicate(timeout=40)
        assert output == "".join(f"答:第{i}问" for i in range(40)) + "\n"
        assert "twin: 8 requests had been sent before without a reply being seen" in told
        again = {digest for digest, count in stub.posts.items() if count > 1}
        assert len(again) == 8
        assert not again & recorded


def test_endpoint_names_hold_no_secret() -> None:
    assert endpoint_name("HTTPS://API.OpenAI.com/v1/") == "https://api.openai.com/v1"
    assert endpoint_name("http://[::1]:80/v1") == "http://[::1]:80/v1"
    for url in ("https://user:sk-x@host/v1", "https://host/v1?key=sk-x", "https://host/v1#sk-x"):
        with pytest.raises(InputError) as raised:
            endpoint_name(url)
        assert "sk-x" not in str(raised.value)
    for url in ("api.openai.com/v1", "ftp://host", "http://", "http://host:port/v1"):
        with pytest.raises(InputError, match="not an http"), provider(url, "k"):
            pass
