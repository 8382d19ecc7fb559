"""The files that a path names: one file, or those of a folder that hold rows."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from belle.errors import InputError
from belle.files import not_there, open_input, require_file

CONTAINERS = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".txt": "txt",
}  # fmt: skip
"""Ending → how the rows lie in a file."""
COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".zip": "zip"}
"""Ending → how a file is compressed; a zip is a folder of files."""
ENDINGS = ", ".join([*CONTAINERS, *COMPRESSIONS])


@dataclass(frozen=True)
class Source:
    """One file: where it lies here, the name by which rows remember it, its container and its compression."""

    path: Path
    name: str
    container: str
    compression: str

    def card(self) -> dict[str, str | int]:
        """What identifies the file, wherever it lies: name, bytes, SHA-256."""
        with open_input(self.path, "data set") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            return {"name": self.name, "bytes": file.tell(), "sha256": digest}


def kind_of(name: str) -> tuple[str, str] | None:
    """Container and compression by a file's ending (``""``: not compressed; a zip has no container); else None."""
    stem, ending = os.path.splitext(name.lower())
    if ending == ".zip":
        return "", "zip"
    if ending in COMPRESSIONS:
        container = CONTAINERS.get(os.path.splitext(stem)[1], "")
        return (container, COMPRESSIONS[ending]) if container else None
    return (CONTAINERS[ending], "") if ending in CONTAINERS else None


def find(path: Path) -> tuple[list[Source], list[str]]:
    """The files of ``path`` in the order of their names, and the names of those in a folder that hold no rows.

    Names are relative to a folder that was given; so they are the same on every machine. Hidden files are passed over.

    Raises:
        InputError: nothing is there, it cannot be read, or no file in it has an ending that holds rows.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            require_file(path, "data set")
            return [_source(path, path.name)], []
        names = sorted(_below(path))
    except PermissionError as error:
        raise InputError(
            f"may not be read: {error.strerror}",
            where=str(error.filename or path),
            cause="a file or a folder of another user",
            fix=f"give yourself the right: chmod -R u+rX {path}",
        ) from None
    found = [_source(path / name, name) for name in names if kind_of(name)]
    if not found:
        there = f"there are {', '.join(names[:5])}" if names else "it is empty"
        raise InputError(
            f"no file of rows in this folder: {there}",
            where=str(path),
            cause="the wrong folder, or one that was not brought here whole",
            fix=f"name a folder with files that end in one of {ENDINGS}",
        )
    for source in found:
        require_file(source.path, "data set")
    return found, [name for name in names if not kind_of(name)]


def _below(folder: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise error

    for where, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            if name.endswith(".dvc") and not Path(where, name[:-4]).exists():
                raise not_there(Path(where, name[:-4]), "there is no such file", "")
            yield Path(where, name).relative_to(folder).as_posix()


def _source(path: Path, name: str) -> Source:
    if not name.isprintable():
        raise InputError(
            f"the file's name {name!r} is not UTF-8, or holds a line end",
            where=str(path.parent),
            cause="an archive that was packed under another encoding",
            fix="rename the file",
        )
    kind = kind_of(name)
    if kind is None:
        raise InputError(
            f"the ending of {path.name} names no container of rows",
            where=str(path),
            cause="an archive that must be unpacked first, or a file of another kind",
            fix=f"give it one of the endings {ENDINGS} (as .jsonl.gz), by what is in it",
        )
    return Source(path, name, *kind)
