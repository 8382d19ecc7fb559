"""A training in several processes, on one host or several: started together, ended together, one message.

Processes find each other as torchrun's do, by a static rendezvous (RANK, WORLD_SIZE, MASTER_ADDR, …), so a stage may as
well be started by torchrun, accelerate or DeepSpeed's launcher. docs/decisions/0036 says why this is not one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle.errors import BelleError, InputError
from belle.files import atomic_file, read_text
from belle.train import host

HERE = "localhost"
"""The host that needs no remote command."""
START_S = 90.0
"""How long a host may take to answer for the first time: ssh, and Python from a network disk."""
END_S = 15.0
"""How long hosts may take to end their processes."""
WAIT_S = 20.0
"""How long a process that lost the others waits to be ended with them, before it says so itself."""

_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed? ?out|recvvalue|socket", re.IGNORECASE
)


@dataclass(frozen=True)
class Place:
    """A host and how many processes it can take: a GPU each, or on CPUs as many as are said."""

    name: str
    slots: int


def places_of(path: Path) -> list[Place]:
    """Read a hostfile as DeepSpeed's: ``name slots=8`` a line, ``#`` before a comment.

    Raises:
        InputError: a line is no such line, a host comes twice, or there is none.
    """
    found: list[Place] = []
    for number, line in enumerate(read_text(path, "hostfile").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        parts = re.fullmatch(r"([A-Za-z0-9][\w.:-]*)\s+slots=([1-9]\d{0,3})", text)
        if not parts or parts[1] in {place.name for place in found}:
            raise InputError(
                f"{text!r} is not the line of another host" if parts else f"{text!r} is no line `NAME slots=NUMBER`",
                where=f"{path}:{number}",
                cause="a host that stands there twice" if parts else "a hostfile of another launcher, such as MPI's",
                fix="give each host one line, as `node1 slots=8`",
            )
        found.append(Place(parts[1], int(parts[2])))
    if not found:
        raise InputError("names no host", where=str(path), fix="add lines such as `node1 slots=8`")
    return found


def shares(places: list[Place], processes: int) -> list[Place]:
    """How many processes each host takes, filled in order; hosts that are not needed are left out.

    Raises:
        InputError: there are fewer slots than processes.
    """
    room = sum(place.slots for place in places)
    if processes > room:
        raise InputError(
            f"{processes} processes for {room} slots on {len(places)} host(s)",
            where="launch.hostfile",
            cause="`gpus:` of the model counts the GPUs of all hosts together",
            fix=f"add hosts, or lower `gpus:` to {room}: the global batch stays as it is where it divides",
        )
    found = []
    for place in places:
        if taken := min(place.slots, processes):
            found.append(Place(place.name, taken))
            processes -= taken
    return found


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
            raise _fault(faults, what)
        elif message is None and member in left:
            faults = _more(said)
            if faults:
                raise _fault(faults, what)
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


def _order(item: dict[str, Any]) -> tuple[int, float]:
    """What began a failure comes first: a kill, a fault by name, any other error, and only then a lost connection."""
    fault = item["fault"]
    if fault is None and item["status"] == -signal.SIGABRT:  # as NCCL ends a process that lost the others
        return 3, 0.0
    if fault is None:
        return (0 if item["status"] < 0 else 2), 0.0
    return {"input": 1, "belle": 1, "bug": 2}.get(fault["kind"], 3), fault["time"]


def _fault(faults: list[tuple[str, dict[str, Any]]], what: str) -> BelleError:
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
