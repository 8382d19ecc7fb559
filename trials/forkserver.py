"""Commands in processes forked from one that has imported their packages: trials spend their time on builds.

``python -m X``, ``belle``, ``dvc`` and ``snakemake`` still run in a process of their own each, with their own
arguments, folder, environment and streams; none of our own modules is imported before the fork. ``Forkserver.path`` is
a folder to put in front of PATH: the commands in it hand themselves over to the server.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

PRELOADED = (
    "snakemake.api", "snakemake.cli", "snakemake.dag", "snakemake.executors.local", "snakemake.scheduling",
    "snakemake.logging", "snakemake.profiles", "snakemake.storage", "snakemake.report.html_reporter", "smart_open",
    "docutils.core", "docutils.writers", "docutils.parsers.rst.directives.images", "pygments.lexers", "yte", "graphlib",
    "configobj", "dulwich.porcelain", "scmrepo.git", "scmrepo.git.backend.dulwich", "scmrepo.git.backend.gitpython",
    "dvc.ignore", "dvc.scm", "dvc.repo.index", "dvc.repo.checkout", "dvc.repo.fetch", "dvc.data_cloud",
    "snakemake.persistence.file", "snakemake_interface_executor_plugins.registry",
    "dvc.cli", "dvc.cli.parser", "dvc.repo", "dvc.repo.reproduce", "dvc.repo.status", "dvc.commands.repro",
    "dvc.commands.status", "dvc.stage.cache", "dvc.dependency", "dvc.output", "dvc_data.index", "dvc_data.hashfile.db",
    "dvc_objects.db", "networkx", "voluptuous", "ruamel.yaml", "pydantic", "yaml", "numpy", "pandas", "aiohttp",
    "openai", "tqdm", "psutil", "sentencepiece", "tokenizers", "safetensors.torch", "torch", "torch._dynamo",
    "torch.distributed.tensor", "transformers", "transformers.modeling_utils", "transformers.generation.utils",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto", "peft", "accelerate",
    "transformers.trainer_utils", "transformers.data.data_collator", "aiohttp.web", "pyarrow.parquet", "datasets",
    "datasets.packaged_modules", "optimum", "deepspeed", "deepspeed.ops", "setuptools",
)  # fmt: skip
"""Imported before the first fork. gptqmodel is not: it starts threads, which a fork would lose."""

CLIENT = """#!{python} -SE
import array, json, os, socket, sys
words = sys.argv
name = os.path.basename(words[0])
if name == "python" and words[1:2] != ["-m"]:
    os.execv({python!r}, [{python!r}, *words[1:]])
s = socket.socket(socket.AF_UNIX)
s.connect({socket!r})
data = json.dumps({{"name": name, "words": words[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}).encode()
s.sendmsg([len(data).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
s.sendall(data)
reply = s.recv(8)
os._exit(reply[0] if reply else 137)
"""


class Forkserver:
    """The server as a child process of this one, and the folder of its commands; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="belle-forkserver-")
        self.path = Path(self._folder.name) / "bin"
        self._socket = Path(self._folder.name) / "socket"

    def __enter__(self) -> Forkserver:
        from belle.stages import SAME_BYTES  # here: the server, which is this file as well, imports nothing of ours

        self.path.mkdir()
        client = CLIENT.format(python=sys.executable, socket=str(self._socket))
        for name in ("python", "belle", "dvc", "snakemake"):
            (self.path / name).write_text(client, encoding="utf-8")
            (self.path / name).chmod(0o755)
        command = [sys.executable, "-m", "trials.forkserver", str(self._socket), str(self.path / "python")]
        # what a library reads when it is imported must be what a stage would have set
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment = {**os.environ, **threads, **SAME_BYTES, "HF_HUB_OFFLINE": "1"}
        self._server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        while not self._socket.exists():
            if self._server.poll() is not None:
                raise RuntimeError("the fork server ended before it could serve")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait(20)
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of a command that the server shall run."""
        return {"PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}"}


def _run(order: dict[str, Any], shim: str) -> None:
    """In the forked child: become the command that was asked for."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.executable = shim
    if calls := os.environ.get("BELLE_TRIAL_CALLS"):
        _record_calls(Path(calls), order["env"]["PYTHONPATH"].partition(os.pathsep)[0])
    ours = [item for item in order["env"].get("PYTHONPATH", "").split(os.pathsep) if item]
    if order["name"] == "dvc" or order["words"][:2] == ["-m", "dvc"]:
        _remember_yaml()
    if order["name"] == "python":
        module, arguments = order["words"][1], order["words"][2:]
        sys.path[:0] = [order["cwd"], *ours]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    sys.path[:0] = ours
    sys.argv = [str(Path(shim).with_name(order["name"])), *order["words"]]
    sys.exit(importlib.import_module(f"{order['name']}.cli").main())


def _remember_yaml() -> None:
    """DVC parses params.yaml anew for every stage, most of its time: the same text is parsed once in a process."""
    import copy

    from dvc.utils.serialize import _yaml

    parse, known = _yaml.parse_yaml, dict[tuple[Any, ...], Any]()

    def parse_once(text: str, path: Any, *rest: Any, **options: Any) -> Any:
        key = (text, str(path), rest, tuple(sorted(options.items())))
        if key not in known:
            known[key] = parse(text, path, *rest, **options)
        return copy.deepcopy(known[key])

    _yaml.parse_yaml = parse_once


def _record_calls(folder: Path, source: str) -> None:
    """Keep which functions under ``source`` this process executes; they are written out when it ends."""
    import atexit

    prefix, seen = f"{source}/", set[tuple[str, str]]()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            seen.add((frame.f_code.co_filename.removeprefix(prefix), frame.f_code.co_qualname))

    def write() -> None:
        sys.setprofile(None)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.getpid()}.json").write_text(json.dumps(sorted(seen)), encoding="utf-8")

    atexit.register(write)
    threading.setprofile(note)
    sys.setprofile(note)


def _child(order: dict[str, Any], descriptors: list[int], shim: str) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", errors="surrogateescape", closefd=False, buffering=1)  # noqa: SIM115
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    status = 1
    try:
        _run(order, shim)
        status = 0
    except SystemExit as end:
        code = end.code
        status = code if isinstance(code, int) else 0 if code is None else 1
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        _at_exit()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 255)


def _at_exit() -> None:
    import atexit

    atexit._run_exitfuncs()


def _serve(connection: socket.socket, listener: socket.socket, shim: str) -> None:
    """In the process between server and command: run it, report its status, end it when its client goes."""
    listener.close()
    rights = array.array("i")
    head, control, *_ = connection.recvmsg(8, socket.CMSG_SPACE(3 * rights.itemsize))
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            rights.frombytes(data)
    (length,) = struct.unpack("<Q", head)
    data = b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    child = os.fork()
    if child == 0:
        connection.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        _child(json.loads(data), list(rights), shim)
    for descriptor in rights:
        os.close(descriptor)

    def watch() -> None:
        if not connection.recv(1):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def main(path: str, shim: str) -> None:
    """Preload, then fork for every connection."""
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"forkserver: {name} could not be imported", file=sys.stderr)
    assert not any(name == "belle" or name.startswith("belle.") for name in sys.modules)
    if (count := threading.active_count()) > 1:
        raise RuntimeError(f"{count} threads after the imports: {threading.enumerate()}")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(64)
    os.rename(path + ".new", path)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve(connection, listener, shim)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
