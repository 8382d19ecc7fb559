"""The budget against a real server that counts what it answered, in one process and in several."""

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
from aiohttp import web
from stub_api import StubApi, completion

from belle.api.budget import Account, Budget
from belle.api.claiming import Claiming
from belle.api.client import Client, Request, ask
from belle.api.ledger import Ledger
from belle.api.prices import Price, Prices
from belle.api.provider import endpoint_name, provider
from belle.api.request import request_digest
from belle.api.sender import Sender
from belle.errors import BelleError, InputError

DOLLAR_A_TOKEN = Price(0.0, 1e6)
"""The stub's replies have 5 completion tokens: each costs $5, and up to $20 by ``MOST``."""
MOST = {"max_tokens": 20}


def budget(usd: float) -> Budget:
    return Budget(usd, Prices({"m": DOLLAR_A_TOKEN}))


def some(count: int, **params: Any) -> list[Request]:
    return [Request("m", [{"role": "user", "content": f"第{i}问"}], {**MOST, **params}, i) for i in range(count)]


def asked(url: str, folder: Path, requests: list[Request], limit: Budget | None, **changes: Any) -> list[str]:
    settings: dict[str, Any] = {"in_flight": 8, "timeout_s": 10.0, "max_retries": 0, **changes}
    with Ledger(folder) as ledger:
        replies = ask(
            requests, ledger=ledger, base_url=url, endpoint=endpoint_name(url), api_key="k", budget=limit, **settings
        )
    return [reply.text for reply in replies]


def account(folder: Path, usd: float = 0.0) -> Account:
    found = Account(folder, budget(usd))
    found.refresh()
    return found


def test_nothing_is_sent_that_could_exceed_it_and_nothing_paid_is_lost(tmp_path: Path) -> None:
    """16 replies cost $80; one more may cost $20 and fits, the next does not: 85 + 20 > 100."""
    with StubApi(delay_s=0.02) as stub:
        with pytest.raises(BelleError, match="the budget of") as raised:
            asked(stub.url, tmp_path, some(40), budget(100))
        assert raised.value.exit_status == 1
        assert "$85.00 spent, $0 in flight" in str(raised.value)
        assert "up to $20.00" in str(raised.value)
        assert "raise budget.max_cost_usd" in str(raised.value)
        assert stub.answered.total() == len(Ledger(tmp_path)) == 17
        assert stub.most_under_way == 5  # five worst cases fill the budget
        assert len(asked(stub.url, tmp_path, some(40), budget(1000))) == 40
        assert set(stub.posts.values()) == {1}


def test_room_that_comes_back_while_the_account_is_read_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way ends between the look at the account and what follows from it."""
    claim = Claiming.claim

    def slow(*words: Any, **terms: Any) -> Any:
        found = claim(*words, **terms)
        time.sleep(0.1)
        return found

    async def send() -> None:
        sender = Sender(
            ledger=ledger, base_url=stub.url, api_key="k", in_flight=8, timeout_s=5, max_retries=0, first_pause_s=0.1,
            came=lambda came: None, tell=lambda text: None, budget=budget(100).as_json(),
        )  # fmt: skip
        try:
            identities = [request.identity(endpoint_name(stub.url)) for request in some(40)]
            await sender.send({request_digest(identity): identity for identity in identities}, stage="test")
        finally:
            await sender.close()

    monkeypatch.setattr(Claiming, "claim", slow)
    with StubApi() as stub, Ledger(tmp_path) as ledger:
        with pytest.raises(BelleError, match=r"\$85.00 spent, \$0 in flight"):
            asyncio.run(send())
        assert stub.answered.total() == 17


def test_what_the_ledger_holds_costs_nothing_again(tmp_path: Path) -> None:
    with StubApi() as stub:
        asked(stub.url, tmp_path, some(5), None)
        asked(stub.url, tmp_path, some(5), budget(0))
        with pytest.raises(BelleError, match=r"\$25.00 spent"):
            asked(stub.url, tmp_path, some(6), budget(44))
        assert stub.posts.total() == 5
        asked(stub.url, tmp_path, some(6), budget(45))


ASKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_budget import asked, budget, some
asked(sys.argv[1], Path(sys.argv[2]), some(60)[int(sys.argv[3]) :: 3], budget(float(sys.argv[5])))
"""


def an_asker(url: str, folder: Path, part: int, usd: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASKER, url, str(folder), str(part), str(Path(__file__).parent), str(usd)]
    path = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(path)}
    )


def test_processes_on_one_ledger_keep_it_together(tmp_path: Path) -> None:
    """None stops before the others' replies have shown how much room there is: it is used as by one process."""
    with StubApi(delay_s=0.05) as stub:
        three = [an_asker(stub.url, tmp_path, part, 100) for part in range(3)]
        told = [asker.communicate(timeout=60)[1] for asker in three]
        assert all("the budget of $100.00 is reached" in text for text in told), told
        assert stub.answered.total() == 17
        assert stub.most_under_way <= 5


def wait_for(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_what_a_killed_sender_had_in_flight_stays_reserved(tmp_path: Path) -> None:
    with StubApi(hold_after=2) as stub:
        killed = an_asker(stub.url, tmp_path, 0, 70)
        # two replies ($10), and then three worst cases fit
        wait_for(lambda: stub.started == 5 and len(Ledger(tmp_path)) == 2)
        (sender,) = psutil.Process(killed.pid).children()
        sender.kill()
        killed.communicate(timeout=20)
        stub.release()
        found = account(tmp_path)
        assert (found.spent, found.reserved, found.others_send()) == (10, 60, False)
        posts = stub.posts.total()
        with pytest.raises(BelleError, match=r"\$10.00 spent, \$60.00 in flight or possibly paid"):
            asked(stub.url, tmp_path, some(60)[0::3], budget(70))
        assert stub.posts.total() == posts
        # asked again, they cost what they cost, and what was possibly paid stays on top
        asked(stub.url, tmp_path, some(60)[0::3][:5], budget(200))
        found = account(tmp_path)
        assert (found.spent, found.reserved) == (25, 60)


def test_each_attempt_that_may_have_been_paid_counts(tmp_path: Path) -> None:
    with StubApi(fault=lambda earlier: "drop") as stub:
        with pytest.raises(BelleError, match=r"\$60.00 in flight or possibly paid"):
            asked(stub.url, tmp_path, some(1), budget(70), max_retries=8, first_pause_s=0.01)
        assert stub.posts.total() == 3


def test_what_came_is_counted_in_tokens_and_dollars(tmp_path: Path) -> None:
    with StubApi() as stub, Ledger(tmp_path) as ledger:
        client = Client(
            ledger=ledger, base_url=stub.url, endpoint="https://api.example.com/v1", api_key="k", in_flight=4,
            timeout_s=5, budget=budget(1000),
        )  # fmt: skip
        with client:
            client.ask(some(4), bar=False)
            client.ask(some(6), bar=False)
        assert (client.came.prompt_tokens, client.came.completion_tokens, client.came.usd) == (18, 30, 30.0)
        assert client.came.told() == "48 tokens, $30"
        assert {tuple(line["price"]) for line in ledger} == {(0.0, 1e6)}


def test_a_refusal_costs_nothing(tmp_path: Path) -> None:
    with StubApi(fault=lambda earlier: web.Response(status=429) if earlier < 3 else None) as stub:
        asked(stub.url, tmp_path, some(1), budget(20), max_retries=8, first_pause_s=0.01)
    found = account(tmp_path)
    assert (found.spent, found.reserved) == (5, 0)


def test_a_reply_without_usage_counts_as_its_worst_case(tmp_path: Path) -> None:
    body = {key: value for key, value in completion("答").items() if key != "usage"}
    with StubApi(fault=lambda earlier: web.json_response(body)) as stub:
        asked(stub.url, tmp_path, some(2), budget(40))
    assert account(tmp_path).spent == 40
    asked("http://127.0.0.1:9/v1", tmp_path, [], budget(40))


def test_a_model_without_a_price_is_refused_before_the_first_request(tmp_path: Path) -> None:
    with StubApi() as stub, Ledger(tmp_path) as ledger:
        settings: dict[str, Any] = {
            "ledger": ledger, "base_url": stub.url, "endpoint": "https://api.example.com/v1", "api_key": "k",
            "in_flight": 4, "timeout_s": 5.0,
        }  # fmt: skip
        with pytest.raises(InputError, match=r"the price of 'm' at https://api\.example\.com/v1") as raised:
            ask(some(3), budget=Budget(10, Prices()), **settings)
        assert "add `m: {prompt: …, completion: …}`" in str(raised.value)
        assert not stub.posts
        assert len(ask(some(3), budget=None, **settings)) == 3


def test_without_a_bound_on_the_reply_there_is_none_on_the_cost(tmp_path: Path) -> None:
    with StubApi() as stub, pytest.raises(BelleError, match="max_tokens"):
        asked(stub.url, tmp_path, [Request("m", [{"role": "user", "content": "问"}], {})], budget(10))
    assert not stub.posts


def test_a_server_of_ones_own_and_the_teacher_are_free(tmp_path: Path) -> None:
    with StubApi() as stub:
        assert len(asked(stub.url, tmp_path, some(9), Budget(0, Prices()))) == 9
    with provider("offline", "") as api, Ledger(tmp_path) as ledger:
        replies = ask(
            some(9), ledger=ledger, base_url=api.base_url, endpoint=api.endpoint, api_key=api.api_key, in_flight=4,
            timeout_s=30, budget=Budget(0, Prices()),
        )  # fmt: skip
    assert len(replies) == 9
    assert not any("usd" in json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.open())


def test_an_account_reads_on_and_begins_anew_where_the_ledger_was_replaced(tmp_path: Path) -> None:
    with StubApi() as stub:
        asked(stub.url, tmp_path, some(4), budget(100))
        found = account(tmp_path)
        asked(stub.url, tmp_path, some(9), budget(100))
        found.refresh()
        assert found.spent == 45
    # as `dvc checkout` of an older ledger does
    for path in tmp_path.glob("*.jsonl"):
        kept = [line for line in path.read_text().splitlines() if '"sample": 0' in line or "reply" not in line]
        path.unlink()
        path.write_text("".join(line + "\n" for line in kept))
    found.refresh()
    assert found.spent == 5
