"""Encrypt a model with its base as the key: what may be shared of a model whose base may not."""

import hashlib
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from belle.errors import BelleError, InputError
from belle.files import atomic_file
from belle.weights import manifest
from belle.weights.key import find_key
from belle.weights.manifest import Digests, Entry, Key, Manifest
from belle.weights.streams import PIECE, Bar, Progress, Source, Take, pour, side_by_side, writing
from belle.weights.target import bring, check_replaceable, check_space, check_target, told, unfinished
from belle.weights.xor import CHUNK, HEADER, KeyStream, xored


def encrypt(*, plain: Path, key: Path, out: Path) -> None:
    """Write ``<name>.<sha256>.enc`` for each file of ``plain``, and ``manifest.json``, into the folder ``out``.

    A folder is encrypted with all its files but hidden ones; ``out`` appears whole or not at all, and what a killed
    run or one before left whole is not made again. A single file is added to what ``out`` already holds, if that was
    made with the same key.

    Args:
        plain: a file, or a folder such as a model's.
        key: the key file, or a folder: then its largest weight file.
        out: the folder for the encrypted files.

    Raises:
        InputError: no such file, no key, or an ``out`` that holds something else.
        BelleError: the disk is too small, or a file changed in the meantime.
    """
    plain, out = Path(plain), Path(out)
    with told(out):
        base = plain if plain.is_dir() else plain.parent
        names = _files(plain)
        key_file = find_key(key)
        check_target(out, sources=[plain])
        sizes = sum((base / name).stat().st_size for name in names)
        check_space(out, sizes + HEADER * len(names))
        before = manifest.read(out)
        if plain.is_dir():
            check_replaceable(
                out, [manifest.NAME, *(entry.encrypted_name for entry in before.files if before)] if before else []
            )
        with (
            tqdm(desc="encrypt", total=key_file.stat().st_size + 2 * sizes, unit="B", unit_scale=True, mininterval=1,
                 delay=1) as bar,
            Source(key_file) as source,
        ):  # fmt: skip
            progress = Progress(bar)
            key_digests, *texts = side_by_side(
                lambda path: _Text(path, path.stat().st_mtime_ns, manifest.digests_of(path, progress)),
                [key_file, *(base / name for name in names)],
                progress,
            )
            identity = Key(key_file.name, **asdict(key_digests.digests))
            kept = _kept_entries(before, identity, names, out) if plain.is_file() else []
            stream = KeyStream(source, chunk=CHUNK)
            expected = [_encrypted_name(name, text) for name, text in zip(names, texts, strict=True)]
            with unfinished(out, [*expected, manifest.NAME]) if plain.is_dir() else nullcontext(out) as folder:
                jobs = [_Job(*job) for job in zip(names, texts, expected, strict=True)]
                entries = side_by_side(lambda job: _entry(job, stream, folder, out, progress), jobs, progress)
                manifest.write(folder, Manifest(identity, (*kept, *entries)))
            if before and plain.is_file():
                current = {entry.encrypted_name for entry in (*kept, *entries)}
                for entry in before.files:
                    if entry.encrypted_name not in current:
                        (out / entry.encrypted_name).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Text:
    """A file before it is encrypted, and when it was last written to."""

    path: Path
    stamp: int
    digests: Digests


@dataclass(frozen=True)
class _Job:
    name: str
    text: _Text
    encrypted_name: str


def _encrypted_name(name: str, text: _Text) -> str:
    return f"{name}.{text.digests.sha256}.enc"


def _kept_entries(before: Manifest | None, identity: Key, names: list[str], out: Path) -> list[Entry]:
    """The entries of a folder that a file is added to."""
    if before is None:
        return []
    if before.key.sha256 != identity.sha256:
        raise InputError(
            f"its files were encrypted with another key: sha256 {before.key.sha256}, now {identity.sha256}",
            where=str(out / manifest.NAME),
            fix="name a new folder, or use the same key",
        )
    return [entry for entry in before.files if entry.name not in names]


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


def _entry(job: _Job, key: KeyStream, folder: Path, out: Path, bar: Bar) -> Entry:
    """Encrypt one file, unless its encrypted one is there already, byte for byte."""
    target = folder / job.encrypted_name
    for place in dict.fromkeys((target, out / job.encrypted_name)):
        whole = place.is_file() and not place.is_symlink() and place.stat().st_size == job.text.digests.bytes + HEADER
        if whole and (found := _poured(job, key, bar, held=place)):
            bring(place, target)
            return found
    with atomic_file(target, "wb") as file:
        file.write(bytes.fromhex(job.text.digests.sha256))
        found = _poured(job, key, bar, write=writing(file))
        assert found is not None
        return found


def _poured(
    job: _Job, key: KeyStream, bar: Bar, *, write: Take | None = None, held: Path | None = None
) -> Entry | None:
    """Make the encrypted bytes, for ``write``, or to compare them with those of ``held``: None where they differ."""
    header = bytes.fromhex(job.text.digests.sha256)
    sha256, md5 = hashlib.sha256(header), hashlib.md5(header, usedforsecurity=False)
    with Source(job.text.path) as source, Source(held or job.text.path) as other:
        encrypted, own = xored(source, 0, key), memoryview(bytearray(PIECE))
        if held and other.read(0, HEADER) != header:
            return None

        def fill(piece: memoryview, position: int) -> None:
            encrypted(piece, position)
            if held:
                other.fill(own[: len(piece)], HEADER + position)
                if own[: len(piece)] != piece:
                    raise _DiffersError
            bar.update(len(piece))

        try:
            pour(source.size, fill, [sha256.update, md5.update, *([write] if write else [])])
        except _DiffersError:
            return None
    now = job.text.path.stat()
    if (now.st_size, now.st_mtime_ns) != (job.text.digests.bytes, job.text.stamp):
        raise BelleError(
            "changed while it was encrypted", where=str(job.text.path), fix="run again when nothing writes to it"
        )
    digests = Digests(source.size + HEADER, sha256.hexdigest(), md5.hexdigest())
    return Entry(job.name, job.encrypted_name, job.text.digests, digests)


class _DiffersError(Exception):
    """What stands in the place of an encrypted file is not it."""
