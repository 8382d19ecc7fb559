"""The ledger under writers that come at once and die at any moment. Real files, real processes."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belle.api.ledger import Entry, Ledger
from belle.api.process import process, this_process
from belle.api.request import request_digest
from belle.errors import BelleError


def a_request(sample: int = 0, **params: object) -> dict[str, object]:
    messages = [{"role": "user", "content": f"问题{sample}"}]
    return {
        "endpoint": "e",
        "model": "m",
        "messages": messages,
        "params": {"temperature": 1.0, **params},
        "sample": sample,
    }


def an_entry(sample: int = 0, body: str = '{"回复": 1}') -> Entry:
    request = a_request(sample)
    return Entry(request_digest(request), request, body, {"prompt_tokens": 2, "completion_tokens": 3}, "stop", 0.5)


def digest_in(digit: str) -> tuple[str, Entry]:
    """A digest that falls into the shard ``digit``."""
    entry = next(entry for entry in map(an_entry, range(10_000)) if entry.digest[0] == digit)
    return entry.digest, entry


def test_a_reply_is_found_again_and_by_others(tmp_path: Path) -> None:
    entry = an_entry(body='{"text": "你好\\n\\ud83d"}')
    ours, theirs = Ledger(tmp_path), Ledger(tmp_path)
    assert theirs.get(entry.digest) is None
    assert ours.claim([entry.digest]).mine == [entry.digest]
    ours.record([entry], stage="generate")
    for ledger in (ours, theirs, Ledger(tmp_path)):
        line = ledger.get(entry.digest)
        assert line
        assert line["reply"] == entry.body
        assert line["request"] == entry.request
        assert line["stage"] == "generate"
        assert request_digest(line["request"]) == entry.digest
        assert ledger.claim([entry.digest]).answered == [entry.digest]
        assert [row["digest"] for row in ledger] == [entry.digest]
        assert len(ledger) == 1
    assert ours.stats() == {
        "replies": 1, "open": 0, "torn": 0, "models": {"m": {"replies": 1, "prompt_tokens": 2, "completion_tokens": 3}},
    }  # fmt: skip
    ours.close()
    assert ours.get(entry.digest)


def test_the_intent_is_on_the_disk_before_claim_returns(tmp_path: Path) -> None:
    entry = an_entry()
    Ledger(tmp_path).claim([entry.digest])
    lines = (tmp_path / f"{entry.digest[0]}.jsonl").read_text().splitlines()
    intent = json.loads(lines[0])
    assert (intent["kind"], intent["digest"], intent["pid"]) == ("intent", entry.digest, os.getpid())
    assert intent["started"] == this_process().started


def test_the_digest_depends_on_every_field_and_on_no_order(tmp_path: Path) -> None:
    request = a_request()
    seen = {request_digest(request), request_digest(a_request(1)), request_digest(a_request(top_p=1.0))}
    for field, value in {"endpoint": "f", "model": "n", "messages": [], "sample": 7}.items():
        seen.add(request_digest({**request, field: value}))
    assert len(seen) == 7
    assert request_digest(dict(reversed(request.items()))) == request_digest(request)


@pytest.mark.parametrize("params", [{"api_key": "sk-1"}, {"extra_headers": {"Authorization": "sk-1"}}])
def test_a_secret_has_no_place_in_a_request(params: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not sampling parameters"):
        request_digest(a_request(**params))
    with pytest.raises(ValueError, match="fields"):
        request_digest({**a_request(), "api_key": "sk-1"})


def test_an_intent_of_the_living_is_waited_for_and_of_the_dead_is_possibly_paid(tmp_path: Path) -> None:
    digest = an_entry().digest
    code = (
        "import sys, time; from pathlib import Path; from belle.api.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1])).claim([sys.argv[2]]); print('claimed', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), digest], stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == b"claimed\n"
    ledger = Ledger(tmp_path)
    claims = ledger.claim([digest])
    assert claims.mine == []
    assert str(child.pid) in claims.theirs[digest]
    child.send_signal(signal.SIGKILL)
    while process(child.pid):
        time.sleep(0.01)
    # Not yet waited for, the child is a zombie: its id still exists, and it will not answer.
    claims = ledger.claim([digest])
    assert claims.mine == claims.possibly_paid == [digest]
    child.wait()
    child.stdout.close()
    assert ledger.stats()["open"] == 1


def test_a_process_with_the_id_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    digest, _ = digest_in("a")
    me = this_process()
    intent = {"kind": "intent", "digest": digest, "pid": me.pid, "host": me.host, "started": "earlier:1",
              "stage": "", "lease_s": 9, "time": time.time()}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(intent) + "\n")
    assert Ledger(tmp_path).claim([digest]).possibly_paid == [digest]


@pytest.mark.parametrize(("age_s", "alive"), [(10, True), (100, False)])
def test_a_sender_on_another_host_lives_for_its_lease(tmp_path: Path, age_s: float, alive: bool) -> None:
    digest, _ = digest_in("b")
    intent = {"kind": "intent", "digest": digest, "pid": 1, "host": "elsewhere", "started": "x",
              "stage": "", "lease_s": 60, "time": time.time() - age_s}  # fmt: skip
    (tmp_path / "b.jsonl").write_text(json.dumps(intent) + "\n")
    assert bool(Ledger(tmp_path).claim([digest]).theirs) is alive


@pytest.mark.parametrize(("paid", "counted"), [("no", 0), ("possibly", 1)])
def test_a_released_claim_is_free_again(tmp_path: Path, paid: str, counted: int) -> None:
    digest = an_entry().digest
    ledger = Ledger(tmp_path)
    ledger.claim([digest])
    assert ledger.claim([digest]).theirs
    ledger.release({digest: (paid, "HTTP 401")})
    for other in (ledger, Ledger(tmp_path)):
        assert digest not in other
    claims = ledger.claim([digest])
    assert claims.mine == [digest]
    assert len(claims.possibly_paid) == counted


def test_the_first_of_two_replies_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record([an_entry(body="1")])
    ledger.record([an_entry(body="2")])
    for reader in (ledger, Ledger(tmp_path)):
        line = reader.get(an_entry().digest)
        assert line
        assert line["reply"] == "1"


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=1, max_value=10_000))
def test_a_torn_last_line_is_set_aside_wherever_it_was_torn(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    digest, entry = digest_in("c")
    other = next(e for e in map(an_entry, range(20_000)) if e.digest[0] == "c" and e.digest != digest)
    ledger = Ledger(folder)
    ledger.record([entry])
    path = folder / "c.jsonl"
    whole = path.read_bytes()
    ledger.record([other])
    line = path.read_bytes()[len(whole) :]
    torn = line[: 1 + cut % (len(line) - 1)]
    path.write_bytes(whole + torn)
    for reader in (ledger, Ledger(folder)):
        assert reader.get(digest)
    fresh = Ledger(folder)
    assert other.digest not in fresh
    fresh.record([other])
    assert path.read_bytes().startswith(whole)
    assert [row["digest"] for row in Ledger(folder)] == [digest, other.digest]
    assert (folder / "c.jsonl.torn").read_bytes() == torn + b"\n"
    assert fresh.stats()["torn"] == 1


def test_a_spoilt_line_is_named_every_time(tmp_path: Path) -> None:
    Ledger(tmp_path).record([digest_in("d")[1]])
    with open(tmp_path / "d.jsonl", "a") as file:
        file.write("<<<<<<< HEAD\n")
    reader = Ledger(tmp_path)
    for _ in range(2):
        with pytest.raises(BelleError, match=r"d\.jsonl, byte \d+: no ledger line"):
            list(reader)


@pytest.mark.parametrize("link", ["symbolic", "hard", "protected"])
def test_a_file_linked_to_the_cache_is_copied_before_it_is_written_to(tmp_path: Path, link: str) -> None:
    folder, cached = tmp_path / "ledger", tmp_path / "cached"
    digest, entry = digest_in("e")
    Ledger(folder).record([entry])
    path = folder / "e.jsonl"
    path.rename(cached)
    if link == "symbolic":
        path.symlink_to(cached)
    elif link == "hard":
        os.link(cached, path)
    else:
        path.write_bytes(cached.read_bytes())
        path.chmod(0o444)
    before = cached.read_bytes()
    ledger = Ledger(folder)
    assert ledger.get(digest)
    other = next(e for e in map(an_entry, range(20_000)) if e.digest[0] == "e" and e.digest != digest)
    ledger.record([other])
    assert cached.read_bytes() == before
    assert not path.is_symlink()
    assert {row["digest"] for row in ledger} == {digest, other.digest}


def test_a_file_replaced_under_us_is_read_anew(tmp_path: Path) -> None:
    digest, entry = digest_in("f")
    other = next(e for e in map(an_entry, range(20_000)) if e.digest[0] == "f" and e.digest != digest)
    ledger = Ledger(tmp_path / "one")
    ledger.record([entry])
    Ledger(tmp_path / "two").record([other])
    os.replace(tmp_path / "two" / "f.jsonl", tmp_path / "one" / "f.jsonl")
    line = ledger.get(other.digest)
    assert line
    assert line["digest"] == other.digest
    assert ledger.get(digest) is None


def test_threads_and_forked_processes_write_whole_lines(tmp_path: Path) -> None:
    """Four processes, two threads each, one parent's open ledger: all lines whole, every reply there."""
    ledger = Ledger(tmp_path)

    def write(samples: range) -> None:
        for sample in samples:
            ledger.record([an_entry(sample, "x" * random.randint(1, 9000))])

    ledger.record([an_entry(0)])
    children = []
    for worker in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                samples = range(1 + worker * 40, 41 + worker * 40)
                threads = [threading.Thread(target=write, args=(half,)) for half in (samples[:20], samples[20:])]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert len(ledger) == 161
    assert {line["request"]["sample"] for line in Ledger(tmp_path)} == set(range(161))


WRITER = """
import random, sys
from pathlib import Path
from belle.api.ledger import Entry, Ledger
from belle.api.request import request_digest
ledger, worker = Ledger(Path(sys.argv[1])), int(sys.argv[2])
for sample in range(worker, 10**9, 10):
    request = {"endpoint": "e", "model": "m", "messages": [], "params": {}, "sample": sample}
    digest = request_digest(request)
    ledger.claim([digest])
    ledger.record([Entry(digest, request, "回" * random.randint(1, 30_000), {}, "stop", 0.1)])
    print(digest, flush=True)
"""


def test_kill_9_loses_no_reply_that_was_recorded(tmp_path: Path) -> None:
    reported: list[str] = []
    for round_ in range(3):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(3 * round_ + worker)],
                stdout=subprocess.PIPE, text=True,
            )
            for worker in range(3)
        ]  # fmt: skip
        for child in children:
            assert child.stdout
            reported.append(child.stdout.readline().strip())
        time.sleep(random.uniform(0.05, 0.3))
        for child in children:
            child.kill()
        for child in children:
            reported += (child.stdout.read() if child.stdout else "").split()
            child.wait()
    ledger = Ledger(tmp_path)
    assert len(reported) > 9
    assert all(ledger.get(digest) for digest in reported if len(digest) == 64)
    # A look-up after the kills, and a write to every shard, meet no half line.
    ledger.record([an_entry(sample) for sample in range(10**6, 10**6 + 200)])
    assert all(json.loads(line)["kind"] for path in tmp_path.glob("*.jsonl") for line in path.read_bytes().splitlines())
