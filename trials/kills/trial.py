"""The trial itself: a world for each kill, the kill, the second build, the comparison."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from belle import strict_yaml
from belle.api.ledger import Ledger
from trials.kills.kill import ASKING, Kill
from trials.kills.processes import Processes, belongs, dead
from trials.kills.toll import Gate, Toll
from trials.kills.unbuilding import everything, outputs, unbuild
from trials.worlds import World, built_miniature, copy_world

ASKING_S = 0.8
"""About how long requests are under way in a stage that asks; every other kill there falls into that time."""
POLL_S = 0.003
PATIENCE_S = 300
POSSIBLY = re.compile(r"(\d+) requests had been sent before without a reply being seen")


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
        # what no other word of the API stands in would come back from the remote, and not be there to be killed
        shutil.rmtree(self.work / "reference" / "remote", ignore_errors=True)
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
                if role == wanted and (not kill.whole or role in ("snakemake",) or belongs(pid, kill.stage, log)):
                    return pid
            return None

        deadline = time.monotonic() + PATIENCE_S
        while (pid := build.pid if wanted == "snakemake" else there()) is None:
            if build.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(POLL_S)
        if kill.whole and wanted == "snakemake":  # the moment is counted from the stage on
            while not any(belongs(other, kill.stage, log) for other in processes.now()):
                if build.poll() is not None or time.monotonic() > deadline:
                    return
                time.sleep(POLL_S)
        if kill.kind in ASKING and not kill.whole and (kill.number % 2 or kill.process in ("sender", "teacher")):
            life = ASKING_S
            while not toll.under_way:
                if dead(pid) or time.monotonic() > deadline:
                    return
                time.sleep(POLL_S)
        appeared = time.monotonic()
        while time.monotonic() < appeared + part * life:
            if dead(pid):
                return
            time.sleep(POLL_S)
        number = getattr(signal, kill.signal)
        try:
            if kill.process == "teacher":
                kill.in_flight, kill.hit_after_s = len(toll.under_way), round(time.monotonic() - appeared, 3)
                self.gate.kill_teacher(number)
                return
            if dead(pid):
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


def _start(world: World, targets: list[str], name: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(world.folder / "src"), "OPENAI_API_KEY": name}
    with open(world.folder.parent / "first.log", "wb") as log:
        return subprocess.Popen(
            ["snakemake", *targets], cwd=world.folder, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
