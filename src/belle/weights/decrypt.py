"""Decrypt a released model with its base as the key, and say what is wrong where that cannot be done."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from belle.errors import InputError
from belle.files import atomic_file
from belle.weights import probe
from belle.weights.encrypted import Encrypted, find
from belle.weights.key import Identity, find_key, pinned
from belle.weights.manifest import Manifest
from belle.weights.streams import Progress, Silent, Source, hashed, pour, side_by_side, writing
from belle.weights.target import bring, check_replaceable, check_space, check_target, told, unfinished
from belle.weights.xor import CHUNK, HEADER, KeyStream, xored


def decrypt(*, encrypted: Path, key: Path, out: Path, key_sha256: str = "any") -> None:
    """Write the plain file of each ``.enc`` file of ``encrypted`` into the folder ``out``.

    What can be checked without work is checked first: names against headers, sizes, completeness, the key's size, and
    whether a few bytes of each file come out right with it. A file gets its name only when its SHA-256 is the
    header's, and is not decrypted again where it has that already. A folder's output appears whole or not at all, and
    a killed run is gone on from; a single file is added to what ``out`` holds.

    Args:
        encrypted: an ``.enc`` file, or a folder of them; its other files are passed over, but for ``manifest.json``.
        key: the key file, or a folder: then its largest weight file.
        out: the folder for the plain files.
        key_sha256: the key's SHA-256, in hexadecimal, where it is known; else "any".

    Raises:
        InputError: a file or the key is not what it should be; nothing was written.
        BelleError: a digest does not hold after decryption, or the disk is too small; nothing is left behind.
    """
    encrypted, out = Path(encrypted), Path(out)
    with told(out):
        items, known = find(encrypted)
        names = [item.name for item in items]
        if encrypted.is_dir():
            check_replaceable(out, names)
        key_file = find_key(key)
        check_target(out, sources=[encrypted])
        if not encrypted.is_dir() and (out / names[0]).exists() and (out / names[0]).samefile(key_file):
            raise InputError("the output would overwrite the key", where=str(key_file), fix="name another folder")
        check_space(out, sum(item.size for item in items))
        meant = pinned(key_sha256) or _named(known, items)
        with Source(key_file) as source:
            stream = KeyStream(source, chunk=CHUNK)
            with tqdm(desc="try the key", unit="B", unit_scale=True, mininterval=1, delay=1, leave=False) as bar:
                fits = probe.check(items, stream, meant, Progress(bar))
            total = sum(item.size for item in items)
            with (
                tqdm(desc="decrypt", total=total, unit="B", unit_scale=True, mininterval=1, delay=1) as bar,
                _folder(out, names, whole=encrypted.is_dir()) as folder,
            ):
                progress = Progress(bar)
                work = _Work(stream, folder, out, meant, fits, progress)
                side_by_side(work.do, sorted(items, key=lambda item: -item.size), progress)


def _named(known: Manifest | None, items: Sequence[Encrypted]) -> Identity | None:
    """The key that a manifest names for these files."""
    if known is None or not any(item.entry for item in items):
        return None
    return Identity(known.key.name, known.key.sha256, known.key.md5, known.key.bytes)


@contextmanager
def _folder(out: Path, names: Sequence[str], *, whole: bool) -> Iterator[Path]:
    """The folder to write to: one that takes the place of ``out`` when it is whole, or ``out``, not left empty."""
    if whole:
        with unfinished(out, names) as folder:
            yield folder
        return
    made = not out.exists()
    try:
        yield out
    finally:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


class _Work:
    """Decrypting one file after the other, in several threads."""

    def __init__(
        self, key: KeyStream, folder: Path, out: Path, meant: Identity | None, fits: bool, progress: Progress
    ) -> None:
        self._key, self._folder, self._out = key, folder, out
        self._meant, self._fits, self._progress = meant, fits, progress

    def do(self, item: Encrypted) -> None:
        """Write one plain file, if it is not there."""
        if self._kept(item):
            return
        sha256 = hashlib.sha256()
        with Source(item.path) as source, atomic_file(self._folder / item.name, "wb") as file:
            fill = xored(source, HEADER, self._key)

            def counted(piece: memoryview, position: int) -> None:
                fill(piece, position)
                self._progress.update(len(piece))

            pour(item.size, counted, [sha256.update, writing(file)])
            if sha256.hexdigest() != item.sha256:
                key = self._key.source.path
                raise probe.unequal(item, key, self._meant, fits=self._fits, found=sha256.hexdigest())

    def _kept(self, item: Encrypted) -> bool:
        """Whether the plain file is there already, from a killed run or one before: its digest holds."""
        target = self._folder / item.name
        for place in dict.fromkeys((target, self._out / item.name)):
            if place.is_symlink() or not place.is_file() or place.stat().st_size != item.size:
                continue
            if hashed(place, Silent(), "sha256") != [item.sha256]:
                continue
            bring(place, target)
            self._progress.update(item.size)
            return True
        return False
