"""What a stage may touch, and what of the things that it touched nobody declared."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from belle.build.allowed import BOOKKEEPING, ETC, LOOKED_FOR, PIPELINE, SYSTEM, UNIX_SOCKETS
from belle.build.code import PACKAGE, Code
from belle.build.environment import declared
from belle.build.loadable import may_load, module_name
from belle.build.state import Stage
from belle.build.tracing.strace import Access, Peer, Trace

_TEMPORARY = re.compile(r"(^|/)\.([^/]+)\.\d+\.tmp(?=/|$)")
_CALLED_FREELY = ("libffi", "_ctypes", "code without a file")
"""Who calls C functions that somebody names at run time: what they read, the stage's own code has read."""


@dataclass(frozen=True)
class Finding:
    """Something a stage did that it does not declare. ``kind``: one of the words in ``KINDS``."""

    stage: str
    kind: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.kind}: {self.what}\n    what to do: {self.fix}"


@dataclass
class Seen:
    """How much of each kind a stage did."""

    inputs: int = 0
    code: int = 0
    outputs: int = 0
    outside: int = 0
    variables: int = 0
    hidden: int = 0
    connections: int = 0


def _under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


@dataclass
class Rules:
    """One stage's declarations, and the judgement by them.

    Args:
        root: The folder that the stage ran in, without links in its path.
        added: Paths it may read and add to, though they are no inputs or outputs.
        hosts: Hosts that it may talk to; ``*`` for any.
        reads_home: Whether it may read below ``home``.
        own: Folders that are its own: for temporary files, and of the recorders.
    """

    root: Path
    stage: Stage
    command: str
    code: Code
    added: tuple[str, ...]
    hosts: frozenset[str]
    reads_home: bool
    own: tuple[Path, ...]
    home: Path
    findings: list[Finding] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        named = [word for word in self.stage.cmd.split() if word.startswith(".belle/")]
        self._outputs = (*self.stage.outs, *self.added, *named)
        self._inputs = (*self.stage.deps, *self._outputs)
        here = {os.path.normpath(os.path.abspath(path)) for path in (sys.prefix, sys.base_prefix)}
        self._outside = (*SYSTEM, *here, *{os.path.realpath(path) for path in here}, *map(str, self.own))
        above = [str(self.root / path) for path in (*self._inputs, *BOOKKEEPING)] + list(self._outside)
        self._above = {str(parent) for path in above for parent in Path(path).parents}
        self._modules = may_load(self.code, self.command)
        self._searched = set(os.environ.get("PATH", "").split(os.pathsep))

    def find(self, kind: str, what: str, fix: str) -> None:
        """Note a finding, once."""
        found = Finding(self.stage.name, kind, what, fix)
        if found not in self.findings:
            self.findings.append(found)

    def judge_files(self, trace: Trace) -> None:
        """Hold every path against the declarations."""
        counted: dict[str, set[str]] = {"inputs": set(), "outputs": set(), "code": set(), "outside": set()}
        taken = {access.path for access in trace.accesses if access.kind != "look"}
        for access in sorted(trace.accesses):
            if access.kind == "look" and access.found and access.path in taken:
                continue  # named by what it was looked at for
            inside = _under(access.path, str(self.root))
            fault = self._inside(access) if inside else self._beyond(access)
            if fault:
                self.find(*fault)
            elif access.kind in {"read", "write"}:
                name = _TEMPORARY.sub(r"\1\2", os.path.relpath(access.path, self.root)) if inside else access.path
                kind = self._kind(name, access) if inside else "outside"
                if kind:
                    counted[kind].add(name)
        for kind, names in counted.items():
            setattr(self.seen, kind, len(names))

    def _kind(self, name: str, access: Access) -> str:
        if any(_under(name, out) for out in self._outputs):
            return "outputs" if access.kind == "write" else ""
        if any(_under(name, dep) for dep in self.stage.deps):
            return "inputs"
        return "code" if name.startswith("src/") else ""

    def _inside(self, access: Access) -> tuple[str, str, str] | None:
        """The fault of touching a path of the checkout, if it is one."""
        name = _TEMPORARY.sub(r"\1\2", os.path.relpath(access.path, self.root))
        if any(fnmatchcase(name, pattern) for pattern in BOOKKEEPING):
            return None
        if access.kind == "write":
            if any(_under(name, out) for out in self._outputs) or "__pycache__" in name.split("/"):
                return None
            if access.path in self._above and Path(access.path).is_dir():
                return None
            return "writes", name, f"declare it as output of {self._rule()}, or write it below $TMPDIR"
        if name in PIPELINE or any(_under(name, path) for path in self._inputs) or self._is_code(name, access):
            return None
        if access.kind == "look":
            if access.path == str(self.root) or access.path in self._above:
                return None
            if not access.found and any(fnmatchcase(name, pattern) for pattern in LOOKED_FOR):
                return None
            kind = "looks at" if access.found else "looks for"
            return kind, name, f"declare it as input of {self._rule()}, or do not look: whether it is there may matter"
        kind = "lists" if access.kind == "list" else "reads"
        module = module_name(name)
        if module in self.code.modules:
            return "imports", module, "import it by name where it is used: code.json does not say that it is reached"
        return kind, name, f"declare it as input of {self._rule()}, or do not read it"

    def _rule(self) -> str:
        return f"the rule `{self.command}` in rules/"

    def _is_code(self, name: str, access: Access) -> bool:
        """Whether a path under src/ is what importing the stage's modules touches."""
        if not _under(name, "src"):
            return False
        if name in {"src", f"src/{PACKAGE}"} or "egg-info" in name:
            return True
        module = module_name(name)
        if access.kind == "read":
            return module in self._modules
        package = name.removeprefix("src/").replace("/", ".")
        if package in self.code.modules or module in self.code.modules or name.endswith("__pycache__"):
            return True
        sought = not _under(name, f"src/{PACKAGE}") or name.endswith((".py", ".pyc", ".so"))
        return access.kind == "look" and not access.found and sought

    def _beyond(self, access: Access) -> tuple[str, str, str] | None:
        """The fault of touching a path outside the checkout, if it is one."""
        path = access.path
        if path in sys.path and access.kind in {"look", "list"}:
            return None  # an editable installation's, searched in vain: what is found there would be read
        if any(_under(path, allowed) for allowed in self._outside):
            return None
        if path.startswith("/etc/") or path == "/etc":
            known = any(fnmatchcase(path.removeprefix("/etc/"), pattern) for pattern in ETC)
            if known or not access.found or access.kind == "look":
                return None
            return "reads", path, "do not read the machine's settings: state the value in params.yaml"
        if _under(path, str(self.home)):
            if self.reads_home or path in self._above or os.path.dirname(path) in self._searched | {""}:
                return None
            if not access.found and (path in self._searched or re.search(r"/lib(64)?/python3\d+\.zip$", path)):
                return None
            kind = {"write": "writes", "list": "lists", "read": "reads"}.get(access.kind, "looks for")
            return kind, _at_home(path, self.home), "what is in a home is nobody else's: name a path in the checkout"
        if access.kind == "look" and (not access.found or path in self._above or os.path.isdir(path)):
            return None
        kind = {"write": "writes", "list": "lists", "read": "reads"}.get(access.kind, "looks at")
        return kind, path, f"declare it as input of {self._rule()} by a path in the checkout, or leave it alone"

    def judge_connections(self, trace: Trace) -> None:
        """Hold every connection against the hosts declared; processes of the stage may talk to each other."""
        self.seen.connections = len(trace.connections)
        for peer in sorted(trace.connections):
            if not self._may_talk_to(peer, trace.listening):
                where = f"{peer.address}:{peer.port}" if peer.port else peer.address
                if peer.port == 53:
                    where += " (a name server)"
                self.find(
                    "connects to", where, "ask only the host of the section's base_url; all else must be an input"
                )

    def _may_talk_to(self, peer: Peer, listening: set[Peer]) -> bool:
        if "*" in self.hosts:
            return True
        if peer.address.startswith(("/", "@")):
            mine = any(_under(peer.address, str(folder)) for folder in (*self.own, self.root))
            return peer.address in UNIX_SOCKETS or mine or peer in listening
        if peer in listening:
            return True
        anywhere = {Peer(address, peer.port) for address in ("0.0.0.0", "::")}  # noqa: S104
        if peer.address in {"127.0.0.1", "::1"} and anywhere & listening:
            return True
        return bool(self.hosts) and (peer.port in {0, 53} or peer.address in _addresses(self.hosts))

    def judge_variables(self, folder: Path) -> None:
        """Hold every variable read against the list; what is not on it no stage sees, but our own code must not ask."""
        names, hidden = set(), set()
        for kind, name, state, reader in _variables(folder):
            if declared(name, self.command):
                names.add(name)
                continue
            if state != "own":
                hidden.add(name)
            typed = reader.startswith("<") and not reader.startswith("<frozen")  # `python -c`, exec
            ours = typed or _under(reader.rpartition(":")[0], str(self.root))
            if kind == "c":
                ours = _under(reader, str(self.root)) or any(word in reader for word in _CALLED_FREELY)
            if (ours and state != "own") or (state == "given" and kind == "python"):
                where = reader.removeprefix(f"{self.root}/")
                self.find(
                    "reads the variable", f"{name} ({where})",
                    "make it a value of params.yaml, or declare it in belle/build/environment.py with a reason",
                )  # fmt: skip
        self.seen.variables, self.seen.hidden = len(names), len(hidden)


@cache
def _addresses(hosts: frozenset[str]) -> frozenset[str]:
    import socket

    found: set[str] = set()
    for host in hosts:
        try:
            found.update(str(entry[4][0]) for entry in socket.getaddrinfo(host, None))
        except OSError:
            continue
    return frozenset(found)


def _at_home(path: str, home: Path) -> str:
    return "~/" + os.path.relpath(path, home)


def _variables(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Lines of the recorders: ``python`` or ``c``, name, state, reader."""
    for kind, pattern in (("python", "variables.*"), ("c", "c-variables.*")):
        for file in sorted(folder.glob(pattern)):
            for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                parts = line.split("\t")
                if len(parts) == 3:
                    yield (kind, *parts)  # type: ignore[misc]
