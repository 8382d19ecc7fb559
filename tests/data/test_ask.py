"""Every kind of set: asked of the offline teacher, of a stub with faults, interrupted, replayed without a network."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from stub_api import StubApi

from belle.api import prices
from belle.api.budget import Budget
from belle.api.ledger import Ledger
from belle.api.teacher.identity import identity_for_sets
from belle.api.teacher.sets.answers import reply_to
from belle.data.ask import KINDS, ask
from belle.data.kinds.conversations import Conversations
from belle.data.threads import PATIENCE
from belle.errors import BelleError, InputError
from belle.records import turns

ROOT = Path(__file__).parents[2]
SEEDS, PROMPTS = ROOT / "data/seeds/subjects.jsonl", ROOT / "src/belle/prompts/sets"
SIZES = {"multiturn": (1, 4), "roles": (4, 4), "school_math": (5, 1), "conversations": (8, 3), "crawl": (8, 1)}
DIALOGUES = ("multiturn", "roles", "conversations")


def settings(folder: Path, kind: str, url: str, **changes: Any) -> dict[str, Any]:
    tasks, exchanges = SIZES[kind]
    return {
        "seeds": SEEDS, "prompts": PROMPTS, "out": folder / f"{kind}.jsonl", "report": folder / f"{kind}.report.json",
        "ledger": folder / "ledger", "kind": kind, "base_url": url, "model": "m", "api_key": "no-key", "rows": 60,
        "tasks": tasks, "exchanges": exchanges, "temperature": 1.0, "top_p": 1.0, "max_tokens": 2048, "stop": [],
        "in_flight": 8, "timeout_s": 20.0, "seed": 7, **changes,
    }  # fmt: skip


def rows_of(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in arguments["out"].read_text(encoding="utf-8").splitlines()]


def report_of(arguments: dict[str, Any]) -> dict[str, Any]:
    return json.loads(arguments["report"].read_text(encoding="utf-8"))


def made(arguments: dict[str, Any]) -> tuple[bytes, bytes]:
    return arguments["out"].read_bytes(), arguments["report"].read_bytes()


def by_the_teacher(body: dict[str, Any]) -> str:
    return reply_to(body).text


def body_of(row: dict[str, Any]) -> str:
    return json.dumps([row.get(key) for key in ("conversations", "instruction", "input", "output")])


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_hundred_rows_of_the_offline_teacher(tmp_path: Path, kind: str) -> None:
    arguments = settings(tmp_path, kind, "offline", rows=300, in_flight=32, api_key="")
    ask(**arguments)
    rows, report = rows_of(arguments), report_of(arguments)
    assert len(rows) == report["kept"] == 300
    assert report["items"] == report["kept"] + sum(report["dropped"].values())
    assert len({row["id"] for row in rows}) == 300
    assert len({body_of(row) for row in rows}) >= 290, "they would not pass the removal of exact repeats"
    seeds = {json.loads(line)["id"] for line in SEEDS.read_text(encoding="utf-8").splitlines()}
    with Ledger(tmp_path / "ledger") as ledger:
        lines = {line["digest"]: line for line in ledger}
    assert {line["request"]["endpoint"] for line in lines.values()} == {identity_for_sets()}
    for row in rows:
        assert set(row["seeds"]) <= seeds
        assert row["seeds"]
        assert row["id"].startswith(f"r-{row['request'][:12]}-")
        assert row.get("requests", [row["request"]])[-1] == row["request"]
        assert set(row.get("requests", [row["request"]])) <= set(lines)
        talk = turns(row, "here")  # a row that training takes
        assert all(turn.text.strip() for turn in talk)
    if kind in DIALOGUES:
        lengths = Counter(len(row["conversations"]) // 2 for row in rows)
        assert max(lengths) == SIZES[kind][1]
        assert len(lengths) >= 2
    else:
        assert set(rows[0]) >= {"topic", "instruction", "input", "output"}
        assert "conversations" not in rows[0]
    assert sum(report["dropped"].values()) > 0, "the teacher has a share of ChatGPT's faults"


@pytest.mark.parametrize("kind", KINDS)
def test_equal_bytes_whatever_the_pace_and_a_second_time_without_a_network(tmp_path: Path, kind: str) -> None:
    results = []
    for in_flight in (1, 40):
        arguments = settings(tmp_path / str(in_flight), kind, "", in_flight=in_flight, rows=30)
        with StubApi(by_the_teacher) as stub:
            arguments["base_url"] = stub.url
            ask(**arguments)
            assert set(stub.posts.values()) == {1}
        first = made(arguments)
        # The stub is gone; another pace would begin other waves, but all that is needed is in the ledger.
        for other in (3, 64):
            arguments["out"].unlink()
            ask(**{**arguments, "in_flight": other})
            assert made(arguments) == first
        # The port is part of the request's identity, and another for every stub.
        rows = [{k: v for k, v in row.items() if k not in ("id", "request", "requests")} for row in rows_of(arguments)]
        results.append((rows, first[1]))
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", ["roles", "crawl"])
def test_rows_are_a_prefix_and_another_seed_asks_anew(tmp_path: Path, kind: str) -> None:
    with StubApi(by_the_teacher) as stub:
        arguments = settings(tmp_path, kind, stub.url, rows=40)
        ask(**arguments)
        long = rows_of(arguments)
        posts = len(stub.bodies)
        ask(**{**arguments, "rows": 11})
        assert rows_of(arguments) == long[:11]
        assert len(stub.bodies) == posts
        ask(**{**arguments, "rows": 11, "seed": 8})
        assert not {row["request"] for row in rows_of(arguments)} & {row["request"] for row in long}


@pytest.mark.parametrize("kind", ["multiturn", "conversations"])
def test_a_budget_in_the_middle_of_threads_and_on_from_there(tmp_path: Path, kind: str) -> None:
    """Each reply of the stub costs 5 dollars; a request is held at its worst case until it is answered."""
    own = prices.load({"m": (0.0, 1e6)})
    with StubApi(by_the_teacher) as stub:
        arguments = settings(tmp_path, kind, stub.url, rows=25, max_tokens=300)
        with pytest.raises(BelleError, match=r"the budget of \$500.00 is reached"):
            ask(**arguments, budget=Budget(500.0, own))
        assert not arguments["out"].exists()
        assert not arguments["report"].exists()
        stopped = len(stub.bodies)
        assert stopped == 41, "the 42nd could take 205 dollars over 500"
        ask(**arguments, budget=Budget(1e6, own))
        assert set(stub.posts.values()) == {1}
        assert len(stub.bodies) > stopped
        resumed = made(arguments)
        ask(**{**arguments, "ledger": tmp_path / "fresh"})
        assert made(arguments) == resumed


CODE = "import json, sys; from pathlib import Path; from belle.data.ask import ask\n" \
       "ask(**{k: Path(v) if k in ('seeds', 'prompts', 'out', 'report', 'ledger') else v" \
       " for k, v in json.loads(sys.argv[1]).items()})"  # fmt: skip


def test_kill_9_in_the_middle_of_a_dialogue_pays_nothing_twice(tmp_path: Path) -> None:
    """Killed when 22 of its requests are answered and 4 under way, those being second requests of a dialogue."""
    with StubApi(by_the_teacher, hold_after=22) as stub:
        arguments = settings(tmp_path, "multiturn", stub.url, rows=18, in_flight=4)
        command = [sys.executable, "-c", CODE, json.dumps(arguments, default=str)]
        killed, patience = subprocess.Popen(command, stderr=subprocess.PIPE, text=True), time.monotonic() + 30
        while stub.started < 26:
            assert time.monotonic() < patience
            assert killed.poll() is None
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert not arguments["out"].exists()
        assert any("助手：" in body["messages"][-1]["content"].rpartition("——")[2] for body in stub.bodies)
        resumed = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        stub.release()
        _, told = resumed.communicate(timeout=40)
        assert resumed.returncode == 0, told
        assert set(stub.posts.values()) == set(stub.answered.values()) == {1}
        bytes_ = made(arguments)
        ask(**{**arguments, "ledger": tmp_path / "fresh", "in_flight": 64})
        assert made(arguments) == bytes_


def test_the_next_request_of_a_dialogue_holds_what_was_said(tmp_path: Path) -> None:
    with StubApi(by_the_teacher) as stub:
        arguments = settings(tmp_path, "multiturn", stub.url, rows=20)
        ask(**arguments)
    with Ledger(tmp_path / "ledger") as ledger:
        for row in (row for row in rows_of(arguments) if len(row.get("requests", [])) > 1):
            last = ledger.get(row["requests"][-1])
            assert last is not None
            shown = last["request"]["messages"][-1]["content"]
            for turn in row["conversations"][:2]:
                assert turn["value"] in shown


def test_a_conversation_is_asked_as_a_chat(tmp_path: Path) -> None:
    with StubApi(by_the_teacher) as stub:
        arguments = settings(tmp_path, "conversations", stub.url, rows=20)
        ask(**arguments)
        chats = [body["messages"] for body in stub.bodies if body["messages"][0]["role"] == "user"]
    assert {len(chat) for chat in chats} >= {1, 3, 5}
    for chat in chats:
        assert [message["role"] for message in chat] == ["user", "assistant"] * (len(chat) // 2) + ["user"]
    asked = {json.dumps([message["content"] for message in chat]) for chat in chats}
    for row in rows_of(arguments):
        said = [turn["value"] for turn in row["conversations"]]
        assert json.dumps(said[:-1]) in asked


def test_a_role_stands_before_the_first_question(tmp_path: Path) -> None:
    with StubApi(by_the_teacher) as stub:
        arguments = settings(tmp_path, "roles", stub.url, rows=12)
        ask(**arguments)
    for row in rows_of(arguments):
        assert row["conversations"][0]["value"].startswith(row["role"] + "\n")
        assert row["role"].startswith("你是一位")


def test_a_crawl_asks_for_every_pair_before_it_asks_for_one_again(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    rows = [{"id": f"t{i}", "kind": "topic", "text": f"话题{i}"} for i in range(3)]
    rows += [{"id": f"k{i}", "kind": "task_type", "text": f"类型{i}"} for i in range(2)]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = json.dumps([{"instruction": "写一句话", "input": "", "output": "好。"}])
    with StubApi(lambda body: answer) as stub:
        arguments = settings(tmp_path, "crawl", stub.url, rows=12, tasks=1, seeds=seeds)
        ask(**arguments)
    pairs = [(row["topic"], row["task_type"]) for row in rows_of(arguments)]
    assert len(set(pairs[:6])) == 6
    assert Counter(pairs) == {pair: 2 for pair in set(pairs)}
    assert pairs[:6] != pairs[6:]


BROKEN: dict[str, list[tuple[str, str]]] = {
    "multiturn": [
        ("抱歉，我不能编写对话。", "format"), ("用户：你好\n用户：在吗\n助手：在", "turns"), ("助手：你好", "turns"),
        ("用户：你好\n助手：", "empty"), ("用户：你好", "turns"),
    ],
    "roles": [("我不能设计角色。", "format"), ("1. 角色：", "empty"), ("1. 身份：老师", "format")],
    "school_math": [
        ("1. 题目：1+1等于几？", "format"), ("1. 题目：\n1. 解答：2", "empty"), ("1. 解答：2\n1. 题目：1+1", "format"),
    ],
    "conversations": [("以下是问题", "format"), ("1. 问题：", "empty")],
    "crawl": [
        ("[]", "format"), ("不行", "format"), ('[{"instruction": "写诗"}]', "format"),
        ('[{"instruction": "写诗", "input": "", "output": ""}]', "empty"),
        ("[{'instruction': '写诗', 'input': '', 'output': '好'}]", "format"),
        ('[{"instruction": "写诗", "input": [], "output": "好"}]', "format"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_first_replies_are_counted_and_the_rest_goes_on(tmp_path: Path, kind: str) -> None:
    """One after the other, each of the first threads gets a broken reply."""
    left, broken = list(BROKEN[kind]), dict[str, str]()

    def answer(body: dict[str, Any]) -> str:
        said = body["messages"][-1]["content"]
        opens = len(body["messages"]) == 2 and "\n——\n" not in said and "【用户追问】" not in said
        if opens and left and said not in broken:
            broken[said] = left.pop(0)[0]
        return broken.get(said) or by_the_teacher(body)

    with StubApi(answer) as stub:
        arguments = settings(tmp_path, kind, stub.url, rows=60, in_flight=1)
        ask(**arguments)
    assert not left
    report, expected = report_of(arguments), Counter(reason for _, reason in BROKEN[kind])
    assert all(report["dropped"][reason] >= count for reason, count in expected.items())
    assert report["items"] == report["kept"] + sum(report["dropped"].values())
    assert report["kept"] == len(rows_of(arguments)) == 60


def test_an_answer_that_fails_ends_a_conversation_and_leaves_what_was_said(tmp_path: Path) -> None:
    """The third turn of the API, an answer, is empty: conversations end before it."""
    with StubApi(lambda body: "" if len(body["messages"]) == 3 else by_the_teacher(body)) as stub:
        arguments = settings(tmp_path, "conversations", stub.url, rows=20, exchanges=4)
        ask(**arguments)
    assert {len(row["conversations"]) for row in rows_of(arguments)} == {2}
    with StubApi(lambda body: "" if len(body["messages"]) == 1 else by_the_teacher(body)) as stub:
        arguments = settings(tmp_path / "none", "conversations", stub.url, rows=20)
        with pytest.raises(BelleError, match=rf"{PATIENCE} replies .* gave no row \(refused"):
            ask(**arguments)
    assert not arguments["out"].exists()


def too_long() -> web.Response:
    error = {"message": "This model's maximum context length is 9 tokens.", "code": "context_length_exceeded"}
    return web.json_response({"error": error}, status=400)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_that_the_api_refuses_are_counted_and_not_asked_again(tmp_path: Path, kind: str) -> None:
    """A fifth of all requests are refused, whichever round they are of; the rows do without them."""
    refused = set[str]()
    rows = 40 if kind in DIALOGUES else 160

    def choose(body: dict[str, Any]) -> Any:
        said = json.dumps(body["messages"])
        if int(hashlib.sha256(said.encode()).hexdigest(), 16) % 5:
            return None
        refused.add(said)
        return too_long()

    with StubApi(by_the_teacher) as stub:
        stub.choose = choose
        arguments = settings(tmp_path, kind, stub.url, rows=rows)
        ask(**arguments)
        report = report_of(arguments)
        assert refused
        assert 0 < report["refused"]["context_length"] <= len(stub.bodies)
        assert 0 < report["dropped"]["refused"] <= report["refused"]["context_length"]
        assert report["items"] == report["kept"] + sum(report["dropped"].values())
        assert report["kept"] == len(rows_of(arguments)) == rows
        posts, first = len(stub.bodies), made(arguments)
        ask(**{**arguments, "in_flight": 3})
        assert made(arguments) == first
        assert len(stub.bodies) == posts
        assert set(stub.posts.values()) == {1}


def test_more_items_than_were_asked_for_are_not_paid_for_again(tmp_path: Path) -> None:
    many = "\n###\n".join(f"{number}. 问题：第{number}个问题是什么？" for number in range(1, 30))
    with StubApi(lambda body: many if "【提出问题】" in body["messages"][-1]["content"] else "好的。") as stub:
        arguments = settings(tmp_path, "conversations", stub.url, rows=8, tasks=8, exchanges=1)
        ask(**arguments)
        assert len(stub.bodies) == 9
    assert report_of(arguments)["dropped"]["too_many"] == 21


def test_faults_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    cases = [
        ('{"id": "a", "kind": "topic"}', "row 1: `text` must be one line of text"),
        ('{"id": "a", "kind": "topic", "text": "甲\\n乙"}', "`text` must be one line"),
        ('{"id": "a", "kind": "colour", "text": "红"}', "unknown kind 'colour'"),
        ('{"id": "a", "kind": "point", "text": "加法"}\n{"id": "a", "kind": "point", "text": "减法"}', "comes twice"),
        ('{"id": "a", "kind": "topic", "text": "天气"}', "no subject of the kind 'role'"),
    ]
    with StubApi(by_the_teacher) as stub:
        for text, message in cases:
            seeds.write_text(text + "\n")
            with pytest.raises(InputError, match=message):
                ask(**settings(tmp_path, "multiturn", stub.url, seeds=seeds))
        with pytest.raises(InputError, match="the prompt multiturn: there is no such file"):
            ask(**settings(tmp_path, "multiturn", stub.url, prompts=tmp_path))
        with pytest.raises(InputError, match="OPENAI_API_KEY"):
            ask(**settings(tmp_path, "crawl", "http://api.invalid/v1", api_key=""))
        assert not stub.bodies
    assert not (tmp_path / "multiturn.jsonl").exists()


def test_every_kind_of_params_yaml_is_known_here() -> None:
    from typing import get_args

    from belle.settings import Ask

    assert set(get_args(Ask.model_fields["kind"].annotation)) == set(KINDS) == set(SIZES)
    assert KINDS["conversations"] is Conversations
