"""One host's part of a training in several processes: start its processes, watch them, end them together.

Run by ``belle.train.launch`` on every host, as a file and not as a module, so that all it needs on another host is
Python and psutil. It is told what to do by lines of JSON on its standard input and answers so on its standard output;
when the input ends, whoever started it has gone, and so do the processes.

    told:    {folder, environment, command, first, count, world, master}, then {start: [address, port]}
    answers: {port} or {reached}, or {unreached}, then {done} or {failed: [{rank, status, fault}, …]}
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

FAULT = "BELLE_FAULT"
"""Variable: the file that a process writes its fault to; see ``belle.train.faults.reporting``."""
ANSWER_S = 15.0
"""How long the first host may take to answer another one's call."""
GRACE_S = 3.0
"""How long processes that are told to end may take."""
SETTLE_S = 0.5
"""After a process has ended by a fault: how long others may take that ended by the same."""
CHECK_S = 0.05


def interface_of(address: str) -> str:
    """The name of the network interface that has an address; empty where none has."""
    for name, items in psutil.net_if_addrs().items():
        if any(item.address.partition("%")[0] == address for item in items):
            return name
    return ""


def reach(address: str, port: int) -> str:
    """Connect to the first host, and return the address that this one has towards it.

    Raises:
        OSError: it does not answer.
    """
    with socket.create_connection((address, port), timeout=ANSWER_S) as connection:
        return str(connection.getsockname()[0])


def environment_of(told: dict[str, Any], local: int, address: str, port: int, interface: str) -> dict[str, str]:
    """The variables that PyTorch, accelerate and DeepSpeed find their place among the processes by."""
    names = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}
    return {
        **told["environment"],
        **names,
        "RANK": str(told["first"] + local),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(told["world"]),
        "LOCAL_WORLD_SIZE": str(told["count"]),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


class Host:
    """The processes of one host."""

    def __init__(self, told: dict[str, Any], folder: Path) -> None:
        self.told, self.folder = told, folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, address: str, port: int, interface: str) -> None:
        """Start every process; each has a session of its own, so that what it starts can be ended with it."""
        for local in range(self.told["count"]):
            environment = environment_of(self.told, local, address, port, interface)
            environment[FAULT] = str(self.folder / f"{self.told['first'] + local}.json")
            self.processes.append(
                subprocess.Popen(
                    self.told["command"], env=environment, cwd=self.told["folder"], stdin=subprocess.DEVNULL,
                    stdout=sys.stderr, start_new_session=True,
                )
            )  # fmt: skip

    def failed(self) -> list[dict[str, Any]]:
        """Every process that has ended by a fault, with what it wrote of it."""
        found = []
        for local, process in enumerate(self.processes):
            if process.poll():
                rank = self.told["first"] + local
                try:
                    fault = json.loads((self.folder / f"{rank}.json").read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    fault = None
                found.append({"rank": rank, "status": process.returncode, "fault": fault})
        return found

    def end(self) -> None:
        """End what still runs, by SIGTERM and then by SIGKILL."""
        for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            for process in self.processes:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
            until = time.monotonic() + patience
            while time.monotonic() < until and any(process.poll() is None for process in self.processes):
                time.sleep(CHECK_S)


def serve(told: dict[str, Any], lines: queue.Queue[dict[str, Any] | None], answer: Any) -> int:
    """Take part in one training; returns the exit status."""
    listening = None
    if told["master"] is None:
        listening = socket.create_server(("", 0), family=socket.AF_INET)
        answer({"port": listening.getsockname()[1]})
        own = told["address"]
    else:
        try:
            own = reach(*told["master"])
        except OSError as error:
            answer({"unreached": str(error)})
            return 1
        answer({"reached": own})
    order = lines.get()
    if listening:
        listening.close()
    if order is None:
        return 143
    address, port = order["start"]
    interface = interface_of(socket.gethostbyname(own)) if told["several"] else ""
    with tempfile.TemporaryDirectory(prefix="belle-host-") as folder:
        host = Host(told, Path(folder))
        try:
            host.start(address, port, interface)
            while any(process.poll() is None for process in host.processes) and not host.failed():
                with contextlib.suppress(queue.Empty):
                    if lines.get(timeout=CHECK_S) is None:
                        return 143
            if host.failed():
                time.sleep(SETTLE_S)
                answer({"failed": host.failed()})
                return 1
            answer({"done": True})
            return 0
        finally:
            host.end()


def main() -> int:
    """Read orders until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what processes print goes to the terminal, and not among the answers

    def answer(message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(json.loads(line))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: lines.put(None))
    told = lines.get()
    return 143 if told is None else serve(told, lines, answer)


if __name__ == "__main__":
    sys.exit(main())
