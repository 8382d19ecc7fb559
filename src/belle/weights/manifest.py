"""The manifest of an encrypted folder: every file's and the key's size, SHA-256 and MD5."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from belle.errors import InputError
from belle.files import atomic_file
from belle.weights.streams import Bar, hashed

NAME = "manifest.json"
FORMAT = "belle-xor-1"


@dataclass(frozen=True)
class Digests:
    """What tells one file from another."""

    bytes: int
    sha256: str
    md5: str


@dataclass(frozen=True)
class Key:
    """The identity of the key that a folder was encrypted with."""

    name: str
    bytes: int
    sha256: str
    md5: str


@dataclass(frozen=True)
class Entry:
    """One file: its name and digests before and after. Names are relative, parts separated by ``/``."""

    name: str
    encrypted_name: str
    plain: Digests
    encrypted: Digests


@dataclass(frozen=True)
class Manifest:
    """A folder's key and files, the files in the order of their names."""

    key: Key
    files: tuple[Entry, ...]


def digests_of(path: Path, bar: Bar) -> Digests:
    """Read a file once for its size and both digests."""
    sha256, md5 = hashed(path, bar, "sha256", "md5")
    return Digests(path.stat().st_size, sha256, md5)


def write(folder: Path, manifest: Manifest) -> None:
    """Write ``folder/manifest.json``, the files in the order of their names."""
    files = sorted(manifest.files, key=lambda entry: entry.name)
    data = {"format": FORMAT, "key": asdict(manifest.key), "files": [asdict(entry) for entry in files]}
    with atomic_file(folder / NAME) as file:
        file.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def read(folder: Path) -> Manifest | None:
    """Read ``folder/manifest.json``; None where there is none, or one of something else.

    Raises:
        InputError: not JSON, fields are missing or of the wrong type, or a name leads out of the folder.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _broken(path, f"not JSON: {error}") from None
    if not isinstance(data, dict) or "format" not in data:
        return None
    if data["format"] != FORMAT:
        raise _broken(path, f"format {data['format']!r}, where this version of belle reads {FORMAT!r}")
    try:
        key = Key(**data["key"])
        files = tuple(
            Entry(
                name=entry["name"],
                encrypted_name=entry["encrypted_name"],
                plain=Digests(**entry["plain"]),
                encrypted=Digests(**entry["encrypted"]),
            )
            for entry in data["files"]
        )
    except (KeyError, TypeError) as error:
        raise _broken(path, f"a field is missing or unknown: {error}") from None
    _check_digests(path, key)
    for entry in files:
        _check_digests(path, entry.plain)
        _check_digests(path, entry.encrypted)
    for name in (name for entry in files for name in (entry.name, entry.encrypted_name)):
        if not is_safe(name):
            raise _broken(path, f"the name {name!r} leads out of the folder")
    return Manifest(key, files)


def is_safe(name: Any) -> bool:
    """Whether a relative name stays in its folder and is spelt in one way."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name != "."


def _check_digests(path: Path, digests: Digests | Key) -> None:
    size = digests.bytes
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not whole or not re.fullmatch(r"[0-9a-f]{64}", str(digests.sha256)):
        raise _broken(path, f"not a size and a SHA-256 in hexadecimal: {size!r}, {digests.sha256!r}")


def _broken(path: Path, what: str) -> InputError:
    return InputError(
        what, where=str(path), cause="a damaged download, or a manifest changed by hand", fix="download it again"
    )
