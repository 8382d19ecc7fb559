"""The places that are damaged: the cache, and remotes in a folder, behind a real sshd, on an S3 server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trials.worlds import World

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
