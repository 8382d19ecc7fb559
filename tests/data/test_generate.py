"""generate against a real server: the same bytes whatever the timing, and nothing paid twice after kill -9."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web
from stub_api import StubApi, completion, items, self_instruct

from belle.api.ledger import Ledger
from belle.api.teacher.identity import identity
from belle.data.generate import PATIENCE, generate
from belle.errors import BelleError, InputError

PROMPT = Path(sys.modules["belle"].__path__[0]) / "prompts" / "self_instruct.txt"
KEY = "sk-secret-0123456789"


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    rows = [
        {"id": f"seed_{i:03}", "name": f"n{i}", "instruction": f"第{i}条种子指令",
         "instances": [{"input": f"入{i}" if i % 2 else "", "output": f"出{i}"}], "is_classification": False}
        for i in range(20)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(folder: Path, seeds: Path, url: str, **changes: Any) -> dict[str, Any]:
    return {
        "seeds": seeds, "prompt": PROMPT, "out": folder / "raw.jsonl", "report": folder / "raw.report.json",
        "ledger": folder / "ledger", "base_url": url, "model": "m", "api_key": KEY, "rows": 95, "shots": 3,
        "tasks": 10, "temperature": 1.0, "top_p": 1.0, "max_tokens": 1024, "stop": ["\n20", "20."], "in_flight": 4,
        "timeout_s": 10.0, "seed": 7, **changes,
    }  # fmt: skip


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "raw.jsonl").read_text().splitlines()]


def made(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "raw.jsonl").read_bytes(), (folder / "raw.report.json").read_bytes()


def test_rows_report_and_requests(tmp_path: Path, seeds: Path) -> None:
    with StubApi(self_instruct) as stub:
        generate(**settings(tmp_path, seeds, stub.url))
    rows = rows_of(tmp_path)
    assert len(rows) == 95
    assert len({row["id"] for row in rows}) == 95
    assert list(rows[0]) == ["id", "request", "sample", "seeds", "instruction", "input", "output"]
    assert [row["sample"] for row in rows] == [i // 10 for i in range(95)]
    assert rows[12]["id"] == f"r-{rows[12]['request'][:12]}-3"
    assert json.loads((tmp_path / "raw.report.json").read_text()) == {
        "replies": 10, "items": 100, "kept": 95,
        "dropped": {"cut_off": 0, "format": 0, "blacklist": 0, "gpt": 0, "too_short": 0, "too_long": 0,
                    "empty_output": 0, "surplus": 5},
    }  # fmt: skip
    # As many requests as were needed, with everything that was asked for in them.
    assert len(stub.bodies) == 10
    body = stub.bodies[0]
    assert body["stop"] == ["\n20", "20."]
    assert body["max_tokens"] == 1024
    system, user = (message["content"] for message in body["messages"])
    assert system
    assert user.endswith("###\n4. 指令:")
    assert "10个" in user
    assert "{" not in user
    replies = {line["digest"]: line for line in Ledger(tmp_path / "ledger")}
    for row in rows:
        shown = replies[row["request"]]["request"]["messages"][1]["content"]
        assert len(set(row["seeds"])) == 3
        for seed in row["seeds"]:
            assert f"指令: 第{int(seed[-3:])}条种子指令\n" in shown
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_the_same_bytes_whatever_the_timing_and_a_second_time_without_a_request(tmp_path: Path, seeds: Path) -> None:
    results = []
    for number, (in_flight, fault) in enumerate(
        [(1, None), (7, lambda n: web.Response(status=500) if n == 0 else None), (64, None)]
    ):
        folder = tmp_path / str(number)
        with StubApi(self_instruct, fault=fault, delay_s=0.02 * number) as stub:
            generate(**settings(folder, seeds, stub.url, in_flight=in_flight))
            posts = len(stub.bodies)
            before = made(folder)
            (folder / "raw.jsonl").unlink()
            generate(**settings(folder, seeds, stub.url, in_flight=3))
            assert made(folder) == before
            assert len(stub.bodies) == posts
        # The port is part of the request's identity, and another for every stub.
        rows = [{**row, "id": row["id"][14:], "request": ""} for row in rows_of(folder)]
        results.append((rows, before[1]))
    assert results[0] == results[1] == results[2]


def test_another_seed_shows_other_shots_and_rows_are_a_prefix(tmp_path: Path, seeds: Path) -> None:
    with StubApi(self_instruct) as stub:
        generate(**settings(tmp_path, seeds, stub.url))
        long = rows_of(tmp_path)
        generate(**settings(tmp_path, seeds, stub.url, rows=33))
        assert rows_of(tmp_path) == long[:33]
        generate(**settings(tmp_path, seeds, stub.url, rows=33, seed=8))
        assert not {row["request"] for row in rows_of(tmp_path)} & {row["request"] for row in long}


def test_every_item_is_a_row_or_a_counted_reason(tmp_path: Path, seeds: Path) -> None:
    good = items(4, 3, "甲").replace("5. 指令: 请把", "5. 指令: 根据照片把")
    gpt, short = "7. 指令: 介绍GPT\n7. 输入:\n\n7. 输出:\nx", "9. 指令: 短\n9. 输入:\n\n9. 输出:\nx"
    text = "\n###\n".join([good, gpt, "8. 这个格式不对", short, "10. 指令: 写到一半"])
    with StubApi(fault=lambda n: web.json_response(completion(text, "length"))) as stub:
        generate(**settings(tmp_path, seeds, stub.url, rows=20))
    report = json.loads((tmp_path / "raw.report.json").read_text())
    assert (report["replies"], report["items"], report["kept"]) == (10, 70, 20)
    dropped = {reason: count for reason, count in report["dropped"].items() if count}
    assert dropped == {"blacklist": 10, "gpt": 10, "format": 10, "too_short": 10, "cut_off": 10}


CODE = "import json, sys; from pathlib import Path; from belle.data.generate import generate\n" \
       "generate(**{k: Path(v) if k in ('seeds', 'prompt', 'out', 'report', 'ledger') else v" \
       " for k, v in json.loads(sys.argv[1]).items()})"  # fmt: skip


def a_process(arguments: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, json.dumps(arguments, default=str)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_kill_9_then_resume_answers_nothing_twice(tmp_path: Path, seeds: Path) -> None:
    """Killed with 11 requests answered and 4 under way, generate leaves all 15 in the ledger for the next one."""
    folder = tmp_path / "killed"
    with StubApi(self_instruct, hold_after=11) as stub:
        arguments = settings(folder, seeds, stub.url, rows=400, in_flight=5)
        killed, patience = a_process(arguments), time.monotonic() + 30
        while stub.started < 15:
            assert time.monotonic() < patience
            assert killed.poll() is None
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert not (folder / "raw.jsonl").exists()
        resumed = a_process(arguments)
        time.sleep(0.5)
        stub.release()
        _, told = resumed.communicate(timeout=40)
        assert resumed.returncode == 0, told
        assert len(stub.posts) == 40
        assert set(stub.posts.values()) == set(stub.answered.values()) == {1}
        bytes_ = made(folder)
        generate(**{**arguments, "ledger": tmp_path / "fresh", "in_flight": 64})
        assert made(folder) == bytes_


def test_the_offline_teacher_is_started_stopped_and_named_in_the_ledger(tmp_path: Path, seeds: Path) -> None:
    generate(**settings(tmp_path, seeds, "offline", api_key="", rows=30, in_flight=2))
    assert len(rows_of(tmp_path)) == 30
    assert {line["request"]["endpoint"] for line in Ledger(tmp_path / "ledger")} == {identity()}
    assert not psutil.Process().children()


def test_replies_without_rows_end_in_an_error(tmp_path: Path, seeds: Path) -> None:
    with StubApi(lambda body: "我不能编写任务。") as stub:
        with pytest.raises(BelleError, match=rf"{PATIENCE} replies .* gave no row \(format {PATIENCE}\).*我不能"):
            generate(**settings(tmp_path, seeds, stub.url, in_flight=32))
        assert len(stub.bodies) < 2 * PATIENCE
    assert not (tmp_path / "raw.jsonl").exists()
    assert not (tmp_path / "raw.report.json").exists()


def test_a_request_that_the_api_refuses_is_counted_and_not_asked_again(tmp_path: Path, seeds: Path) -> None:
    """Every request that shows the seed 第7条 is filtered."""
    error = {"error": {"message": "filtered", "code": "content_filter"}}
    with StubApi(self_instruct) as stub:
        stub.choose = lambda body: (
            web.json_response(error, status=400) if "第7条种子指令" in body["messages"][1]["content"] else None
        )
        generate(**settings(tmp_path, seeds, stub.url))
        posts, first = len(stub.bodies), made(tmp_path)
        generate(**settings(tmp_path, seeds, stub.url, in_flight=9))
        assert made(tmp_path) == first
        assert len(stub.bodies) == posts
    report = json.loads(first[1])
    assert report["refused"] == {"content_filter": report["dropped"]["refused"]}
    assert report["refused"]["content_filter"] >= 1
    assert report["items"] == 95 + sum(report["dropped"].values())
    assert not any("seed_007" in row["seeds"] for row in rows_of(tmp_path))


def test_faults_are_told_before_anything_is_sent(tmp_path: Path, seeds: Path) -> None:
    with StubApi(self_instruct) as stub:
        with pytest.raises(InputError, match="OPENAI_API_KEY"):
            generate(**settings(tmp_path, seeds, "http://api.invalid/v1", api_key=""))
        with pytest.raises(InputError, match="21 shots are asked of 20 seed tasks"):
            generate(**settings(tmp_path, seeds, stub.url, shots=21))
        (tmp_path / "prompt.txt").write_text("请写十个任务")
        with pytest.raises(InputError, match=r"\{tasks\}"):
            generate(**settings(tmp_path, seeds, stub.url, prompt=tmp_path / "prompt.txt"))
        assert not stub.bodies
