"""What a command and all that it starts ask of the kernel: files read, written, listed and looked for, connections."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from belle.errors import BelleError

Kind = Literal["read", "write", "list", "look"]
"""``look``: asked whether it is there, or what it is, without reading it."""

_CALLS = "%file,getdents,getdents64,connect,bind,listen,getsockname,sendto,sendmsg,sendmmsg"

_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\w+)(?:<((?:[^>\\]|\\.)*)>)?(?: ([A-Z]+))?")
_PATH = re.compile(r'(?:(AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')
_SOCKET = re.compile(r"\d+<socket:\[(\d+)\]>")
_INET = re.compile(
    r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)", &sin6_addr\))'
)
_UNIX = re.compile(r'sa_family=AF_UNIX, sun_path=(@?"(?:[^"\\]|\\.)*")')
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))")

_OPENS = {"open", "openat", "openat2", "creat"}
_CHANGES = {
    "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat",
    "truncate", "mknod", "mknodat", "setxattr", "lsetxattr", "removexattr", "lremovexattr",
}  # fmt: skip
_MISSING = {"ENOENT", "ENOTDIR"}


class Access(NamedTuple):
    """One way in which a path was touched. ``found`` is False where nothing was there."""

    kind: Kind
    path: str
    found: bool


class Peer(NamedTuple):
    """The other end of a connection: a host's address and port, or a socket's path and port 0."""

    address: str
    port: int


@dataclass
class Trace:
    """Everything one command did; ``listening``: the addresses at which its own processes took connections."""

    status: int = 0
    accesses: set[Access] = field(default_factory=set)
    connections: set[Peer] = field(default_factory=set)
    listening: set[Peer] = field(default_factory=set)


def require() -> str:
    """The path of strace.

    Raises:
        BelleError: it is not here.
    """
    found = shutil.which("strace")
    if not found:
        raise BelleError("strace is not here", cause="it is a package of the system", fix="apt-get install strace")
    return found


def trace(command: list[str], folder: Path, environment: Mapping[str, str], notes: Path, log: Path) -> Trace:
    """Run ``command`` in ``folder`` and say what it did; a file per thread is left in ``notes``, its words in ``log``.

    Raises:
        BelleError: strace is not here or may not trace.
    """
    shutil.rmtree(notes, ignore_errors=True)
    notes.mkdir(parents=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    options = ["-f", "-ff", "--seccomp-bpf", "-y", "-qq", "-e", "signal=none", "-o", str(notes / "thread")]
    with open(log, "wb") as words:
        ended = subprocess.run(
            [require(), *options, "-e", f"trace={_CALLS}", "--", *command],
            cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
    files = sorted(notes.glob("thread.*"))
    if not any(file.stat().st_size for file in files):
        raise BelleError(
            "strace could not trace", where=str(log), cause="this system forbids ptrace (a container may)",
            fix="run where processes may be traced, such as a container started with --cap-add=SYS_PTRACE",
        )  # fmt: skip
    found = read(files, folder)
    found.status = ended.returncode
    return found


def read(files: list[Path], folder: Path) -> Trace:
    """The trace in strace's files, one per thread, of a command started in ``folder``."""
    found = Trace()
    bound: dict[str, Peer] = {}
    listeners: set[str] = set()
    for file in files:
        cwd = str(folder)
        for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            if not (match := _LINE.match(line)):
                continue
            call, words, result, target, error = match.groups()
            if call in {"connect", "sendto", "sendmsg", "sendmmsg"}:
                found.connections.update(_peers(words))
            elif call in {"bind", "listen", "getsockname"}:
                socket = _SOCKET.match(words)
                if socket and call == "listen":
                    listeners.add(socket[1])
                elif socket:
                    bound.update((socket[1], peer) for peer in _peers(words))
            else:
                cwd = _cwd(call, words, result, cwd)
                for access in _accesses(call, words, result, target, error or "", cwd):
                    found.accesses.add(access)
    found.listening = {bound[socket] for socket in listeners if socket in bound}
    return found


def _text(escaped: str) -> str:
    def plain(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal, 8) if octal else int(hexadecimal, 16)])
        return {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}.get(letter, letter)

    return os.fsdecode(_ESCAPE.sub(plain, os.fsencode(escaped)))


def _peers(words: str) -> Iterator[Peer]:
    for port, four, six in _INET.findall(words):
        yield Peer((four or six).removeprefix("::ffff:"), int(port))
    for path in _UNIX.findall(words):
        yield Peer(("@" if path.startswith("@") else "") + _text(path.strip('@"')), 0)


def _cwd(call: str, words: str, result: str, cwd: str) -> str:
    if here := re.search(r"AT_FDCWD<((?:[^>\\]|\\.)*)>", words):
        return _text(here[1])
    if call == "chdir" and result == "0" and (match := _PATH.search(words)):
        return os.path.normpath(os.path.join(cwd, _text(match[3])))
    return cwd


def _paths(words: str, cwd: str) -> list[str]:
    found = []
    for number, base, escaped in _PATH.findall(words):
        if escaped:  # an empty path is the open file itself
            start = _text(base) if number else cwd
            found.append(os.path.normpath(os.path.join(start, _text(escaped))))
    return found


def _accesses(call: str, words: str, result: str, target: str | None, error: str, cwd: str) -> Iterator[Access]:
    if call.startswith("getdents"):
        if listed := re.match(r"\d+<((?:[^>\\]|\\.)*)>", words):
            yield Access("list", _text(listed[1]), True)
        return
    paths = _paths(words, cwd)
    failed, missing = bool(error), error in _MISSING
    if call == "execve" or call.startswith("readlink"):
        paths = paths[:1]
    elif call.startswith("symlink"):
        paths = paths[-1:]
    for path in paths:
        if failed:
            yield Access("look", path, not missing)
        elif call in _OPENS:
            yield from _opened(call, words, path, _text(target) if target else path)
        elif call in _CHANGES:
            yield Access("write", path, True)
        else:
            yield Access("read" if call == "execve" else "look", path, True)


def _opened(call: str, words: str, path: str, target: str) -> Iterator[Access]:
    if "O_PATH" in words or "O_DIRECTORY" in words:
        yield Access("look", path, True)
        return
    written = call == "creat" or any(flag in words for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    if not written or "O_RDWR" in words:
        yield Access("read", path, True)
    if written:
        yield Access("write", path, True)
    if target != path and target.startswith("/"):  # by a link, or through /proc: what it leads to counts, too
        yield Access("write" if written else "read", os.path.normpath(target.removesuffix(" (deleted)")), True)
