"""Plant faults in a cache and in remotes (local, ssh, S3), and count those that `belle cache` finds, names and heals.

    python -m trials.corruption --faults 60 --out docs/trials/corruption.md

The ssh server is a real sshd on a high port with keys of its own; S3's protocol is spoken by moto's server. Both are
started by the trial and end with it. Every fault is planted alone in a place that was right before, and healed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fsspec.spec import AbstractFileSystem

from belle.build import check
from belle.files import atomic_file
from trials.worlds import World, built_miniature, copy_world

BUCKET = "belle"


class Place:
    """A cache or remote whose files can be damaged behind DVC's back."""

    def __init__(self, name: str, remote: str) -> None:
        self.name, self.remote = name, remote

    def names(self) -> list[str]:
        """Paths of its files: ``files/md5/ab/…`` and ``runs/ab/…/…``."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        raise NotImplementedError

    def write(self, name: str, content: bytes | None) -> None:
        """Set a file's bytes; None removes it."""
        raise NotImplementedError


class Folder(Place):
    """The local cache, and remotes whose files lie in a folder here (local; behind the sshd)."""

    def __init__(self, name: str, remote: str, folder: Path) -> None:
        super().__init__(name, remote)
        self.folder = folder

    def names(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder))
            for part in ("files/md5", "runs")
            for path in (self.folder / part).rglob("*")
            if path.is_file()
        )

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes | None) -> None:
        path = self.folder / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o444)


class Bucket(Place):
    """A remote on a server that speaks S3's protocol."""

    def __init__(self, name: str, remote: str, endpoint: str) -> None:
        super().__init__(name, remote)
        import boto3

        self.client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="trial", aws_secret_access_key="trial",  # noqa: S106
        )  # fmt: skip

    def names(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="dvc/")
        return sorted(item["Key"].removeprefix("dvc/") for page in pages for item in page.get("Contents", []))

    def read(self, name: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=f"dvc/{name}")["Body"].read()

    def write(self, name: str, content: bytes | None) -> None:
        if content is None:
            self.client.delete_object(Bucket=BUCKET, Key=f"dvc/{name}")
        else:
            self.client.put_object(Bucket=BUCKET, Key=f"dvc/{name}", Body=content)


def flipped(content: bytes, chance: random.Random) -> bytes:
    """One bit other than it was."""
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def plant(place: Place, kind: str, name: str, chance: random.Random) -> None:
    """Do one damage to one file."""
    content = place.read(name)
    if kind in ("bit flipped", "folder's list: bit flipped", "run-cache entry: bit flipped"):
        place.write(name, flipped(content, chance))
    elif kind in ("truncated", "folder's list truncated", "run-cache entry truncated"):
        place.write(name, content[: chance.randrange(len(content))])
    elif kind == "emptied":
        place.write(name, b"")
    elif kind == "missing":
        place.write(name, None)
    elif kind == "another's bytes":
        others = [other for other in place.names() if other.startswith("files/") and other != name]
        place.write(name, place.read(chance.choice(others)))
    elif kind == "run-cache entry: garbage":
        place.write(name, chance.randbytes(200))
    elif kind == "not readable by its owner":
        assert isinstance(place, Folder)
        (place.folder / name).chmod(0)
    elif kind == "a folder in its place":
        assert isinstance(place, Folder)
        place.write(name, None)
        (place.folder / name).mkdir()
        (place.folder / name / "inside").write_text("x")
    else:
        raise ValueError(kind)


OBJECT = ("bit flipped", "truncated", "emptied", "missing", "another's bytes")
LIST = ("folder's list: bit flipped", "folder's list truncated")
RUN = ("run-cache entry: bit flipped", "run-cache entry truncated", "run-cache entry: garbage")
FILES_ONLY = ("not readable by its owner", "a folder in its place")


def kinds(place: Place) -> tuple[str, ...]:
    """The damages that a place can suffer: S3 has no modes and no folders."""
    return (*OBJECT, *LIST, *RUN, *(FILES_ONLY if isinstance(place, Folder) else ()))


def suitable(place: Place, kind: str) -> list[str]:
    """The files that a kind of damage is done to."""
    names = place.names()
    if kind in RUN:
        return [name for name in names if name.startswith("runs/")]
    lists = [name for name in names if name.endswith(".dir")]
    return lists if kind in LIST else [name for name in names if name.startswith("files/") and name not in lists]


def shown(name: str) -> str:
    """The name by which `belle cache` calls a file."""
    parts = name.split("/")
    return "".join(parts[2:]) if parts[0] == "files" else "/".join(parts[2:])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _await(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{what} does not answer")


@contextmanager
def _running(command: list[str], port: int, what: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await(port, process, what)
            yield
        finally:
            process.terminate()


@contextmanager
def s3(world: World) -> Iterator[Bucket]:
    """A remote ``s3`` of the world on moto's server."""
    port = _free_port()
    server = str(Path(sys.executable).parent / "moto_server")
    with _running([server, "-H", "127.0.0.1", "-p", str(port)], port, "moto_server"):
        endpoint = f"http://127.0.0.1:{port}"
        place = Bucket("S3 remote", "s3", endpoint)
        place.client.create_bucket(Bucket=BUCKET)
        world.run("dvc", "remote", "add", "--local", "s3", f"s3://{BUCKET}/dvc")
        for key, value in {"endpointurl": endpoint, "access_key_id": "trial", "secret_access_key": "trial",
                           "verify": "true", "region": "us-east-1"}.items():  # fmt: skip
            world.run("dvc", "remote", "modify", "--local", "s3", key, value)
        yield place


@contextmanager
def ssh(world: World, folder: Path) -> Iterator[Folder]:
    """A remote ``ssh`` of the world behind an sshd with keys of its own."""
    port, keys, data = _free_port(), folder / "keys", folder / "ssh-data"
    keys.mkdir(mode=0o700)
    data.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    shutil.copyfile(keys / "user.pub", keys / "authorized")
    (keys / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys / 'host'}\nAuthorizedKeysFile {keys / 'authorized'}\n"
        f"PidFile {keys / 'pid'}\nPasswordAuthentication no\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    with _running(["/usr/sbin/sshd", "-D", "-e", "-f", str(keys / "config")], port, "sshd"):
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        world.run("dvc", "remote", "add", "--local", "ssh", f"ssh://{user}@127.0.0.1:{port}{data}")
        world.run("dvc", "remote", "modify", "--local", "ssh", "keyfile", str(keys / "user"))
        world.run("dvc", "remote", "modify", "--local", "ssh", "verify", "true")
        yield Folder("ssh remote", "ssh", data)


def looked_at(place: Place) -> check.Found:
    """What `belle cache` sees there now, with nothing remembered of an earlier look."""
    pending = [AbstractFileSystem]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        kind.clear_instance_cache()
    return check.check(place.remote, lambda items, _: items)


def one(place: Place, kind: str, chance: random.Random) -> dict[str, object]:
    """Plant one fault; say whether it was found under its name, and whether healing left the place whole."""
    name = chance.choice(suitable(place, kind))
    before = place.read(name)
    plant(place, kind, name, chance)
    faults = looked_at(place).faults
    named = any(fault.name == shown(name) for fault in faults)
    found = looked_at(place)
    for fault in found.faults:
        found.heal(fault)
    left = looked_at(place).faults
    try:
        same = place.read(name) == before
    except Exception:
        same = False
    # a run-cache entry is no artifact: where the next build or push writes it anew, the place is whole without it
    healed = not left and (same or kind in RUN)
    if not same:
        _put_back(place, name, before)
    return {"place": place.name, "kind": kind, "found": named, "healed": healed}


def _put_back(place: Place, name: str, content: bytes) -> None:
    if isinstance(place, Folder):
        path = place.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    place.write(name, content)


def trial(faults: int, seed: int, seconds: float, say: Callable[[str], None] = print) -> list[dict[str, object]]:
    """Plant ``faults`` faults, spread over all places and kinds; ends early, between two, after ``seconds``."""
    chance, begin = random.Random(seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="belle-corruption-"))
    results: list[dict[str, object]] = []
    try:
        with ExitStack() as stack:
            world = copy_world(built_miniature(), folder / "world")
            places: list[Place] = [
                Folder("cache", "", world.folder / ".dvc/cache"),
                Folder("local remote", "public", folder / "remote"),
                stack.enter_context(ssh(world, folder)),
                stack.enter_context(s3(world)),
            ]
            for name in ("public", "ssh", "s3"):
                world.run("dvc", "push", "-q", "--run-cache", "-r", name)
            stack.callback(os.chdir, os.getcwd())
            os.chdir(world.folder)
            pairs = [(place, kind) for place in places for kind in kinds(place)]
            todo = [pairs[number % len(pairs)] for number in range(faults)]
            for number, (place, kind) in enumerate(todo, 1):
                if time.monotonic() - begin > seconds:
                    say(f"stopped after {number - 1} of {faults}: the time is up")
                    break
                results.append(one(place, kind, chance))
                say(f"{number}/{faults} {results[-1]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def report(results: list[dict[str, object]], seed: int, seconds: float) -> str:
    """The document: a table by place and kind, and the totals."""
    rows: dict[tuple[object, object], list[dict[str, object]]] = {}
    for result in results:
        rows.setdefault((result["place"], result["kind"]), []).append(result)

    def count(some: list[dict[str, object]], what: str) -> int:
        return sum(bool(result[what]) for result in some)

    lines = [
        "# Faults planted in the cache and in remotes",
        "",
        f"`python -m trials.corruption --faults {len(results)} --seed {seed}`: "
        f"{count(results, 'found')} of {len(results)} "
        f"found and named by `belle cache`, {count(results, 'healed')} healed by `--heal`, in {seconds:.0f} s. "
        "ssh is a real sshd; S3's protocol is moto's server. Each fault was planted alone.",
        "",
        "| place | damage | planted | found | healed |",
        "|---|---|--:|--:|--:|",
        *(
            f"| {place} | {kind} | {len(some)} | {count(some, 'found')} | {count(some, 'healed')} |"
            for (place, kind), some in sorted(rows.items(), key=str)
        ),
        f"| all | | {len(results)} | {count(results, 'found')} | {count(results, 'healed')} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the trial; 1 where a fault was missed or not healed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    begin = time.monotonic()
    results = trial(args.faults, args.seed, args.seconds)
    text = report(results, args.seed, time.monotonic() - begin)
    print(text)
    if args.out and results:
        with atomic_file(args.out) as file:
            file.write(text)
    return 0 if results and all(result["found"] and result["healed"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
