"""Decrypt a released model with its base as the key, and say what is wrong where that cannot be done."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from belle.errors import BelleError, InputError
from belle.files import atomic_file, atomic_folder, sha256_of
from belle.weights import manifest
from belle.weights.key import LLAMA_7B, find_key, why_wrong
from belle.weights.manifest import Bar, Entry, Manifest
from belle.weights.target import check_replaceable, check_space, check_target
from belle.weights.xor import CHUNK, HEADER, KeyStream, read_full, xored

_NAMED = re.compile(r"(?P<name>.+)\.(?P<sha256>[0-9a-f]{64})\.enc", re.DOTALL)
_AGAIN = "download it again, and compare its size with the published one"


@dataclass(frozen=True)
class _Item:
    """An encrypted file that has passed the checks that need no key."""

    path: Path
    name: str  # of the plain file, relative to the output folder
    sha256: str  # of the plain file, as the header says
    entry: Entry | None


def decrypt(*, encrypted: Path, key: Path, out: Path) -> None:
    """Write the plain file of each ``.enc`` file of ``encrypted`` into the folder ``out``.

    All that can be checked without work is checked first: names against headers, sizes, completeness and the key's
    identity against ``manifest.json``, where that lies beside the files. A file gets its name only when its SHA-256
    is the header's. A folder's output appears whole or not at all; a single file is added to what ``out`` holds.

    Args:
        encrypted: an ``.enc`` file, or a folder of them; its other files are passed over.
        key: the key file, or a folder: then its largest weight file.
        out: the folder for the plain files.

    Raises:
        InputError: a file or the key is not what it should be; nothing was written.
        BelleError: a digest does not hold after decryption, or the disk is too small; nothing is left behind.
    """
    encrypted, out = Path(encrypted), Path(out)
    whole = encrypted.is_dir()
    paths = _encrypted_files(encrypted)
    base = encrypted if whole else encrypted.parent
    known = manifest.read(base)
    items = [_checked(path, base, known) for path in paths]
    if whole:
        _check_complete(items, known, base)
        check_replaceable(out, [item.name for item in items])
    key_file = find_key(key)
    check_target(out, sources=[encrypted])
    if not whole and (out / items[0].name).exists() and (out / items[0].name).samefile(key_file):
        raise InputError("the output would overwrite the key", where=str(key_file), fix="name another folder")
    sizes = sum(item.path.stat().st_size - HEADER for item in items)
    check_space(out, sizes)
    key_size = key_file.stat().st_size
    used = known if any(item.entry for item in items) else None
    total = sizes + (key_size if used else 0)
    with tqdm(desc="decrypt", total=total, unit="B", unit_scale=True, mininterval=1, delay=1) as bar:
        if used:
            _check_key(key_file, used, bar)
        with open(key_file, "rb", buffering=0) as file, _folder(out, whole) as folder:
            stream = KeyStream(file, chunk=CHUNK)
            for item in items:
                _decrypt_file(item, stream, key_file, folder, bar)


@contextmanager
def _folder(out: Path, whole: bool) -> Iterator[Path]:
    """The folder to write to: a temporary one that takes ``out``'s place, or ``out``, removed if it stays empty."""
    if whole:
        with atomic_folder(out) as folder:
            yield folder
        return
    made = not out.exists()
    try:
        yield out
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _encrypted_files(encrypted: Path) -> list[Path]:
    if encrypted.is_dir():
        paths = sorted(path for path in encrypted.rglob("*.enc") if path.is_file())
        if paths:
            return paths
        raise InputError(
            "no .enc file in this folder",
            where=str(encrypted),
            cause="the arguments have changed places, or a download that failed",
            fix="the order is: belle decrypt ENCRYPTED KEY OUT_DIR",
        )
    if not encrypted.is_file():
        raise InputError("there is no such file or folder", where=str(encrypted), fix="check the path")
    if encrypted.suffix != ".enc":
        raise InputError(
            "not an .enc file",
            where=str(encrypted),
            cause="the arguments have changed places, or the file was renamed",
            fix="the order is: belle decrypt ENCRYPTED KEY OUT_DIR",
        )
    return [encrypted]


def _checked(path: Path, base: Path, known: Manifest | None) -> _Item:
    """Check all that can be known of one file without the key."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEADER)
    if head.startswith((b"version https://git-lfs", b"<!DOCTYPE", b"<!doctype", b"<html")):
        kind = "a Git LFS pointer" if head.startswith(b"version") else "a web page"
        raise InputError(
            f"{kind}, not the file itself",
            where=str(path),
            cause="a clone without Git LFS, or a link that leads to a page",
            fix="fetch the file itself: `git lfs pull`, or the page's download link",
        )
    if size < HEADER:
        raise InputError(
            f"truncated: {size} bytes, and the header alone takes {HEADER}",
            where=str(path),
            cause="a download that was cut off",
            fix=_AGAIN,
        )
    relative = path.relative_to(base).as_posix()
    named = _NAMED.fullmatch(relative)
    name = named["name"] if named else relative.removesuffix(".enc")
    if named and named["sha256"] != head.hex():
        raise InputError(
            f"the name says sha256 {named['sha256']}, the header says {head.hex()}",
            where=str(path),
            cause="files that changed places, a renamed file, or a damaged download",
            fix="download it again under its own name",
        )
    entry = next((entry for entry in known.files if entry.encrypted_name == relative), None) if known else None
    if entry:
        name = entry.name
        if size != entry.encrypted.bytes:
            raise InputError(
                f"{'truncated' if size < entry.encrypted.bytes else 'too long'}: {size:,} bytes, and the manifest "
                f"says {entry.encrypted.bytes:,}",
                where=str(path),
                cause="a download that was cut off" if size < entry.encrypted.bytes else "another version of the file",
                fix="download it again",
            )
        if entry.plain.sha256 != head.hex():
            raise InputError(
                f"the manifest says sha256 {entry.plain.sha256}, the header says {head.hex()}",
                where=str(path),
                cause="the file and the manifest are of different releases, or the download is damaged",
                fix="download both again",
            )
    return _Item(path, name, head.hex(), entry)


def _check_complete(items: list[_Item], known: Manifest | None, base: Path) -> None:
    """Check that each plain name comes once, and that files and manifest name each other."""
    first: dict[str, Path] = {}
    for item in items:
        if item.name in first:
            raise InputError(
                f"two files for one name: {first[item.name].name} and {item.path.name}",
                where=str(base),
                cause="two releases in one folder",
                fix="keep the one that you mean",
            )
        first[item.name] = item.path
    if known is None:
        return
    here = {item.entry.encrypted_name for item in items if item.entry}
    missing = [entry.encrypted_name for entry in known.files if entry.encrypted_name not in here]
    strange = [item.path.name for item in items if not item.entry]
    if missing or strange:
        what = f"{len(missing)} file(s) of the manifest missing: {', '.join(missing)}" if missing else ""
        extra = f"{len(strange)} file(s) that the manifest does not name: {', '.join(strange)}" if strange else ""
        raise InputError(
            "; ".join(filter(None, (what, extra))),
            where=str(base),
            cause="an incomplete download, or files of different releases",
            fix="download the folder again",
        )


def _check_key(key_file: Path, known: Manifest, bar: Bar) -> None:
    """Check the key's size, then its digest, against the manifest."""
    size, meant = key_file.stat().st_size, known.key
    if size == meant.bytes:
        found = manifest.sha256_of(key_file, bar)
        if found == meant.sha256:
            return
        what = f"wrong key: sha256 {found}, and the manifest says {meant.sha256}"
        cause = "the right size, so the right file but damaged, or another release of the base model"
    else:
        what = f"wrong key: {size:,} bytes, and the manifest says {meant.bytes:,}"
        cause = "another model's file"
        if key_file.name == meant.name and size < meant.bytes:
            cause = "a download that was cut off"
    if why := _why_wrong(key_file, meant.name, meant.sha256):
        cause = why
    raise InputError(
        what, where=str(key_file), cause=cause, fix=f"use {meant.name}: {meant.bytes:,} bytes, sha256 {meant.sha256}"
    )


def _why_wrong(key_file: Path, meant_name: str, meant_sha256: str) -> str:
    """Signs that hold only where the key that is meant is one of Meta's originals."""
    return why_wrong(key_file) if meant_name.startswith("consolidated.") or meant_sha256 == LLAMA_7B else ""


def _decrypt_file(item: _Item, key: KeyStream, key_file: Path, folder: Path, bar: Bar) -> None:
    size = item.path.stat().st_size - HEADER
    sha256, beginning = hashlib.sha256(), b""
    with open(item.path, "rb", buffering=0) as source, atomic_file(folder / item.name, "wb") as file:
        read_full(source, memoryview(bytearray(HEADER)))
        for _, after in xored(source, size, key):
            beginning = beginning or bytes(after[:16])
            sha256.update(after)
            file.write(after)
            bar.update(len(after))
        if sha256.hexdigest() == item.sha256:
            return
        raise _unequal(item, sha256.hexdigest(), beginning, key_file)


def _unequal(item: _Item, found: str, beginning: bytes, key_file: Path) -> BelleError:
    """Say which digest failed and why, now that there is time to look: the release, the file, or the key."""
    cause, fix = "", ""
    if item.entry:
        actual = sha256_of(item.path)
        if actual != item.entry.encrypted.sha256:
            return BelleError(
                f"the encrypted file's sha256 is {actual}, and the manifest says {item.entry.encrypted.sha256}",
                where=str(item.path),
                cause="a damaged download: size and key are right",
                fix="download this file again",
            )
        cause = "the file and the key are what the manifest names, so the release itself is at fault"
        fix = "tell those who published it"
    elif sha256_of(key_file) == LLAMA_7B or _begins_right(item.name, beginning):
        cause = "a truncated or damaged download: the key is right"
        fix = f"{_AGAIN} ({item.path.stat().st_size:,} bytes here)"
    else:
        cause = why_wrong(key_file) or "a wrong key, or else a truncated download"
        fix = (
            "check the key first: BELLE's LLaMA releases (7B and 13B) are encrypted with LLaMA-7B's "
            f"consolidated.00.pth, sha256 {LLAMA_7B}; then {_AGAIN}"
        )
    return BelleError(
        f"the decrypted file's sha256 is {found}, and the header says {item.sha256}; nothing was kept",
        where=str(item.path),
        cause=cause,
        fix=fix,
    )


def _begins_right(name: str, beginning: bytes) -> bool:
    """Whether a file begins as its name promises, which a wrong key would not let it."""
    if name.endswith(".json"):
        return beginning.lstrip()[:1] in (b"{", b"[") and beginning.isascii()
    if name.endswith(".safetensors"):
        return beginning[8:10] == b'{"'
    return name.endswith((".bin", ".pt", ".pth")) and beginning.startswith((b"PK\x03\x04", b"\x80\x02"))
