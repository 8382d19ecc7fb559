"""The server on a real socket."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

import belle
from belle.api.teacher.identity import identity
from belle.api.teacher.server import OfflineTeacher

SOURCE = str(Path(belle.__file__).parents[1])


@pytest.fixture(scope="module")
def base_url():
    with OfflineTeacher() as url:
        yield url


def send(method, url, data=b"", headers=None):
    host = urlsplit(url)
    connection = HTTPConnection(host.hostname, host.port, timeout=10)
    try:
        connection.request(method, host.path, data, headers or {})
        reply = connection.getresponse()
        return reply.status, json.load(reply)
    finally:
        connection.close()


def post(url, payload, **headers):
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return send("POST", f"{url}/chat/completions", data, headers)


def get(url):
    return send("GET", url)[1]


def ask(text):
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def listens(url):
    try:
        return get(url.removesuffix("/v1") + "/health")["status"] == "ok"
    except OSError:
        return False


def test_a_completion_has_openais_shape(base_url):
    status, reply = post(base_url, ask("法国的首都是哪里？"), Authorization="Bearer x")
    assert status == 200
    assert reply["object"] == "chat.completion"
    assert reply["choices"][0]["message"] == {"role": "assistant", "content": "法国的首都是巴黎"}
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"] == {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}


def test_faults_are_openais_errors(base_url):
    for payload in (b"{", {"model": "m"}, {"model": "m", "messages": []}):
        status, reply = post(base_url, payload)
        assert status == 400
        assert reply["error"]["type"] == "invalid_request_error"
        assert reply["error"]["message"]
    status, reply = post(base_url + "/nowhere", ask("好"))
    assert status == 404
    assert "/v1/nowhere/chat/completions" in reply["error"]["message"]


def test_models_and_health(base_url):
    assert get(base_url + "/models")["data"][0]["id"] == "offline-teacher"
    assert get(base_url.removesuffix("/v1") + "/health")["endpoint"] == identity()


def test_stats_count_what_was_answered():
    with OfflineTeacher() as url:
        post(url, ask("好"), **{"Idempotency-Key": "a"})
        post(url, ask("好"), **{"Idempotency-Key": "a"})
        post(url, ask("好"), **{"Idempotency-Key": "b"})
        post(url, b"{", **{"Idempotency-Key": "a"})
        assert get(url.removesuffix("/v1") + "/stats") == {
            "requests": 3,
            "answered_twice": 1,
            "by_kind": {"self_instruct": 0, "judge": 0, "chat": 3, "sets": 0},
        }


def test_hundreds_at_once(base_url):
    async def all_at_once():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one(number):
                async with session.post(f"{base_url}/chat/completions", json=ask(f"计算{number}加1。")) as reply:
                    return (await reply.json())["choices"][0]["message"]["content"]

            return await asyncio.gather(*(one(n % 9 + 1) for n in range(400)))

    answers = asyncio.run(all_at_once())
    assert answers == [f"{n % 9 + 1}+1={n % 9 + 2}" for n in range(400)]


def test_the_child_ends_with_the_block():
    with OfflineTeacher() as url:
        assert listens(url)
    assert not listens(url)


def test_the_child_ends_when_its_parent_is_killed():
    code = textwrap.dedent(
        """
        import time
        from belle.api.teacher.server import OfflineTeacher
        with OfflineTeacher() as url:
            print(url, flush=True)
            time.sleep(60)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    url = parent.stdout.readline().strip()
    assert listens(url)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while listens(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not listens(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_ends_cleanly_on_a_signal(number):
    server = subprocess.Popen(
        [sys.executable, "-m", "belle.api.teacher.server", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert server.stdout.readline().startswith("listening on http://127.0.0.1:")
    server.send_signal(number)
    _, errors = server.communicate(timeout=10)
    assert server.returncode == 0
    assert errors == ""


def test_a_taken_port_is_one_clear_message(base_url):
    port = base_url.split(":")[2].split("/")[0]
    server = subprocess.run(
        [sys.executable, "-m", "belle.api.teacher.server", "--port", port],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert server.returncode == 1
    assert f"127.0.0.1:{port}: cannot listen" in server.stderr
    assert "Traceback" not in server.stderr


def test_the_identity_names_the_code():
    assert identity().startswith("offline-teacher/")
    assert len(identity()) == len("offline-teacher/") + 12
