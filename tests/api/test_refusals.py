"""Requests that end without a usable reply for a reason of their own: kept, counted, and not paid for again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from stub_api import StubApi, completion

from belle.api.budget import Account, Budget
from belle.api.client import Client, Refusal, Reply, Request, ask
from belle.api.ledger import Ledger
from belle.api.prices import Price, Prices
from belle.errors import BelleError


def some(count: int) -> list[Request]:
    return [Request("m", [{"role": "user", "content": f"第{i}问"}], {"max_tokens": 20}, i) for i in range(count)]


def terms(stub: StubApi, ledger: Ledger, **changes: Any) -> dict[str, Any]:
    return {
        "ledger": ledger, "base_url": stub.url, "endpoint": stub.url, "api_key": "k", "in_flight": 4, "timeout_s": 5.0,
        "max_retries": 3, "first_pause_s": 0.01, **changes,
    }  # fmt: skip


def only(number: int, fault: Callable[[], Any]) -> Callable[[dict[str, Any]], Any]:
    """A fault that one of the requests always meets."""
    return lambda body: fault() if body["messages"][0]["content"] == f"第{number}问" else None


class Choosy(StubApi):
    """Fails by what is asked, not by how often."""

    def __init__(self, choose: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self.choose = choose


def error(code: str, status: int = 400) -> Callable[[], web.Response]:
    return lambda: web.json_response({"error": {"code": code, "message": f"看 {code}"}}, status=status)


FAULTS: dict[str, tuple[Callable[[], Any], int]] = {
    "context_length": (error("context_length_exceeded"), 1),
    "content_filter": (error("content_filter"), 1),
    "malformed": (lambda: web.Response(text='{"choices": [{"mess', content_type="application/json"), 3),
    "cut": (lambda: "cut", 3),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_one_that_is_refused_ends_as_its_reason_and_is_not_asked_again(tmp_path: Path, reason: str) -> None:
    fault, attempts = FAULTS[reason]
    with Choosy(only(2, fault)) as stub, Ledger(tmp_path) as ledger:
        with Client(**terms(stub, ledger)) as client:
            ended = client.ask(some(5), bar=False, refusals=True, describe="stage")
            assert client.came.requests == 5
            assert client.came.refused == {reason: 1}
        refusal = ended[2]
        assert isinstance(refusal, Refusal)
        assert refusal.reason == reason
        assert refusal.message
        assert [type(item) for item in ended] == [Reply, Reply, Refusal, Reply, Reply]
        assert stub.posts[refusal.digest] == attempts
        line = ledger.refusal(refusal.digest)
        assert line
        assert (line["stage"], line["attempts"], line["reason"]) == ("stage", attempts, reason)
        assert line["request"]["sample"] == 2
        broken = [row for row in ledger.lines() if row["kind"] == "broken"]
        assert len(broken) == (attempts if attempts > 1 else 0)
        assert all(row["reason"] == reason and row["body"].startswith("{") for row in broken)
        # another process, another day: nothing is sent
        with Ledger(tmp_path) as later:
            assert ask(some(5), **terms(stub, later, api_key=""), refusals=True) == ended
        assert stub.posts.total() == 4 + attempts


@pytest.mark.parametrize("reason", FAULTS)
def test_who_takes_no_refusals_gets_an_error_and_asks_anew(tmp_path: Path, reason: str) -> None:
    fault, _ = FAULTS[reason]
    with Choosy(only(1, fault)) as stub, Ledger(tmp_path) as ledger:
        ask(some(2), **terms(stub, ledger), refusals=True)
        with pytest.raises(BelleError, match="HTTP"):
            ask(some(2), **terms(stub, ledger))
        stub.choose = None
        assert [reply.text for reply in ask(some(2), **terms(stub, ledger))] == ["答:第0问", "答:第1问"]
        # what has a reply by now is no refusal any more
        assert all(isinstance(item, Reply) for item in ask(some(2), **terms(stub, ledger), refusals=True))


def test_a_fault_of_the_account_or_the_server_is_raised_all_the_same(tmp_path: Path) -> None:
    for number, status in enumerate((401, 500, 404)):
        with StubApi(fault=lambda n, status=status: web.Response(status=status)) as stub:
            with Ledger(tmp_path / str(number)) as ledger, pytest.raises(BelleError, match=f"HTTP {status}"):
                ask(some(1), **terms(stub, ledger, max_retries=1), refusals=True)
            assert not any(line["kind"] == "refusal" for line in Ledger(tmp_path / str(number)).lines())


def test_an_empty_or_filtered_reply_was_paid_and_is_asked_once(tmp_path: Path) -> None:
    bodies = {
        "第0问": completion(" \n"),
        "第1问": completion("只有一半", "content_filter"),
        "第2问": completion("到此为止", "length"),
        "第3问": {**completion(""), "choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}]},
    }
    with Choosy(lambda body: web.json_response(bodies[body["messages"][0]["content"]])) as stub:
        with Ledger(tmp_path) as ledger:
            ended = ask(some(4), **terms(stub, ledger), refusals=True)
            assert [item.reason if isinstance(item, Refusal) else item.finish_reason for item in ended] == [
                "empty", "content_filter", "length", "empty",
            ]  # fmt: skip
            replies = ask(some(4), **terms(stub, ledger))
            assert [reply.text for reply in replies] == [" \n", "只有一半", "到此为止", ""]
        assert set(stub.posts.values()) == {1}


def test_a_cut_or_malformed_reply_is_asked_again_and_what_came_is_kept(tmp_path: Path) -> None:
    fault = {0: "cut", 1: web.Response(text="{", content_type="application/json")}.get
    with StubApi(fault=lambda n: fault(n)) as stub, Ledger(tmp_path) as ledger:
        (reply,) = ask(some(1), **terms(stub, ledger), refusals=True)
        assert isinstance(reply, Reply)
        assert reply.text == "答:第0问"
        assert [line["kind"] for line in ledger.lines()] == ["intent", "broken", "broken", "reply"]
        cut, malformed = (line for line in ledger.lines() if line["kind"] == "broken")
        assert (cut["reason"], malformed["reason"]) == ("cut", "malformed")
        whole = json.dumps(completion("答:第0问"))
        assert cut["body"] == whole[: len(cut["body"])]
        assert 0 < len(cut["body"]) < len(whole)


def test_a_refusal_that_was_possibly_paid_stays_reserved_and_one_that_was_not_costs_nothing(tmp_path: Path) -> None:
    """The worst case of a request is $20; three attempts at a malformed reply may have cost $60."""
    limit = Budget(1000, Prices({"m": Price(0.0, 1e6)}))
    for name, expected in (("context_length", 0.0), ("malformed", 60.0)):
        with Choosy(only(0, FAULTS[name][0])) as stub, Ledger(tmp_path / name) as ledger:
            ask(some(1), **terms(stub, ledger, budget=limit), refusals=True)
        account = Account(tmp_path / name, limit)
        account.refresh()
        assert (account.spent, account.reserved) == (0.0, expected)


def test_the_key_is_not_in_what_is_kept_of_a_broken_body(tmp_path: Path) -> None:
    key = "sk-secret-0123456789"
    fault = only(0, lambda: web.Response(text=f'{{"your key": "{key}"', content_type="application/json"))
    with Choosy(fault) as stub, Ledger(tmp_path) as ledger:
        (refusal,) = ask(some(1), **terms(stub, ledger, api_key=key), refusals=True)
    assert isinstance(refusal, Refusal)
    assert "sk-" not in refusal.message
    assert all("sk-" not in path.read_text() for path in tmp_path.iterdir())
