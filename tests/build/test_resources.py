"""A machine that gives out: full disk, read-only folder, too little memory, a clock set back, locks of the dead."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stub_api import StubApi

from belle.api.client import Client, Request
from belle.api.ledger import Ledger, _sends_still
from belle.api.process import Process, this_process
from belle.build import lock
from belle.build.failure import explain
from belle.build.hashes import Hashes
from belle.build.history import EXECUTED, HISTORY, now, record
from belle.errors import BelleError
from trials.worlds import World, copy_world

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts things for the length of a test; needs the right to."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted: list[str] = []

    def do(*words: str | Path) -> None:
        done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this root may not mount: {done.stderr.strip()}")
        if "remount" not in ",".join(map(str, words)):
            mounted.append(str(words[-1]))

    yield do
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk(mount: Mount, tmp_path: Path) -> Path:
    """A disk of 64 MB."""
    (tmp_path / "disk").mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "none", tmp_path / "disk")
    return tmp_path / "disk"


def fill(disk: Path, leave: int = 0) -> Path:
    """Leave so many bytes free."""
    filler, free = disk / "filler", shutil.disk_usage(disk).free - leave
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free)
    return filler


def half_written(world: World) -> list[str]:
    """Names that a stage's temporary files have while they are written."""
    tops = [world.folder / top for top in ("models", "data", "results")]
    return [str(path) for top in tops for path in top.rglob(".*.tmp")]


@pytest.mark.parametrize("leave", [0, 24_000], ids=["nothing free", "24 kB free"])
def test_a_full_disk_is_named_and_costs_nothing(built_once: Path, small_disk: Path, leave: int):
    world = copy_world(built_once, small_disk / "world")
    corpus = world.folder / "data/corpus/tiny.txt"
    before = corpus.read_bytes()
    filler = fill(small_disk, leave)
    failed = world.run("snakemake", "-F", str(corpus.relative_to(world.folder)), check=False)
    assert failed.returncode != 0
    assert "No space left on device" in failed.stdout or "a full disk" in failed.stdout, failed.stdout
    if leave:  # the stage was reached: it is its own message that names disk, stage and log
        assert f"a full disk ({small_disk}: " in failed.stdout, failed.stdout
        assert "the stage corpus-tiny failed" in failed.stdout
    assert half_written(world) == []
    assert not corpus.exists() or corpus.read_bytes() == before
    filler.unlink()
    assert world.build("-F", "data/corpus/tiny.txt") == {"corpus-tiny": "executed"}
    assert corpus.read_bytes() == before
    assert world.planned("data/corpus/tiny.txt") == {}


def requests(count: int) -> list[Request]:
    return [
        Request("m", [{"role": "user", "content": f"第{number}问"}], {"temperature": 0.5, "max_tokens": 64}, number)
        for number in range(count)
    ]


def client(stub: StubApi, ledger: Ledger, in_flight: int) -> Client:
    return Client(
        ledger=ledger, base_url=stub.url, endpoint="stub", api_key="sk-secret-0123456789", in_flight=in_flight,
        timeout_s=20, max_retries=1, first_pause_s=0.1,
    )  # fmt: skip


def test_what_was_paid_for_is_kept_when_the_disk_fills_meanwhile(small_disk: Path):
    with StubApi(delay_s=1.5) as stub:
        with Ledger(small_disk / "ledger") as ledger, client(stub, ledger, 4) as asking:
            import threading

            def fill_when_under_way() -> None:
                deadline = time.monotonic() + 20
                while stub.most_under_way < 4 and time.monotonic() < deadline:
                    time.sleep(0.02)
                fill(small_disk)

            filling = threading.Thread(target=fill_when_under_way)
            filling.start()
            with pytest.raises(BelleError, match="No space left on device") as raised:
                asking.ask(requests(40), bar=False)
            filling.join()
        assert "a full disk" in str(raised.value)
        answered = sum(stub.answered.values())
        assert 4 <= answered < 40  # it stopped asking
        with Ledger(small_disk / "ledger") as ledger:
            assert len(ledger) == answered  # and lost nothing
        (small_disk / "filler").unlink()
        with Ledger(small_disk / "ledger") as ledger, client(stub, ledger, 40) as asking:
            assert len(asking.ask(requests(40), bar=False)) == 40
        assert set(stub.answered.values()) == {1}


def test_nothing_is_sent_when_its_reply_could_not_be_kept(small_disk: Path):
    fill(small_disk, 8192)
    with StubApi() as stub, Ledger(small_disk / "ledger") as ledger, client(stub, ledger, 4) as asking:
        with pytest.raises(BelleError, match=r"no room for .* nothing is sent"):
            asking.ask(requests(4), bar=False)
        assert stub.bodies == []


def test_the_sender_brings_home_what_is_under_way_when_it_is_told_to_stop(tmp_path: Path):
    import threading

    with StubApi(delay_s=1.0) as stub:
        with Ledger(tmp_path) as ledger, client(stub, ledger, 4) as asking:

            def stop() -> None:
                while stub.most_under_way < 4:
                    time.sleep(0.01)
                assert asking._sender is not None
                asking._sender.send_signal(signal.SIGTERM)

            stopping = threading.Thread(target=stop)
            stopping.start()
            with pytest.raises(BelleError, match="was told to stop"):
                asking.ask(requests(40), bar=False)
            stopping.join()
            assert asking._sender is not None
            assert asking._sender.wait(10) == 0
        with Ledger(tmp_path) as ledger:
            assert len(ledger) == sum(stub.answered.values()) == 4
            assert ledger.claim([line["digest"] for line in ledger]).possibly_paid == []


def test_a_read_only_folder_is_named(miniature: World, mount: Mount):
    miniature.set("clean.tiny.max_output_chars", 199)
    clean = miniature.folder / "data" / "clean"
    before = (clean / "tiny.jsonl").read_bytes()
    mount("--bind", clean, clean)
    mount("-o", "remount,ro,bind", clean)
    failed = miniature.run("snakemake", "data/clean/tiny.jsonl", check=False)
    assert failed.returncode != 0
    assert "Read-only file system" in failed.stdout
    assert "the stage clean-tiny failed" in failed.stdout
    mount("-o", "remount,rw,bind", clean)
    assert miniature.build("data/clean/tiny.jsonl") == {"clean-tiny": "executed"}
    assert (clean / "tiny.jsonl").read_bytes() == before


def test_a_checkout_that_may_not_be_written_to_still_says_what_would_run(miniature: World, mount: Mount):
    mount("--bind", miniature.folder, miniature.folder)
    mount("-o", "remount,ro,bind", miniature.folder)
    failed = miniature.run("snakemake", "data/clean/tiny.jsonl", "-F", check=False)
    assert failed.returncode != 0
    assert "Read-only file system" in failed.stdout


def test_too_little_memory_is_named(miniature: World):
    """A real limit on the address space: PyTorch does not fit in."""
    miniature.set("answer.tiny.max_new_tokens", 5)
    miniature.edit("src/belle/stages.py", '"""Let a model answer an evaluation set."""', LIMIT)
    failed = miniature.run("snakemake", "results/answers/tiny/tiny-base.jsonl", check=False)
    assert failed.returncode != 0
    assert "the stage answer-tiny-tiny-base failed" in failed.stdout, failed.stdout[-3000:]
    assert "likely cause: too little memory" in failed.stdout
    assert "logs/answer-tiny-tiny-base.log" in failed.stdout
    assert not (miniature.folder / "results/answers/tiny/tiny-base.jsonl").exists()
    miniature.edit("src/belle/stages.py", LIMIT, '"""Let a model answer an evaluation set."""')
    assert miniature.build("results/answers/tiny/tiny-base.jsonl") == {"answer-tiny-tiny-base": "executed"}


LIMIT = f"""import resource

    resource.setrlimit(resource.RLIMIT_AS, ({400 << 20}, {resource.RLIM_INFINITY}))"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("OSError: [Errno 28] No space left on device: 'x'", "a full disk"),
        ("safetensors_rust.SafetensorError: I/O error: No space left on device (os error 28)", "a full disk"),
        ("RuntimeError: [enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried", "too little memory"),
        ("PermissionError: [Errno 13] Permission denied: 'models'", "may not be written to"),
        ("ERROR: failed to reproduce 'sft-x': failed to run: belle sft, exited with -9", "for want of memory"),
        ("ERROR: failed to reproduce 'sft-x': failed to run: belle sft, exited with 137", "for want of memory"),
        ("ERROR: failed to reproduce 'sft-x': failed to run: belle sft, exited with -15", "ended by SIGTERM"),
        ("belle sft: data/clean/x.jsonl, row 3: no text\nfailed to run: belle sft, exited with 2", None),
    ],
)
def test_what_a_log_says_of_the_machine(tmp_path: Path, said: str, told: str | None):
    (tmp_path / "sft-x.log").write_text(f"100 rows\n{said}\n", encoding="utf-8")
    why = explain("sft-x", tmp_path / "sft-x.log")
    assert (told in str(why)) if told else why is None


def test_a_clock_set_back_changes_no_decision(miniature: World):
    """To a clock that was set back by three days, every file was written in three days from now.

    Not by libfaketime: with it Python's time.sleep fails, or Snakemake's timers never fire.
    """
    target = "data/corpus/tiny.txt"
    for root, folders, files in os.walk(miniature.folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            path = os.path.join(root, name)
            moment = os.lstat(path).st_mtime + 3 * 86400
            os.utime(path, (moment, moment), follow_symlinks=False)
    assert miniature.planned(target) == {}
    miniature.set("corpus.tiny.seed", 1235)
    assert miniature.roots(target) == {"corpus-tiny": "param corpus.tiny.seed: 1234 → 1235"}
    assert miniature.build(target) == {"corpus-tiny": "executed"}
    assert miniature.planned(target) == {}


def test_a_file_from_the_future_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the clock behind the file, nothing says that it is not being written to: its hash is not kept."""
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("one")
    behind = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr("belle.build.hashes.time.time_ns", lambda: behind)
    for text in ("one", "two"):
        Path("a").write_text(text)
        hashes = Hashes(Path("hashes.json"))
        seen = hashes.get("a")
        hashes.save()
        assert hashes.read == 1
        assert seen == Hashes(Path("none.json")).get("a")


def test_a_lease_ends_though_the_clock_was_set_back():
    me = this_process()
    intent = {"host": "elsewhere", "pid": 1, "started": "x", "time": 1000.0, "lease_s": 60.0}
    assert _sends_still(intent, me, 1030.0, {})
    assert not _sends_still(intent, me, 1061.0, {})
    assert _sends_still(intent, me, 990.0, {})
    assert not _sends_still(intent, me, 1000.0 - 86400, {})  # not for a day and a minute
    assert me == Process(me.host, me.pid, me.started)


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def locks_of_the_dead(kind: str) -> str:
    """What .dvc/tmp/rwlock holds after a kill."""
    if kind == "torn":
        return '{"write": {"/x/resul'
    pid = dead_pid() if kind == "dead" else os.getpid()
    info = {"pid": pid, "cmd": "dvc repro -s corpus-tiny"}
    return json.dumps({"write": {"WORLD/data/corpus/tiny.txt": info}, "read": {"WORLD/data/corpus": [info]}})


@pytest.mark.parametrize("kind", ["dead", "torn", "the id is another program's now"])
def test_locks_of_the_dead_fall(miniature: World, kind: str):
    folder = miniature.folder
    miniature.set("corpus.tiny.seed", 1235)
    held = locks_of_the_dead(kind).replace("WORLD", str(folder))
    (folder / ".dvc/tmp/rwlock").write_text(held)
    (folder / ".dvc/tmp/rwlock.lock").write_text(f"{dead_pid()}\n")
    (folder / ".dvc/tmp/lock").write_text(f"{dead_pid()}\n")
    (folder / ".belle/build.lock").write_text(json.dumps({"pid": dead_pid(), "host": os.uname().nodename, "since": ""}))
    (folder / ".snakemake/locks").mkdir(exist_ok=True)
    for name in ("0.input.lock", "0.output.lock"):
        (folder / ".snakemake/locks" / name).write_text("data/corpus/tiny.txt\n")
    assert miniature.build("data/corpus/tiny.txt") == {"corpus-tiny": "executed"}
    assert not any(json.loads((folder / ".dvc/tmp/rwlock").read_text()).values())


def test_a_living_dvc_keeps_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lock.DVC_LOCKS.parent.mkdir(parents=True)
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc"])
    try:
        living, gone = {"pid": alive.pid, "cmd": "dvc repro"}, {"pid": dead_pid(), "cmd": "dvc repro"}
        lock.DVC_LOCKS.write_text(json.dumps({"write": {"a": living, "b": gone}, "read": {"c": [living, gone]}}))
        lock.drop_dead_locks()
        assert json.loads(lock.DVC_LOCKS.read_text()) == {"write": {"a": living}, "read": {"c": [living]}}
    finally:
        alive.kill()
        alive.wait()


def test_a_torn_line_of_the_history_spoils_no_other(tmp_path: Path):
    record(tmp_path, "a", "", EXECUTED, now())
    with open(tmp_path / HISTORY, "a") as file:
        file.write('{"stage": "b", "rea')
    record(tmp_path, "c", "", EXECUTED, now())
    lines = (tmp_path / HISTORY).read_text().splitlines()
    assert [json.loads(line)["stage"] for line in (lines[0], lines[2])] == ["a", "c"]


def test_a_full_disk_costs_the_history_its_line_only(small_disk: Path, capsys: pytest.CaptureFixture[str]):
    fill(small_disk)
    record(small_disk, "a", "", EXECUTED, now())
    assert "this run is not recorded: No space left on device" in capsys.readouterr().err
