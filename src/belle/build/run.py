"""Run one stage for Snakemake: ``python -m belle.build.run LOG -- COMMAND``.

Decides again on what stands now (an input may have come out unchanged: early cut-off), and only then starts
``dvc repro -s``, which restores the outputs from its cache or executes the command. Never the other way round.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from belle.build import history, pipeline, plan, restore
from belle.build.environment import EXECUTED_MARK, REASON, for_dvc
from belle.build.failure import explain
from belle.build.parents import build_pid, end_with
from belle.build.stages import DVC_FILE
from belle.build.state import Stage, State
from belle.errors import BelleError


def _stream(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run a command, its output both on the terminal and in ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, "wb", buffering=0) as copy,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
    ):
        assert process.stdout is not None
        while chunk := process.stdout.read1(8192):  # type: ignore[attr-defined]
            with suppress(OSError):  # a full disk: the terminal still has it
                copy.write(chunk)
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()
    return process.returncode


def _restored(state: State, stage: Stage, causes: list[str]) -> bool:
    """Bring what was made before from the cache or a remote; returns whether the stage is up to date by that alone."""
    only_outputs = all(cause.startswith("output ") and not cause.endswith("new to this stage") for cause in causes)
    restore.before(state, stage, only_outputs)
    return not state.reasons(stage) and state.complete(stage)


def run(log: Path) -> int:
    """Bring one stage up to date; returns the exit status for Snakemake."""
    name = log.stem
    end_with(build_pid())
    state = State()
    path, entry = pipeline.find(name)
    stage = pipeline.resolve(name, entry, state)
    forced = plan.of(name).get("forced")
    causes = state.reasons(stage)
    if not causes and not state.complete(stage):
        causes = ["output " + ", ".join(out for out in stage.outs if state.hashes.get(out) is None) + " is missing"]
    state.hashes.save()
    if not causes and not forced:
        print(f"{name}: unchanged, nothing to do", file=sys.stderr)
        return 0
    reason = "forced" if forced else "; ".join(causes)
    started = history.now()
    mark = Path(f".belle/executed-{os.getpid()}")
    mark.unlink(missing_ok=True)
    environment = for_dvc(os.environ, stage.cmd.split()[1])
    environment |= {EXECUTED_MARK: str(mark.absolute()), REASON: reason}
    target = name if path == DVC_FILE else f"{path}:{name}"
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", target]
    if forced:
        command.append("--force")
    elif _restored(state, stage, causes):
        history.record(Path(), name, reason, history.RESTORED, started)
        return 0
    status = _stream(command, environment, log)
    if status == 0 and (wrong := restore.after(State(), name)):
        restore.say(f"{name}: {', '.join(wrong)} came out of a corrupt cache; made anew")
        status = _stream([*command, "--force"], environment, log)
        if status == 0 and (wrong := restore.after(State(), name)):
            raise BelleError("not what was just made, twice over", where=", ".join(wrong), cause="a failing disk")
    if status and (why := explain(name, log)):
        print(f"belle: {why}", file=sys.stderr)
    executed = mark.exists()
    mark.unlink(missing_ok=True)
    if not executed:
        if status == 0 and causes:
            history.record(Path(), name, reason, history.RESTORED, started)
        elif status != 0:
            history.record(Path(), name, reason, history.FAILED, started)
    return status


if __name__ == "__main__":
    try:
        sys.exit(run(Path(sys.argv[1])))
    except BelleError as error:
        print(f"belle: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
