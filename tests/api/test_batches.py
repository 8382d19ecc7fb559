"""OpenAI's Batch API against a server that speaks it over real HTTP, and that fails as batches do."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from stub_api import StubApi, completion

from belle.api.budget import Account, Budget
from belle.api.client import Client, Refusal, Request, ask
from belle.api.ledger import Ledger
from belle.api.prices import Price, Prices
from belle.api.request import request_digest
from belle.api.sender import Sender
from belle.errors import BelleError

KEY = "sk-secret-0123456789"


def some(count: int) -> list[Request]:
    return [Request("m", [{"role": "user", "content": f"第{i}问"}], {"max_tokens": 20}, i) for i in range(count)]


def texts(count: int) -> list[str]:
    return [f"答:第{i}问" for i in range(count)]


def batched(stub: StubApi, folder: Path, count: int, *, api_key: str = KEY, **changes: Any) -> list[Any]:
    """Texts and reasons by the sender in this process, which is quick; how processes work together is tested below."""
    terms = {"timeout_s": 5.0, "max_retries": 2, "first_pause_s": 0.01, "poll_s": 0.02, "in_flight": 8}
    refusals, endpoint = changes.get("refusals", False), changes.get("endpoint", stub.url)
    limit = changes.get("budget")
    identities = [request.identity(endpoint) for request in some(count)]

    async def send() -> None:
        sender = Sender(
            ledger=ledger, base_url=stub.url, api_key=api_key, came=lambda came: None,
            tell=lambda text: print(text, file=sys.stderr), budget=limit and limit.as_json(), **terms,
        )  # fmt: skip
        try:
            orders = {request_digest(identity): identity for identity in identities}
            await sender.send(orders, stage="test", refusals=refusals, mode="batch")
        finally:
            await sender.close()

    with Ledger(folder) as ledger:
        if api_key:
            asyncio.run(send())
        return in_processes(stub, folder, count, api_key="", refusals=refusals, endpoint=endpoint)


def in_processes(stub: StubApi, folder: Path, count: int, **changes: Any) -> list[Any]:
    """As ``batched``, with a sender that is a process of its own."""
    settings: dict[str, Any] = {
        "base_url": stub.url, "endpoint": stub.url, "api_key": KEY, "in_flight": 8, "timeout_s": 5.0, "max_retries": 2,
        "first_pause_s": 0.01, "poll_s": 0.02, "mode": "batch", "describe": "test", **changes,
    }  # fmt: skip
    with Ledger(folder) as ledger:
        return [
            reply.reason if isinstance(reply, Refusal) else reply.text
            for reply in ask(some(count), ledger=ledger, **settings)
        ]


def test_a_batch_brings_every_reply_and_none_is_asked_again(tmp_path: Path) -> None:
    with StubApi() as stub:
        assert batched(stub, tmp_path, 30) == texts(30)
        assert len(stub.desk.batches) == 1
        assert batched(stub, tmp_path, 30, api_key="") == texts(30)
        assert batched(stub, tmp_path, 31) == texts(31)
        assert set(stub.posts.values()) == {1}
        (first, _) = stub.desk.batches.values()
        lines = [json.loads(line) for line in stub.desk.files[first["input_file_id"]].splitlines()]
        assert {line["url"] for line in lines} == {"/v1/chat/completions"}
        asked = {line["custom_id"]: line["body"] for line in lines}
        digest = request_digest(some(1)[0].identity(stub.url))
        assert asked[digest] == {"model": "m", "messages": some(1)[0].messages, "max_tokens": 20}
    rows = list(Ledger(tmp_path))
    assert {row["mode"] for row in rows} == {"batch"}
    assert {json.loads(row["reply"])["usage"]["completion_tokens"] for row in rows} == {5}
    assert "sk-" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_lines_that_come_twice_in_any_order_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the lines twice, in reverse, one torn, one of a stranger; a third is missing and asked again."""
    mangled: list[int] = []

    def mangle(lines: list[str]) -> list[str]:
        if mangled:
            return lines
        mangled.append(len(lines))
        stranger = json.dumps({**json.loads(lines[0]), "custom_id": "nobody"})
        return [*reversed(lines[:20]), *lines[:10], lines[20][:50], stranger, "", "3"]

    with StubApi() as stub:
        stub.desk.mangle = mangle
        assert batched(stub, tmp_path, 30) == texts(30)
        assert mangled == [30]
        assert len(stub.desk.batches) == 2
        assert sorted(stub.posts.values()) == [1] * 20 + [2] * 10  # the server lost ten replies that it had made
    told = capsys.readouterr().err
    assert "10 lines came twice, 3 belong to no request, 10 requests have no answer in it" in told
    with Ledger(tmp_path) as ledger:
        assert len(ledger) == 30
        released = [row for row in ledger.lines() if row["kind"] == "release"]
        assert [row["paid"] for row in released] == ["possibly"] * 10


def test_a_batch_that_expires_brings_what_it_has_and_the_rest_is_sent_again(tmp_path: Path) -> None:
    with StubApi() as stub:
        stub.desk.end = "expired"
        stub.desk.mangle = lambda lines: setattr(stub.desk, "end", "completed") or lines
        assert batched(stub, tmp_path, 5) == texts(5)
        assert [batch["status"] for batch in stub.desk.batches.values()] == ["expired", "completed"]
        assert set(stub.answered.values()) == {1}
        with Ledger(tmp_path) as ledger:
            assert {row["paid"] for row in ledger.lines() if row["kind"] == "release"} == {"no"}


def test_a_batch_that_the_server_refuses_is_named(tmp_path: Path) -> None:
    with StubApi() as stub:
        stub.desk.end = "failed"
        with pytest.raises(BelleError, match="failed: no such model"):
            batched(stub, tmp_path, 5)
        assert not stub.posts
        assert Ledger(tmp_path).claim(["a" * 64]).possibly_paid == []
    with pytest.raises(BelleError, match="connection lost"):
        batched(stub, tmp_path, 5)


def test_requests_that_are_refused_within_a_batch_end_by_their_reasons(tmp_path: Path) -> None:
    too_long = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    with StubApi() as stub:
        stub.batch_fault = lambda n, body: (400, too_long) if body["messages"][0]["content"] == "第1问" else None
        assert batched(stub, tmp_path, 3, refusals=True) == ["答:第0问", "context_length", "答:第2问"]
        assert batched(stub, tmp_path, 3, refusals=True, api_key="") == ["答:第0问", "context_length", "答:第2问"]
        assert set(stub.posts.values()) == {1}
        with pytest.raises(BelleError, match="HTTP 400: too long"):
            batched(stub, tmp_path, 3)


def test_a_malformed_body_in_a_batch_is_asked_for_three_times(tmp_path: Path) -> None:
    with StubApi() as stub:
        stub.batch_fault = lambda n, body: (200, {"choices": []})
        assert batched(stub, tmp_path, 2, refusals=True) == ["malformed", "malformed"]
        assert set(stub.posts.values()) == {3}
        stub.batch_fault = lambda n, body: (500, {"error": {"message": "overloaded"}})
        with pytest.raises(BelleError, match="2 requests got no answer in 3 to 5 batches: HTTP 500: overloaded"):
            batched(stub, tmp_path, 2)


def test_a_batch_whose_making_was_answered_to_nobody_is_made_once(tmp_path: Path) -> None:
    with StubApi() as stub:
        stub.desk.lost = 1
        assert batched(stub, tmp_path, 4) == texts(4)
        assert len(stub.desk.batches) == 1
        assert set(stub.posts.values()) == {1}


ASKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_batches import StubApi, in_processes
stub = StubApi()
stub.url = sys.argv[2]
print("".join(in_processes(stub, Path(sys.argv[1]), 6, mode=sys.argv[4])))
"""


def an_asker(folder: Path, url: str, mode: str = "batch") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASKER, str(folder), url, str(Path(__file__).parent), mode]
    tests = Path(__file__).parents[1]
    path = [str(tests), str(tests.parent), str(tests.parent / "src")]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(path)}
    )


def wait_for(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


@pytest.mark.parametrize(("killed", "then"), [("asker", "batch"), ("sender", "batch"), ("sender", "chat")])
def test_a_killed_client_finds_its_batch_again(tmp_path: Path, killed: str, then: str) -> None:
    """Also where the next run would not use batches itself: what is under way is paid."""
    with StubApi() as stub:
        stub.desk.held, stub.desk.looks = True, 1
        first = an_asker(tmp_path, stub.url)
        wait_for(lambda: any(batch["status"] == "in_progress" for batch in stub.desk.batches.values()))
        (sender,) = psutil.Process(first.pid).children()
        (first if killed == "asker" else sender).kill()
        first.communicate(timeout=20)
        sender.wait(timeout=20)  # it does not wait a day for the batch
        stub.desk.held = False
        output, told = an_asker(tmp_path, stub.url, then).communicate(timeout=40)
        assert output == "".join(texts(6)) + "\n", told
        assert "6 requests are in a batch of an earlier run" in told
        assert "possibly paid" not in told
        assert len(stub.desk.batches) == 1
        assert set(stub.posts.values()) == {1}


def test_a_client_that_was_killed_before_its_batch_was_made_sends_again(tmp_path: Path) -> None:
    with StubApi() as stub:
        digest = request_digest(some(1)[0].identity(stub.url))
        code = (
            "import sys; from pathlib import Path; from belle.api.ledger import Ledger\n"
            "Ledger(Path(sys.argv[1])).claim([sys.argv[2]], batch='belle-gone')"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path), digest], check=True)
        assert batched(stub, tmp_path, 1) == texts(1)
        assert set(stub.posts.values()) == {1}
        with Ledger(tmp_path) as ledger:
            assert [row["kind"] for row in ledger.lines()] == ["intent", "intent", "release", "intent", "reply"]


def test_a_batch_costs_half_by_the_table_and_is_reserved_so(tmp_path: Path) -> None:
    """20 completion tokens at most at $1 make $10 in a batch; the replies' 5 cost $2.50 each."""
    prices = Prices(table={"m": Price(0.0, 1e6)}, batch_share=0.5)
    limit = Budget(25, prices)
    seen: list[int] = []
    with StubApi() as stub:
        settings: dict[str, Any] = {"endpoint": "https://api.example.com/v1", "budget": limit}
        stub.desk.mangle = lambda lines: seen.append(len(lines)) or lines
        assert batched(stub, tmp_path, 5, **settings) == texts(5)
        assert seen == [2, 2, 1]  # two worst cases fit into $25, then two into $20, then one
        account = Account(tmp_path, limit)
        account.refresh()
        assert (account.spent, account.reserved) == (12.5, 0.0)
        with pytest.raises(BelleError, match=r"the budget of \$25\.00 is reached"):
            batched(stub, tmp_path, 9, **settings)
        assert len(Ledger(tmp_path)) == 7
    assert {tuple(row["price"]) for row in Ledger(tmp_path)} == {(0.0, 500_000.0)}


def test_waiting_for_a_batch_tells_its_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terms: dict[str, Any] = {"endpoint": "e", "api_key": "k", "in_flight": 4, "timeout_s": 5, "poll_s": 0.01}
    with StubApi() as stub, Ledger(tmp_path) as ledger:
        client = Client(ledger=ledger, base_url=stub.url, mode="batch", **terms)
        with client:
            client.ask(some(3), describe="stage")
        assert client.came.requests == 3
        assert client.came.completion_tokens == 15
    told = capsys.readouterr().err
    assert "batch batch_2 is validating" in told
    assert "batch batch_2 is in_progress" in told
    assert completion("x")["usage"]["completion_tokens"] == 5
