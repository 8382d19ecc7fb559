"""``belle ledger`` as a user types it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from stub_api import StubApi
from test_ledger import an_entry

from belle.api import prices
from belle.api.budget import Account, Budget
from belle.api.client import Request, ask
from belle.api.ledger import Ledger
from belle.api.prices import Prices
from belle.api.spend import rows, spend
from belle.cli import main

OPENAI = "https://api.openai.com/v1"


def some(count: int, model: str = "gpt-4o") -> list[Request]:
    return [Request(model, [{"role": "user", "content": f"第{i}问"}], {"max_tokens": 20}, i) for i in range(count)]


def filled(stub: StubApi, folder: Path, count: int, stage: str, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "base_url": stub.url, "endpoint": OPENAI, "api_key": "k", "in_flight": 8, "timeout_s": 5.0, "max_retries": 3,
        "first_pause_s": 0.01, "poll_s": 0.01, **changes,
    }  # fmt: skip
    model = settings.pop("model", "gpt-4o")
    with Ledger(folder) as ledger:
        ask(some(count, model), ledger=ledger, describe=stage, refusals=True, **settings)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of three stages: chat, batch, and a model without a price, with every kind of ending."""
    ledger = tmp_path_factory.mktemp("asked") / "ledger"
    too_long = {"error": {"code": "context_length_exceeded", "message": "too long"}}

    def choose(body: dict[str, Any]) -> Any:
        content = body["messages"][0]["content"]
        if content == "第1问":
            return web.json_response(too_long, status=400)
        return web.Response(text="{") if content == "第2问" else None

    with StubApi() as stub:
        stub.choose = choose
        filled(stub, ledger, 6, "generate")
        filled(stub, ledger, 7, "judge", mode="batch", model="gpt-4o-mini")
        stub.choose, stub.fault = None, lambda earlier: "drop" if earlier == 0 else None
        filled(stub, ledger, 2, "other", model="my-model")
    return ledger


@pytest.fixture
def folder(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it where the command looks for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(asked, tmp_path / "data" / "ledger")
    return tmp_path / "data" / "ledger"


def test_spend_by_stage_and_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    generate, judge, other = found["spend"]
    assert [item["stage"] for item in found["spend"]] == ["generate", "judge", "other"]
    assert (generate["requests"], generate["replies"], generate["prompt_tokens"]) == (6, 4, 12)
    assert generate["refusals"] == {"context_length": 1, "malformed": 1}
    assert (generate["broken"], generate["possibly_paid"], generate["open"]) == (3, 3, 0)
    assert generate["usd"] == pytest.approx(4 * (3 * 2.5 + 5 * 10) / 1e6)
    assert (judge["requests"], judge["replies"]) == (7, 7)
    assert judge["usd"] == pytest.approx(7 * (3 * 0.15 + 5 * 0.6) / 1e6 / 2)  # batches cost half
    assert (other["replies"], other["possibly_paid"], other["usd"]) == (2, 2, None)
    assert found["totals"] == {"usd": pytest.approx(generate["usd"] + judge["usd"]), "usd_complete": False}
    assert found["prices"]
    assert 0 < generate["first"] <= generate["last"]
    assert main(["ledger"]) == 0
    told = capsys.readouterr().out
    assert "stage     model        requests  replies  refusals  tokens" in told
    assert "1 context_length, 1 malformed" in told
    assert "of 1 line(s) no price is known" in told


def test_it_agrees_with_the_account_of_a_budget(folder: Path) -> None:
    every = prices.load({"my-model": (1.0, 2.0)})
    account = Account(folder, Budget(1, every))
    account.refresh()
    assert sum(item.usd or 0 for item in spend(Ledger(folder), every)) == pytest.approx(account.spent)


def test_a_killed_sender_shows_as_open_and_then_as_possibly_paid(tmp_path: Path) -> None:
    digest, body = "a" * 64, '{"choices": [{"message": {"content": "答"}}]}'
    entry = an_entry(0, body)
    ledger = Ledger(tmp_path)
    ledger.claim([entry.digest, digest], stage="s")
    (item,) = spend(ledger, Prices())
    assert (item.open, item.possibly_paid, item.requests, item.model) == (2, 0, 2, "")
    path = tmp_path / f"{entry.digest[0]}.jsonl"
    path.write_text(path.read_text() * 2)  # the intent of a second sender, after the first had died
    ledger = Ledger(tmp_path)
    ledger.record([entry], stage="s")
    lost, answered = spend(ledger, Prices())
    assert (lost.open, lost.possibly_paid) == (1, 0)
    assert (answered.open, answered.possibly_paid, answered.replies, answered.extra) == (0, 1, 1, 0)
    ledger.record([an_entry(0, body + " ")], stage="s")
    assert [item.extra for item in spend(ledger, Prices())] == [0, 1]


def test_find_by_text_and_by_digest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "find", "第3问"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2  # generate's and judge's
    assert main(["ledger", "find", "答:第5问", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["text"] for row in found} == {"答:第5问"}
    assert main(["ledger", "find", found[0]["digest"][:12]]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["digest"] == found[0]["digest"]
    assert row["usage"]["total_tokens"] == 8
    assert main(["ledger", "find", "第99问"]) == 2
    assert "no request with '第99问'" in capsys.readouterr().err


def test_export_by_stage_and_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    for words, count in (([], 15), (["--stage", "judge"], 7), (["--model", "gpt-4o"], 6), (["--stage", "none"], 0)):
        assert main(["ledger", "export", *words, str(out)]) == 0
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(found) == count
    assert main(["ledger", "export", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["refusal"] for row in found if row["refusal"]) == ["context_length", "malformed"]
    assert {row["mode"] for row in found} == {"chat", "batch"}
    assert found == list(rows(Ledger(folder)))
    assert all(row["time"] > 1.7e9 and row["messages"] for row in found)


def test_merge(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "merge", str(folder), "--ledger", str(tmp_path / "mine"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] == 0
    assert main(["ledger", "merge", str(folder), "--ledger", str(tmp_path / "mine")]) == 0
    assert "0 lines added" in capsys.readouterr().err
    (folder / "notes.jsonl").touch()
    assert main(["ledger", "merge", str(folder), "--ledger", str(tmp_path / "mine")]) == 2
    assert "notes.jsonl is none of its files" in capsys.readouterr().err


def test_no_ledger_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([], ["find", "x"], ["export", "out.jsonl"]):
        assert main(["ledger", *words]) == 2
        assert "there is no ledger" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
