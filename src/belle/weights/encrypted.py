"""Encrypted files as they lie in a folder: what names, headers, sizes and a manifest say of them without the key."""

import re
from dataclasses import dataclass
from pathlib import Path

from belle.errors import InputError
from belle.weights import manifest
from belle.weights.key import placeholder
from belle.weights.manifest import Entry, Manifest
from belle.weights.xor import HEADER

_NAMED = re.compile(r"(?P<name>.+)\.(?P<sha256>[0-9a-f]{64})\.enc", re.DOTALL)
_NEARLY = re.compile(r".+\.(?P<part>[0-9a-fA-F]{16,})\.enc", re.DOTALL)
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.[a-z]+)")
_ORDER = "the order is: belle decrypt ENCRYPTED KEY OUT_DIR"


@dataclass(frozen=True)
class Encrypted:
    """An encrypted file that has passed the checks that need no key."""

    path: Path
    name: str  # of the plain file, relative to the output folder
    size: int  # of the plain file, in bytes
    sha256: str  # of the plain file, as the header says
    entry: Entry | None


def find(encrypted: Path) -> tuple[list[Encrypted], Manifest | None]:
    """The encrypted files that ``encrypted`` names, and the manifest beside them, checked against each other.

    Raises:
        InputError: there are none, one is not what it should be, or the folder is not complete.
    """
    paths = _paths(encrypted)
    whole = encrypted.is_dir()
    base = encrypted if whole else encrypted.parent
    known = manifest.read(base)
    found = [_checked(path, base, known) for path in paths]
    if whole:
        _check_complete(found, known, base)
    return found, known


def _paths(encrypted: Path) -> list[Path]:
    if encrypted.is_dir():
        paths = sorted(path for path in encrypted.rglob("*.enc") if path.is_file())
        if paths:
            return paths
        raise InputError(
            "no .enc file in this folder",
            where=str(encrypted),
            cause="the arguments have changed places, or a download that failed",
            fix=_ORDER,
        )
    if not encrypted.is_file():
        raise InputError("there is no such file or folder", where=str(encrypted), fix="check the path")
    if encrypted.suffix != ".enc":
        raise InputError(
            "not an .enc file",
            where=str(encrypted),
            cause="the arguments have changed places, or the file was renamed",
            fix=_ORDER,
        )
    return [encrypted]


def _checked(path: Path, base: Path, known: Manifest | None) -> Encrypted:
    relative, size = path.relative_to(base).as_posix(), path.stat().st_size
    named = _NAMED.fullmatch(relative)
    _check_form(path, size, named["sha256"] if named else "")
    with open(path, "rb") as file:
        head = file.read(HEADER).hex()
    entry = next((entry for entry in known.files if entry.encrypted_name == relative), None) if known else None
    name = entry.name if entry else named["name"] if named else relative.removesuffix(".enc")
    if named and named["sha256"] != head:
        raise InputError(
            f"the name says sha256 {named['sha256']}, the header says {head}",
            where=str(path),
            cause=_whose(head, path, base, known) or "a renamed file, or a damaged download",
            fix="download it again under its own name",
        )
    if not named and (nearly := _NEARLY.fullmatch(relative)) and not entry:
        raise InputError(
            f"the name ends in {nearly['part']}, which is no SHA-256 in hexadecimal: {len(nearly['part'])} "
            "characters where 64 in lower case are meant",
            where=str(path),
            cause="a name that was cut off or changed",
            fix=f"give it its name back, which by its header is NAME.{head}.enc",
        )
    if entry:
        _check_entry(path, size, head, entry)
    return Encrypted(path, name, size - HEADER, head, entry)


def _check_form(path: Path, size: int, named: str) -> None:
    if not size:
        raise InputError(
            "an empty file, of 0 bytes",
            where=str(path),
            cause="a download that failed, or a clone without Git LFS",
            fix="download it again",
        )
    if stands_for := placeholder(path):
        raise InputError(
            f"{stands_for}, not the file itself",
            where=str(path),
            cause="a clone without Git LFS, or a link that leads to a page",
            fix="fetch the file itself: `git lfs pull`, or the page's download link",
        )
    if size < HEADER:
        raise InputError(
            f"truncated: {size} bytes, and the header alone takes {HEADER}",
            where=str(path),
            cause="a download that was cut off",
            fix="download it again, and compare its size with the published one",
        )
    with open(path, "rb") as file:
        head = file.read(HEADER)
    safetensors = head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < size
    plain = head.startswith(b"PK\x03\x04") or safetensors
    if plain and head.hex() != named:
        raise InputError(
            "not encrypted: it begins as a plain weight file does, not with a SHA-256",
            where=str(path),
            cause="the key, or a model's own file, under the name of an encrypted one",
            fix=f"name the folder of the encrypted files; {_ORDER}",
        )


def _check_entry(path: Path, size: int, head: str, entry: Entry) -> None:
    if size != entry.encrypted.bytes:
        short = size < entry.encrypted.bytes
        raise InputError(
            f"{'truncated' if short else 'too long'}: {size:,} bytes, and the manifest says {entry.encrypted.bytes:,}",
            where=str(path),
            cause="a download that was cut off" if short else "another version of the file",
            fix="download it again",
        )
    if entry.plain.sha256 != head:
        raise InputError(
            f"the manifest says sha256 {entry.plain.sha256}, the header says {head}",
            where=str(path),
            cause="the file and the manifest are of different releases, or the download is damaged",
            fix="download both again",
        )


def _whose(head: str, path: Path, base: Path, known: Manifest | None) -> str:
    """Whose contents a file has, where that can be told by another's name."""
    for other in sorted(base.rglob(f"*.{head}.enc")):
        return f"files that changed places: this is what {other.name} should be"
    entry = next((entry for entry in known.files if entry.plain.sha256 == head), None) if known else None
    if entry:
        return f"files that changed places: this is what {entry.encrypted_name} should be"
    return ""


def _check_complete(found: list[Encrypted], known: Manifest | None, base: Path) -> None:
    """Check that each plain name comes once, that no shard is missing, and that files and manifest name each other."""
    first: dict[str, Path] = {}
    for item in found:
        if item.name in first:
            raise InputError(
                f"two files for one name: {first[item.name].name} and {item.path.name}",
                where=str(base),
                cause="two releases in one folder",
                fix="keep the one that you mean",
            )
        first[item.name] = item.path
    missing = []
    if known:
        here = {item.entry.encrypted_name for item in found if item.entry}
        missing = [entry.encrypted_name for entry in known.files if entry.encrypted_name not in here]
        strange = [item.path.name for item in found if not item.entry]
        extra = f"{len(strange)} file(s) that the manifest does not name: {', '.join(strange)}" if strange else ""
        what = f"{len(missing)} file(s) of the manifest missing: {', '.join(missing)}" if missing else ""
    else:
        missing, extra = _missing_shards(first), ""
        what = f"{len(missing)} shard(s) missing: {', '.join(missing)}" if missing else ""
    if what or extra:
        raise InputError(
            "; ".join(filter(None, (what, extra))),
            where=str(base),
            cause="an incomplete download, or files of different releases",
            fix="download the folder again" if missing else "take it out, or download the folder again",
        )


def _missing_shards(names: dict[str, Path]) -> list[str]:
    """Shards that the names of the others promise: 1 of 3 promises two more."""
    parts = [part for part in map(_SHARD.fullmatch, names) if part]
    promised = {
        f"{part['stem']}-{number:05d}-of-{part['count']}{part['ending']}"
        for part in parts
        for number in range(1, int(part["count"]) + 1)
    }
    return sorted(promised - set(names))
