"""Kill builds at random and build again: the same bytes, nothing answered twice, no unlock.

``python -m trials.kills --kills 100 --out docs/trials/kills.md``; with ``--work DIR`` a run that was cut off goes on.

Each kill has a miniature world of its own in which one stage (or, for some, everything) is not built yet. A plain
``snakemake`` is started; when the chosen process has appeared, one signal hits it after a random part of its usual
life; in stages that ask an API every other one while requests are under way. Then ``snakemake`` runs again, in half
of the cases without waiting for what the first one left, and everything in the world is compared with the undisturbed
build. Requests go through ``trials.toll``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dump_yaml

from belle import strict_yaml
from belle.api.ledger import Ledger
from trials.kills_report import render
from trials.toll import Gate, Toll
from trials.worlds import World, built_miniature, copy_world

ASKING = ("generate", "judge")
PROCESSES = ("snakemake", "wrapper", "dvc", "stage", "group")
PROCESSES_OF_ASKING = (*PROCESSES, "sender", "teacher")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
ASKING_S = 0.8
"""About how long requests are under way in a stage that asks; every other kill there falls into that time."""
POLL_S = 0.003
PATIENCE_S = 300
POSSIBLY = re.compile(r"(\d+) requests had been sent before without a reply being seen")


@dataclass
class Kill:
    """One kill and what came of it."""

    number: int
    stage: str
    """The stage's name in dvc.yaml, and whether everything before it was unbuilt too."""
    whole: bool
    process: str
    signal: str
    at_once: bool
    """Whether the second build was started without waiting for what the first had left."""
    hit_after_s: float = -1.0
    """Seconds from the process's appearance to the signal; negative where it was never hit."""
    first_status: int | None = None
    gone_after_s: float = 0.0
    """Seconds from the signal until no process of the first build was left."""
    recovered_in_s: float = 0.0
    same: bool = False
    different: list[str] = field(default_factory=list)
    in_flight: int = 0
    lost: int = 0
    """Requests that had reached the gate and whose reply the ledger lacks when the first build has gone."""
    reported: int = 0
    """Requests that were said to be possibly paid."""
    answered_twice: int = 0
    fault: str = ""

    @property
    def kind(self) -> str:
        """The rule of the stage."""
        return self.stage.partition("-")[0]


class Processes:
    """The processes of one world by what they are, looked up in /proc without starting anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._settled: dict[int, str] = {}
        self._seen: dict[int, float] = {}

    def now(self) -> dict[int, str]:
        """Process id → snakemake, wrapper, dvc, stage, sender or other."""
        found, now = {}, time.monotonic()
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        for gone in self._seen.keys() - pids:
            del self._seen[gone]
            self._settled.pop(gone, None)
        for pid in pids:
            role = self._settled.get(pid)
            if role is None:
                role = self._role(pid)
                # a child that was forked just now still carries its parent's command line
                if now - self._seen.setdefault(pid, now) > 1:
                    self._settled[pid] = role
            if role and not _dead(pid):
                found[pid] = role
        return found

    def _role(self, pid: int) -> str:
        try:
            if os.readlink(f"/proc/{pid}/cwd") != self.folder:
                return ""
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return ""
        if words[1:3] == ["-m", "belle.build.run"]:
            return "wrapper"
        if words[1:3] == ["-m", "dvc"]:
            return "dvc"
        if words[1:3] == ["-m", "belle.api.serve"]:
            return "sender"
        if len(words) > 1 and words[1].endswith("/bin/belle"):
            return "stage"
        if len(words) > 1 and words[1].endswith("/bin/snakemake"):
            return "snakemake"
        return "other"


def _dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


class Trial:
    """The reference, the gate, and the kills that were done."""

    def __init__(self, work: Path, world: Path | None, gate: Gate) -> None:
        self.work, self.gate = work, gate
        self.reference = World(work / "reference" / "world")
        self.log = work / "kills.jsonl"
        if not (work / "reference" / "whole").exists():
            self._build_reference(world or built_miniature())
        entries = strict_yaml.load(self.reference.folder / "dvc.yaml")["stages"]
        self.stages = {name: entry for name, entry in entries.items() if name != "fingerprint"}
        self.bytes = everything(self.reference.folder)
        self.usual = {line["stage"]: line["seconds"] for line in self.reference.history()}
        self._lock = threading.Lock()

    def _build_reference(self, world: Path) -> None:
        shutil.rmtree(self.work / "reference", ignore_errors=True)
        (self.work / "reference").mkdir(parents=True)
        copy_world(world, self.reference.folder)
        unbuild(self.reference.folder, None)
        self.reference.set("generate.tiny.base_url", self.gate.base_url)
        self.reference.set("judge.tiny.base_url", self.gate.base_url)
        self.reference.run("snakemake", OPENAI_API_KEY="reference")
        (self.work / "reference" / "whole").touch()

    def done(self) -> list[Kill]:
        """The kills of this and earlier runs; one that hit nothing, and was not the build's fault, is drawn again."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [kill for kill in (Kill(**json.loads(line)) for line in lines) if kill.hit_after_s >= 0]

    def run(self, kill: Kill) -> Kill:
        """Carry out one kill in a world of its own."""
        folder = Path(tempfile.mkdtemp(prefix=f"kill-{kill.number}-", dir=self.work))
        try:
            world = copy_world(self.reference.folder, folder / "world")
            unbuild(world.folder, None if kill.whole else kill.stage)
            self._kill_and_rebuild(kill, world)
        except Exception as error:
            kill.fault = f"{type(error).__name__}: {error}"[-3000:]
        finally:
            for pid in Processes(folder / "world").now():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if kill.fault or kill.different:
                shutil.copytree(folder, self.work / f"kept-{kill.number}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock, open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(kill), ensure_ascii=False) + "\n")
        return kill

    def _kill_and_rebuild(self, kill: Kill, world: World) -> None:
        targets = [] if kill.whole else outputs(self.stages[kill.stage])[:1]
        name, dice = f"kill-{kill.number}", random.Random(f"{kill.number} {kill.process}")
        toll = self.gate.toll(name)
        for attempt in range(4):
            build = _start(world, targets, name)
            self._strike(kill, world, build, toll, dice.random() * 0.5**attempt)
            if kill.hit_after_s >= 0:
                break
            build.wait(PATIENCE_S)  # it had ended before: once more from the beginning, and strike sooner
            unbuild(world.folder, None if kill.whole else kill.stage)
            toll.__init__()  # type: ignore[misc]
        else:
            raise AssertionError(f"{kill.process} was never there to be hit")
        struck = time.monotonic()
        kill.first_status = build.wait(PATIENCE_S)
        if not kill.at_once:
            self._wait_until_gone(kill, world, struck)
            self._count_lost(kill, world, toll)
        started = time.monotonic()
        again = world.run("snakemake", *targets, check=False, OPENAI_API_KEY=name)
        kill.recovered_in_s = round(time.monotonic() - started, 2)
        if kill.at_once:
            self._wait_until_gone(kill, world, struck)
        said = "\n".join([(world.folder.parent / "first.log").read_text(encoding="utf-8"), again.stdout])
        kill.reported = sum(int(number) for number in POSSIBLY.findall(said))
        kill.answered_twice = sum(count - 1 for count in toll.answered.values() if count > 1)
        found = everything(world.folder)
        kill.different = sorted(
            path for path in found.keys() | self.bytes.keys() if found.get(path) != self.bytes.get(path)
        )
        kill.same = not kill.different and again.returncode == 0
        if again.returncode:
            kill.fault = f"the second build ended with {again.returncode}:\n{again.stdout[-2500:]}"

    def _strike(self, kill: Kill, world: World, build: subprocess.Popen[bytes], toll: Toll, part: float) -> None:
        """Wait for the process, then for ``part`` of its usual life, then hit it; or return without when it ends."""
        wanted = {"group": "snakemake", "teacher": "sender"}.get(kill.process, kill.process)
        processes, life = Processes(world.folder), self._life(kill)
        log = f"logs/{kill.stage}.log"

        def there() -> int | None:
            for pid, role in processes.now().items():
                if role == wanted and (not kill.whole or role in ("snakemake",) or _belongs(pid, kill.stage, log)):
                    return pid
            return None

        deadline = time.monotonic() + PATIENCE_S
        while (pid := build.pid if wanted == "snakemake" else there()) is None:
            if build.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(POLL_S)
        if kill.whole and wanted == "snakemake":  # the moment is counted from the stage on
            while not any(_belongs(other, kill.stage, log) for other in processes.now()):
                if build.poll() is not None or time.monotonic() > deadline:
                    return
                time.sleep(POLL_S)
        if kill.kind in ASKING and not kill.whole and (kill.number % 2 or kill.process in ("sender", "teacher")):
            life = ASKING_S
            while not toll.under_way:
                if _dead(pid) or time.monotonic() > deadline:
                    return
                time.sleep(POLL_S)
        appeared = time.monotonic()
        while time.monotonic() < appeared + part * life:
            if _dead(pid):
                return
            time.sleep(POLL_S)
        number = getattr(signal, kill.signal)
        try:
            if kill.process == "teacher":
                kill.in_flight, kill.hit_after_s = len(toll.under_way), round(time.monotonic() - appeared, 3)
                self.gate.kill_teacher(number)
                return
            if _dead(pid):
                return
            in_flight = len(toll.under_way)
            os.killpg(pid, number) if kill.process == "group" else os.kill(pid, number)
            kill.in_flight, kill.hit_after_s = in_flight, round(time.monotonic() - appeared, 3)
        except ProcessLookupError:
            return

    def _life(self, kill: Kill) -> float:
        """Seconds that a process of this stage usually lives."""
        stage = 0.3 + self.usual.get(kill.stage, 0)
        more = {"stage": 0, "dvc": 1.5, "wrapper": 2}
        return max(0.2, stage + more.get(kill.process, 2 if kill.whole else 4.5))

    def _wait_until_gone(self, kill: Kill, world: World, since: float) -> None:
        processes, deadline = Processes(world.folder), time.monotonic() + 60
        while left := processes.now():
            if time.monotonic() > deadline:
                raise AssertionError(f"a minute after the kill these still run: {left}")
            time.sleep(0.02)
        kill.gone_after_s = round(time.monotonic() - since, 2)

    def _count_lost(self, kill: Kill, world: World, toll: Toll) -> None:
        with Ledger(world.folder / "data" / "ledger") as ledger:
            kill.lost = sum(digest not in ledger for digest in toll.sent)


def _belongs(pid: int, stage: str, log: str) -> bool:
    """Whether a process works on a stage: it, or one above it, was started for its log or by its name."""
    for _ in range(6):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if log in words or stage in words:
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


def _start(world: World, targets: list[str], name: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(world.folder / "src"), "OPENAI_API_KEY": name}
    with open(world.folder.parent / "first.log", "wb") as log:
        return subprocess.Popen(
            ["snakemake", *targets], cwd=world.folder, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def outputs(entry: dict[str, Any]) -> list[str]:
    """The paths that a stage of dvc.yaml writes."""
    listed = [*entry.get("outs", []), *entry.get("metrics", [])]
    return [next(iter(item)) if isinstance(item, dict) else item for item in listed]


def unbuild(folder: Path, stage: str | None) -> None:
    """Make a world forget a stage: outputs, lock entry, cache, run-cache, checkpoints, paid replies; None is all."""
    entries = strict_yaml.load(folder / "dvc.yaml")["stages"]
    names = [name for name in entries if name != "fingerprint"] if stage is None else [stage]
    lock, cache, gone = strict_yaml.load(folder / "dvc.lock"), folder / ".dvc/cache/files/md5", set[str]()
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)
    for name in names:
        for out in outputs(entries[name]):
            path = folder / out
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(True)
        gone |= _objects(cache, lock["stages"].pop(name, None))
    for md5 in gone.difference(*(_objects(cache, entry) for entry in lock["stages"].values())):
        (cache / md5[:2] / md5[2:]).unlink(missing_ok=True)
    dump_yaml(str(folder / "dvc.lock"), lock)  # as DVC writes it: YAML 1.2, where 8097e25 must be quoted
    shutil.rmtree(folder / ".belle/checkpoints", ignore_errors=True)
    kind = stage.partition("-")[0] if stage else None
    if kind in (None, *ASKING):
        _forget_replies(folder / "data/ledger", kind)


def _objects(cache: Path, entry: dict[str, Any] | None) -> set[str]:
    """The objects of the cache that hold a stage's outputs; other stages' may be the same."""
    found = set()
    for md5 in [out["md5"] for out in (entry or {}).get("outs", [])]:
        found.add(md5)
        path = cache / md5[:2] / md5[2:]
        if md5.endswith(".dir") and path.exists():
            found |= {item["md5"] for item in json.loads(path.read_bytes())}
    return found


def _forget_replies(ledger: Path, stage: str | None) -> None:
    for shard in ledger.glob("*.jsonl*"):
        lines = shard.read_bytes().splitlines(keepends=True)
        shard.unlink()  # it may be a link into the cache
        kept = [line for line in lines if stage and json.loads(line).get("stage") != stage]
        if kept:
            shard.write_bytes(b"".join(kept))


def everything(folder: Path) -> dict[str, bytes]:
    """Every artifact by its path, and what dvc.lock says of each stage."""
    found = {}
    for top in ("models", "data", "results"):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith("data/ledger") and path.name != ".gitignore":
                found[name] = path.read_bytes()
    for stage, entry in strict_yaml.load(folder / "dvc.lock")["stages"].items():
        found[f"dvc.lock: {stage}"] = json.dumps(entry, sort_keys=True).encode()
    return found


def deck(dice: random.Random, cards: tuple[str, ...] | list[str]) -> Any:
    """Cards without end: each as often as any other, in random order."""
    while True:
        cards = list(cards)
        dice.shuffle(cards)
        yield from cards


def drawn(seed: int, kills: int, whole: int, sender_kills: int, stages: list[str]) -> list[Kill]:
    """The kills of a run: stages, processes and signals as even as their numbers allow, moments at random.

    ``whole`` of every hundred happen in a world where nothing is built. After them come kill -9 of the sender.
    """
    dice = random.Random(seed)
    kinds = sorted({name.partition("-")[0] for name in stages})
    of_kind = {kind: deck(dice, [name for name in stages if name.partition("-")[0] == kind]) for kind in kinds}
    kind_deck, asking_deck = deck(dice, kinds), deck(dice, ASKING)
    victims = {kind: deck(dice, PROCESSES_OF_ASKING if kind in ASKING else PROCESSES) for kind in kinds}
    numbers = {process: deck(dice, SIGNALS) for process in PROCESSES_OF_ASKING}
    numbers["sender"] = deck(dice, ("SIGTERM", "SIGINT"))
    entire = set(dice.sample(range(kills), round(kills * whole / 100)))
    found = []
    for number in range(kills):
        kind = next(kind_deck)
        process = next(victims[kind])
        found.append(
            Kill(number, next(of_kind[kind]), number in entire, process, next(numbers[process]), dice.random() < 0.5)
        )
    for number in range(kills, kills + sender_kills):
        found.append(Kill(number, next(of_kind[next(asking_deck)]), False, "sender", "SIGKILL", False))
    return found


def faults(kill: Kill) -> list[str]:
    """What a kill shows to be wrong."""
    found = [kill.fault] if kill.fault else []
    if not kill.same and not kill.fault:
        found.append("not the same: " + ", ".join(kill.different[:8]))
    lost_by_right = kill.process in ("sender", "teacher")
    if kill.answered_twice > (kill.reported if lost_by_right else 0):
        found.append(f"{kill.answered_twice} answered twice, {kill.reported} reported as possibly paid")
    if kill.reported < kill.lost:
        found.append(f"{kill.lost} lost, {kill.reported} reported as possibly paid")
    return found


def main() -> int:
    """Run the trial; returns 1 when a kill shows a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sender-kills", type=int, default=10, help="kill -9 of the process that sends, besides")
    parser.add_argument("--whole", type=int, default=10, help="of every hundred, in a world with nothing built")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--seconds", type=float, default=0, help="start no kill after so many; 0 has no limit")
    parser.add_argument("--workers", type=int, default=1, help="worlds at once")
    parser.add_argument("--world", type=Path, help="a built miniature world; without it one is built")
    parser.add_argument("--work", type=Path, help="a folder to keep, from which a run that was cut off goes on")
    parser.add_argument("--out", type=Path, help="write the report here")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background shell, and inherited
    if shutil.which("snakemake") is None:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    work = args.work or Path(tempfile.mkdtemp(prefix="belle-kills-"))
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    try:
        with Gate(_port(work)) as gate:
            (work / "port").write_text(str(gate.port))
            trial = Trial(work, args.world, gate)
            _go(trial, args)
        done = sorted(trial.done(), key=lambda kill: kill.number)
    finally:
        if not args.work:
            shutil.rmtree(work, ignore_errors=True)
    text = render(done, faults, args.kills)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(faults(kill) for kill in done) or not done else 0


def _port(work: Path) -> int:
    """The port that the reference was built with, or any free one: the URL is part of every request's digest."""
    if (work / "port").exists():
        return int((work / "port").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _go(trial: Trial, args: argparse.Namespace) -> None:
    over = time.monotonic() + args.seconds if args.seconds else float("inf")
    known = {kill.number for kill in trial.done()}
    todo = drawn(args.seed, args.kills, args.whole, args.sender_kills, sorted(trial.stages))
    todo.sort(key=lambda kill: kill.number % args.kills)  # a run that is cut off has some of both

    def one(kill: Kill) -> None:
        if time.monotonic() < over and kill.number not in known:
            done = trial.run(kill)
            verdict = "; ".join(faults(done)) or "same bytes"
            print(
                f"{done.number:3} {done.stage:28} {'whole ' if done.whole else ''}{done.process} {done.signal} at "
                f"{done.hit_after_s:.2f} s: {verdict}; gone in {done.gone_after_s} s, again {done.recovered_in_s} s, "
                f"in flight {done.in_flight}, lost {done.lost}, reported {done.reported}",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(one, todo))


if __name__ == "__main__":
    sys.exit(main())
