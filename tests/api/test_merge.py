"""The union of two ledgers: idempotent, commutative, and refused whole where theirs is at fault."""

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belle.api.ledger import Entry, Ledger
from belle.api.lines import Broken, Refused
from belle.api.merge import merge
from belle.api.request import request_digest
from belle.errors import InputError


def an_entry(sample: int, body: str = "{}") -> Entry:
    request = {"endpoint": "e", "model": "m", "messages": [], "params": {}, "sample": sample}
    return Entry(request_digest(request), request, body, {}, "stop", 0.5)


def filled(folder: Path, samples: range, body: str = "{}") -> Path:
    ledger = Ledger(folder)
    ledger.claim([an_entry(sample).digest for sample in samples], stage="s")
    ledger.record([an_entry(sample, body) for sample in samples], stage="s")
    ledger.close()
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines_of(folder: Path) -> set[bytes]:
    return {line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()}


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_merge_is_a_union_that_both_sides_agree_on(tmp_path: Path) -> None:
    ours, theirs = filled(tmp_path / "ours", range(0, 60)), filled(tmp_path / "theirs", range(40, 100))
    Ledger(theirs).record([Refused(an_entry(200).digest, an_entry(200).request, "empty", "m", 0.1)])
    Ledger(theirs).record([Broken(an_entry(201).digest, "cut", '{"x')])
    Ledger(theirs).release({an_entry(202).digest: ("no", "HTTP 400")})
    union = lines_of(ours) | lines_of(theirs)
    before_ours, other_way = copy(ours, tmp_path / "ours before"), copy(theirs, tmp_path / "other way")
    before = bytes_of(theirs)
    done = merge(ours, theirs)
    assert bytes_of(theirs) == before
    assert lines_of(ours) == union
    assert (done.added, done.known, done.paid_twice) == (123, 0, 20)
    ledger = Ledger(ours)
    assert len(ledger) == 100
    assert {line["request"]["sample"] for line in ledger} == set(range(100))
    assert ledger.refusal(an_entry(200).digest)
    # the other way round, and again, and with what came of it: nothing changes any more
    merge(other_way, before_ours)
    merged = bytes_of(ours)
    assert bytes_of(other_way) == merged
    for folder in (theirs, other_way):
        again = merge(ours, folder)
        assert again.added == 0
        assert bytes_of(ours) == merged


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_two_parts_of_a_ledger_make_the_same_in_both_orders(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    whole = sorted(lines_of(filled(folder / "whole", range(12))))
    a, b, c = ([line for line in whole if data.draw(st.booleans())] for _ in range(3))

    def made(name: str, lines: list[bytes]) -> Path:
        (folder / name).mkdir()
        (folder / name / "0.jsonl").touch()
        for line in random.Random(0).sample(lines, len(lines)):
            with open(folder / name / f"{json.loads(line)['digest'][0]}.jsonl", "ab") as file:
                file.write(line + b"\n")
        return folder / name

    one, two = made("one", a), made("two", b)
    third = made("third", c)
    merge(one, two)
    merge(one, third)
    merge(third, made("two again", b))
    merge(third, made("one again", a))
    assert lines_of(one) == lines_of(third) == set(a) | set(b) | set(c)
    together = [
        {path.name: path.read_bytes() for path in folder.glob("*.jsonl") if path.stat().st_size}
        for folder in (one, third)
    ]
    assert together[0] == together[1]


def test_of_two_replies_to_one_request_the_earlier_counts_for_both(tmp_path: Path) -> None:
    early = filled(tmp_path / "early", range(3), "1")
    time.sleep(0.01)
    late = filled(tmp_path / "late", range(3), "2")
    assert merge(late, early).paid_twice == 3
    assert {line["reply"] for line in Ledger(late)} == {"1"}


FAULTS = {
    "torn": (b'{"kind": "reply", "dig', "a line that was torn"),
    "no JSON": (b"<<<<<<< HEAD\n", "no ledger line"),
    "another kind": (b'{"kind": "verdict", "digest": "%s"}\n' % (b"a" * 64), "no ledger line"),
    "another file": (b'{"kind": "intent", "digest": "%s", "time": 1}\n' % (b"b" * 64), "a line of the file b.jsonl"),
    "no time": (b'{"kind": "intent", "digest": "%s"}\n' % (b"a" * 64), "a line without its time"),
    "a forged request": (
        b'{"kind": "reply", "digest": "%s", "time": 1, "reply": "{}", "request": {"endpoint": "e", "model": "m", '
        b'"messages": [], "params": {}, "sample": 1}}\n' % (b"a" * 64),
        "a request with another's digest",
    ),
    "no request": (b'{"kind": "reply", "digest": "%s", "time": 1, "request": 3}\n' % (b"a" * 64), "no request"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_at_fault_is_named_and_nothing_is_merged(tmp_path: Path, fault: str) -> None:
    line, told = FAULTS[fault]
    ours, theirs = filled(tmp_path / "ours", range(20)), filled(tmp_path / "theirs", range(20, 60))
    with open(theirs / "a.jsonl", "ab") as file:
        at = file.tell()
        file.write(line)
    before = bytes_of(ours)
    with pytest.raises(InputError, match=rf"theirs/a\.jsonl, byte {at}: {told}.*nothing was merged"):
        merge(ours, theirs)
    assert bytes_of(ours) == before


def test_a_folder_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    ours = filled(tmp_path / "ours", range(3))
    (tmp_path / "empty").mkdir()
    foreign = filled(tmp_path / "foreign", range(5))
    (foreign / "rows.jsonl").write_text("{}\n")
    for folder, told in (
        (tmp_path / "nowhere", "no such folder"), (tmp_path / "empty", "no file 0.jsonl"),
        (foreign, "rows.jsonl is none of its files"), (ours, "with itself"),
    ):  # fmt: skip
        before = bytes_of(ours)
        with pytest.raises(InputError, match=told):
            merge(ours, folder)
        assert bytes_of(ours) == before


def test_a_merge_into_nothing_and_of_a_write_protected_copy(tmp_path: Path) -> None:
    theirs = filled(tmp_path / "theirs", range(30))
    for path in theirs.iterdir():
        path.chmod(0o444)
    merge(tmp_path / "new", theirs)
    assert lines_of(tmp_path / "new") == lines_of(theirs)
    assert len(Ledger(tmp_path / "new")) == 30
    Ledger(tmp_path / "new").record([an_entry(99)])


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_merge import Ledger, an_entry
ledger = Ledger(Path(sys.argv[1]))
for sample in range(1000, 1400):
    ledger.record([an_entry(sample)])
    print(sample, flush=True)
"""


def test_writers_and_readers_go_on_through_a_merge(tmp_path: Path) -> None:
    """A writer in another process, an open reader, two who merge each other's at once: no line is lost."""
    ours, theirs = filled(tmp_path / "ours", range(50)), filled(tmp_path / "theirs", range(50, 100))
    reader = Ledger(ours)
    assert len(reader) == 50
    root = Path(__file__).parents[2]
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ours), str(Path(__file__).parent)], stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{root / 'src'}:{root}:{root / 'tests'}"},
    )  # fmt: skip
    assert writer.stdout
    writer.stdout.readline()
    both = [threading.Thread(target=merge, args=pair) for pair in ((ours, theirs), (theirs, ours)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
        assert not thread.is_alive()
    writer.communicate(timeout=60)
    assert writer.returncode == 0
    merge(theirs, ours)
    wanted = {*range(100), *range(1000, 1400)}
    for folder in (ours, theirs):
        assert {line["request"]["sample"] for line in Ledger(folder)} == wanted
    assert len(reader) == 500
