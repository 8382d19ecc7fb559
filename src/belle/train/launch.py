"""A training in several processes, on one host or several: started together, ended together, one message.

Processes find each other as torchrun's do, by a static rendezvous (RANK, WORLD_SIZE, MASTER_ADDR, …), so a stage may as
well be started by torchrun, accelerate or DeepSpeed's launcher. docs/decisions/0036 says why this is not one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from belle.errors import BelleError, InputError
from belle.train import host
from belle.train.faults import fault_of
from belle.train.places import HERE, Place, shares

START_S = 90.0
"""How long a host may take to answer for the first time: ssh, and Python from a network disk."""
END_S = 15.0
"""How long hosts may take to end their processes."""


class _Member:
    """One host of a launch, and the command that serves it."""

    def __init__(self, place: Place, remote: str, said: queue.Queue[tuple[_Member, dict[str, Any] | None]]) -> None:
        self.place = place
        agent = [sys.executable, "-P", str(Path(host.__file__).absolute())]
        self.command = agent if place.name == HERE else _remote(remote, place.name, agent)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.ended = False
        threading.Thread(target=self._listen, args=(said,), daemon=True).start()

    def _listen(self, said: queue.Queue[tuple[_Member, dict[str, Any] | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                said.put((self, json.loads(line)))
        said.put((self, None))

    def tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def leave(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


def _remote(pattern: str, name: str, agent: list[str]) -> list[str]:
    words = [word.replace("{host}", name) for word in shlex.split(pattern)]
    if Path(words[0]).name in {"ssh", "rsh"}:  # they join their words and give them to a shell
        return [*words, shlex.join(agent)]
    return [*words, *agent]


def launch(
    command: list[str],
    processes: int,
    *,
    places: list[Place],
    remote: str,
    master_address: str,
    environment: dict[str, str],
    what: str,
) -> None:
    """Run ``command`` in ``processes`` processes, and wait for all of them.

    Args:
        places: Where; ``localhost`` alone for this host.
        remote: The command that starts another one on a host, with ``{host}`` for its name.
        master_address: The address of the first host that the others reach it by; empty for its name.
        environment: All variables that a process sees, but for its place among the others.
        what: What is launched, put in front of messages; may be empty.

    Raises:
        InputError: the hosts cannot take so many, or do not reach each other; or a process refused what it was given.
        BelleError: a process ended by a fault or a signal, or a host has gone. All others have been ended by then.
    """
    used = shares(places, processes)
    several = len(used) > 1
    if several and used[0].name == HERE and not master_address:
        raise InputError("the first host has no name that others know", where="launch.hostfile",
                         fix="name it in the hostfile as others reach it, or set launch.master_address")  # fmt: skip
    address = master_address or ("127.0.0.1" if used[0].name == HERE else used[0].name)
    said: queue.Queue[tuple[_Member, dict[str, Any] | None]] = queue.Queue()
    members: list[_Member] = []
    try:
        first = 0
        for place in used:
            member = _Member(place, remote, said)
            members.append(member)
            setup = {
                "folder": os.getcwd(), "environment": environment, "command": command, "first": first,
                "count": place.slots, "world": processes, "several": several, "address": address,
            }  # fmt: skip
            if first == 0:
                member.tell({**setup, "master": None})
                port = int(_answer(said, member, what)["port"])
            else:
                member.tell({**setup, "master": [address, port]})
                _answer(said, member, what, reached=(used[0].name, address, port))
            first += place.slots
        for member in members:
            member.tell({"start": [address, port]})
        _wait(said, members, what)
    finally:
        for member in members:
            member.leave()
        until = time.monotonic() + END_S
        for member in members:
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.1, until - time.monotonic()))
            if member.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(member.process.pid, signal.SIGKILL)
                member.process.wait()


def _answer(
    said: queue.Queue[tuple[_Member, dict[str, Any] | None]],
    member: _Member,
    what: str,
    reached: tuple[str, str, int] | None = None,
) -> dict[str, Any]:
    """The next thing that a host says, which must not be that it has gone."""
    try:
        member, message = said.get(timeout=START_S)  # or an earlier one, which has gone meanwhile
    except queue.Empty:
        message = None
    if message is None:
        status = member.process.poll()
        raise BelleError(
            f"the host {member.place.name} does not answer"
            + ("" if status is None else f": `{shlex.join(member.command[:4])} …` ended with {status}"),
            where=what,
            cause="the host is down, or `launch.remote` does not get there without a question",
            fix="try `ssh HOST true`; every host needs this checkout with its .venv under the same path",
        )
    if "unreached" in message and reached:
        raise BelleError(
            f"the host {member.place.name} does not reach {reached[0]} at {reached[1]}, port {reached[2]}: "
            f"{message['unreached']}",
            where=what,
            cause="a firewall between the hosts, or a name that means another address there",
            fix="open the ports between the hosts, or set launch.master_address to an address that all of them reach",
        )
    return message


def _wait(said: queue.Queue[tuple[_Member, dict[str, Any] | None]], members: list[_Member], what: str) -> None:
    """Wait until every host is done.

    Raises:
        BelleError: the fault of the one process that began it.
    """
    left = set(members)
    while left:
        member, message = said.get()
        if message is not None and message.get("done"):
            left.discard(member)
        elif message is not None and "failed" in message:
            faults = [(member.place.name, item) for item in message["failed"]]
            faults += _more(said)
            raise fault_of(faults, what)
        elif message is None and member in left:
            faults = _more(said)
            if faults:
                raise fault_of(faults, what)
            raise BelleError(
                f"the host {member.place.name} has gone (status {member.process.wait()}); the others were ended",
                where=what,
                cause="a host or a network that went down",
                fix="run again once it is up, or without it: training goes on from its last checkpoint",
            )


def _more(said: queue.Queue[tuple[_Member, dict[str, Any] | None]]) -> list[tuple[str, dict[str, Any]]]:
    """What other hosts say of the same fault within a moment: which came first is not always told first."""
    found: list[tuple[str, dict[str, Any]]] = []
    until = time.monotonic() + 3 * host.SETTLE_S
    while (patience := until - time.monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            member, message = said.get(timeout=patience)
            found += [(member.place.name, item) for item in (message or {}).get("failed", [])]
    return found
