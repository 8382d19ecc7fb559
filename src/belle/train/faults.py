"""What the processes of one training ended by: each writes it down, and the fault that began it is the message."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from belle.errors import BelleError, InputError
from belle.files import atomic_file
from belle.train import host

WAIT_S = 20.0
"""How long a process that lost the others waits to be ended with them, before it says so itself."""

_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed? ?out|recvvalue|socket", re.IGNORECASE
)


def _order(item: dict[str, Any]) -> tuple[int, float]:
    """What began a failure comes first: a kill, a fault by name, any other error, and only then a lost connection."""
    fault = item["fault"]
    if fault is None and item["status"] == -signal.SIGABRT:  # as NCCL ends a process that lost the others
        return 3, 0.0
    if fault is None:
        return (0 if item["status"] < 0 else 2), 0.0
    return {"input": 1, "belle": 1, "bug": 2}.get(fault["kind"], 3), fault["time"]


def fault_of(faults: list[tuple[str, dict[str, Any]]], what: str) -> BelleError:
    """The error of a launch, from what its processes ended by."""
    name, item = min(faults, key=lambda fault: _order(fault[1]))
    fault, rank = item["fault"], item["rank"]
    on = f"process {rank} on {name}"
    resume = "run again: training goes on from its last checkpoint"
    if fault is None and item["status"] < 0:
        number = -item["status"]
        return BelleError(
            f"{on} was ended by {signal.Signals(number).name}; the others were ended with it",
            where=what,
            cause="the system, for want of memory, or somebody's kill -9" if number == signal.SIGKILL
            else "somebody's signal, or a crash in native code",
            fix=resume,
        )  # fmt: skip
    if fault is None:
        return BelleError(f"{on} ended with status {item['status']}", where=what, fix="look above for what it printed")
    if fault["kind"] == "bug":
        print(fault["traceback"], file=sys.stderr, end="")
        return BelleError(
            f"{on} failed: {fault['what']}; the others were ended with it", where=what,
            cause="a fault of the program, see the traceback above, or too little memory", fix=resume,
        )  # fmt: skip
    if fault["kind"] == "lost":
        return BelleError(
            f"{on} lost the connection to the others: {fault['what']}", where=what,
            cause="a host or a network that went down", fix=resume,
        )  # fmt: skip
    kind = InputError if fault["kind"] == "input" else BelleError
    return kind(fault["what"], where=fault["where"], cause=fault["cause"], fix=fault["fix"])


@contextlib.contextmanager
def reporting(path: str) -> Iterator[None]:
    """Let a process write its fault to a file for whoever started it, and print nothing.

    One that only lost the others waits to be ended with them: what they died of is the fault.

    Args:
        path: The file, or empty where nobody asked for one (torchrun did not); then errors go their way.
    """
    if not path:
        yield
        return
    _end_with(os.getppid())
    try:
        yield
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException as error:
        fault: dict[str, Any] = {"kind": "input" if isinstance(error, InputError) else "belle", "time": time.time()}
        if isinstance(error, BelleError):
            fault |= {"what": error.what, "where": error.where, "cause": error.cause, "fix": error.fix}
        else:
            text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
            lost = isinstance(error, RuntimeError | OSError) and bool(_LOST.search(str(error)))
            fault |= {"kind": "lost" if lost else "bug", "what": text, "traceback": traceback.format_exc()}
        if fault["kind"] == "lost":
            time.sleep(WAIT_S)
        with atomic_file(Path(path)) as file:
            json.dump(fault, file)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # destructors of a broken process group can wait for ever


def _end_with(parent: int) -> None:
    """End this process when its parent has gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(host.CHECK_S * 10)
        os._exit(143)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
