"""Encrypt a model with its base as the key: what may be shared of a model whose base may not."""

import hashlib
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from belle.errors import BelleError, InputError
from belle.files import atomic_file, atomic_folder
from belle.weights import manifest
from belle.weights.key import find_key
from belle.weights.manifest import Bar, Entry, Key, Manifest
from belle.weights.target import check_replaceable, check_space, check_target
from belle.weights.xor import CHUNK, HEADER, KeyStream, xored


def encrypt(*, plain: Path, key: Path, out: Path) -> None:
    """Write ``<name>.<sha256>.enc`` for each file of ``plain``, and ``manifest.json``, into the folder ``out``.

    A folder is encrypted with all its files but hidden ones, and ``out`` appears whole or not at all. A single file
    is added to what ``out`` already holds, if that was made with the same key.

    Args:
        plain: a file, or a folder such as a model's.
        key: the key file, or a folder: then its largest weight file.
        out: the folder for the encrypted files.

    Raises:
        InputError: no such file, no key, or an ``out`` that holds something else.
        BelleError: the disk is too small, or a file changed in the meantime.
    """
    plain, out = Path(plain), Path(out)
    names = _files(plain)
    key_file = find_key(key)
    check_target(out, sources=[plain])
    sizes = sum((_base(plain) / name).stat().st_size for name in names)
    check_space(out, sizes + HEADER * len(names))
    before = manifest.read(out)
    if plain.is_dir():
        check_replaceable(
            out, [manifest.NAME, *(entry.encrypted_name for entry in before.files if before)] if before else []
        )
    total = key_file.stat().st_size + 2 * sizes
    with (
        tqdm(desc="encrypt", total=total, unit="B", unit_scale=True, mininterval=1, delay=1) as bar,
        open(key_file, "rb", buffering=0) as file,
    ):
        found = manifest.digests_of(key_file, bar)
        identity = Key(key_file.name, found.bytes, found.sha256, found.md5)
        if before and plain.is_file() and before.key.sha256 != identity.sha256:
            raise InputError(
                f"its files were encrypted with another key: sha256 {before.key.sha256}, now {identity.sha256}",
                where=str(out / manifest.NAME),
                fix="name a new folder, or use the same key",
            )
        stream = KeyStream(file, chunk=CHUNK)
        with atomic_folder(out) if plain.is_dir() else nullcontext(out) as folder:
            entries = [_encrypt_file(_base(plain), name, stream, folder, bar) for name in names]
            kept = [entry for entry in before.files if entry.name not in names] if before and plain.is_file() else []
            manifest.write(folder, Manifest(identity, (*kept, *entries)))
        if before and plain.is_file():
            current = {entry.encrypted_name for entry in (*kept, *entries)}
            for entry in before.files:
                if entry.encrypted_name not in current:
                    (out / entry.encrypted_name).unlink(missing_ok=True)


def _base(plain: Path) -> Path:
    return plain if plain.is_dir() else plain.parent


def _files(plain: Path) -> list[str]:
    if plain.is_file():
        return [plain.name]
    if not plain.is_dir():
        raise InputError(
            "there is no such file or folder",
            where=str(plain),
            cause="a wrong path, or a model that is not built yet",
            fix="check the path, or build it with `snakemake`",
        )
    names = sorted(
        path.relative_to(plain).as_posix()
        for path in plain.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(plain).parts)
    )
    if not names:
        raise InputError("no files in this folder", where=str(plain), fix="name a model's folder, or a file")
    return names


def _encrypt_file(base: Path, name: str, key: KeyStream, folder: Path, bar: Bar) -> Entry:
    path = base / name
    stamp = path.stat()
    plain = manifest.digests_of(path, bar)
    header = bytes.fromhex(plain.sha256)
    encrypted_name = f"{name}.{plain.sha256}.enc"
    sha256, md5 = hashlib.sha256(header), hashlib.md5(header, usedforsecurity=False)
    with open(path, "rb", buffering=0) as source, atomic_file(folder / encrypted_name, "wb") as file:
        file.write(header)
        for _, after in xored(source, plain.bytes, key):
            sha256.update(after)
            md5.update(after)
            file.write(after)
            bar.update(len(after))
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (stamp.st_size, stamp.st_mtime_ns):
            raise BelleError(
                "changed while it was encrypted", where=str(path), fix="run again when nothing writes to it"
            )
    encrypted = manifest.Digests(plain.bytes + HEADER, sha256.hexdigest(), md5.hexdigest())
    return Entry(name=name, encrypted_name=encrypted_name, plain=plain, encrypted=encrypted)
