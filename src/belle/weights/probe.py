"""Whether a key fits encrypted files, found out before any work from a few bytes of each."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from belle.errors import BelleError, InputError
from belle.weights.encrypted import Encrypted
from belle.weights.key import LLAMA_7B, Identity, why_wrong
from belle.weights.streams import PIECE, Bar, Progress, Silent, Source, hashed, pour
from belle.weights.xor import HEADER, KeyStream, xored

_TAIL = (1 << 16) + 22
"""Bytes in which the end record of a zip file, as PyTorch writes them, must begin."""
_LONGEST_HEADER = 100_000_000
"""Bytes that the header of a safetensors file may have, as that library reads them."""


@dataclass(frozen=True)
class Reader:
    """The plaintext of an encrypted file at any place."""

    item: Encrypted
    source: Source
    key: KeyStream

    def read(self, position: int, size: int) -> bytes:
        """A few bytes; fewer where the text ends."""
        size = max(0, min(size, self.item.size - position))
        found = bytearray(size)
        fill = xored(self.source, HEADER, self.key)
        for start in range(0, size, PIECE):
            fill(memoryview(found)[start : start + PIECE], position + start)
        return bytes(found)

    def digest(self, bar: Bar) -> str:
        """The SHA-256 of the whole text; nothing is written."""
        digest = hashlib.sha256()
        fill = xored(self.source, HEADER, self.key)

        def counted(piece: memoryview, position: int) -> None:
            fill(piece, position)
            bar.update(len(piece))

        pour(self.item.size, counted, [digest.update])
        return digest.hexdigest()


@dataclass(frozen=True)
class _Sign:
    """What a file shows of the key and of itself."""

    item: Encrypted
    key_fits: bool | None  # None: it shows nothing
    suspicious: bool = False
    fault: str = ""  # of its size, by what is in it


def check(items: Sequence[Encrypted], key: KeyStream, meant: Identity | None, bar: Progress) -> bool:
    """Decrypt the small files, and a few bytes of the large ones, in memory.

    A file is refused only if its digest does not hold: what looks wrong is read to its end before.

    Args:
        meant: The key that a manifest or the registry names.

    Returns:
        Whether the key is known to fit: something came out right, or its digest is the one that is meant.

    Raises:
        InputError: the key is a wrong one.
        BelleError: a file is truncated or damaged.
    """
    signs = [_looked_at(item, key) for item in items]
    fits = any(sign.key_fits for sign in signs)
    if meant and meant.bytes and key.size != meant.bytes:
        raise wrong_key(key.source.path, meant, f"{key.size:,} bytes, and {_says(meant)} {meant.bytes:,}")
    if meant and not fits:  # nothing that fits has been seen: the digest decides
        _check_digest(key.source.path, meant, bar)
        fits = True
    for sign in (sign for sign in signs if sign.suspicious):
        with Source(sign.item.path) as source:
            found = Reader(sign.item, source, key).digest(bar)
        if found != sign.item.sha256:
            raise unequal(sign.item, key.source.path, meant, fits=fits, found=found, fault=sign.fault)
    return fits


def _looked_at(item: Encrypted, key: KeyStream) -> _Sign:
    with Source(item.path) as source:
        reader = Reader(item, source, key)
        if item.size <= PIECE and hashlib.sha256(reader.read(0, item.size)).hexdigest() == item.sha256:
            return _Sign(item, True if item.size else None)
        if not item.size:
            return _Sign(item, None, True, "truncated: the header alone, without any text")
        head = reader.read(0, 16)
        fits = begins_right(item.name, head)
        fault = _fault(reader, head) if fits else ""
        return _Sign(item, fits, fits is False or bool(fault) or item.size <= PIECE, fault)


def begins_right(name: str, head: bytes) -> bool | None:
    """Whether a text begins as its name promises, which a wrong key would not let it; None where names promise nothing.

    A wrong key lets through one in 10,000 at most.
    """
    if name.endswith(".json"):
        return True if head.isascii() and head.lstrip()[:1] in (b"{", b"[") else None
    if name.endswith(".safetensors"):
        return head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < _LONGEST_HEADER
    if name.endswith((".bin", ".pt", ".pth")):
        return head.startswith((b"PK\x03\x04", b"\x80\x02"))
    return None


def _fault(reader: Reader, head: bytes) -> str:
    """What is wrong with a file's size by what is in it."""
    size = reader.item.size
    if reader.item.name.endswith(".safetensors"):
        length = int.from_bytes(head[:8], "little")
        try:
            tensors = json.loads(reader.read(8, length))
            end = max((int(value["data_offsets"][1]) for name, value in tensors.items() if name != "__metadata__"))
        except (ValueError, LookupError, TypeError, AttributeError):
            return "truncated: its safetensors header is not whole" if length > size else ""
        whole = 8 + length + end
        if whole != size:
            return (
                f"{'truncated' if size < whole else 'too long'}: {size:,} bytes of text, and its safetensors header "
                f"says {whole:,}"
            )
        return ""
    if head.startswith(b"PK") and b"PK\x05\x06" not in reader.read(max(0, size - _TAIL), _TAIL):
        return f"truncated: {size:,} bytes of text, and the end of a PyTorch file is not among them"
    return ""


def _says(meant: Identity) -> str:
    return f"{meant.name} has"


def wrong_key(path: Path, meant: Identity, what: str, cause: str = "") -> InputError:
    """The fault of a key that is not the one that is ``meant``."""
    return InputError(
        f"wrong key: {what}",
        where=str(path),
        cause=cause or why_wrong(path, meant) or "another model's file",
        fix=f"use {meant.described}",
    )


def _check_digest(path: Path, meant: Identity, bar: Bar) -> None:
    (found,) = hashed(path, bar, "sha256")
    if found != meant.sha256:
        raise wrong_key(path, meant, f"sha256 {found}, and {_says(meant)} {meant.sha256}")


def unequal(
    item: Encrypted, key: Path, meant: Identity | None, *, fits: bool, found: str, fault: str = ""
) -> BelleError:
    """Say which digest failed and why, now that there is time to look: the download's, the key's, or the release's.

    Args:
        fits: Whether the key is known to fit other files, or the beginning of this one.
        found: The digest of the decrypted text.
        fault: What is wrong with its size.
    """
    (md5,) = hashed(item.path, Silent(), "md5")  # BELLE's model cards list it for the encrypted files
    here = f"{item.path.stat().st_size:,} bytes and md5 {md5} here"
    what = fault or f"the decrypted file's sha256 is {found}, and the header says {item.sha256}"
    if item.entry:
        (actual,) = hashed(item.path, Silent(), "sha256")
        if actual != item.entry.encrypted.sha256:
            return BelleError(
                f"the encrypted file's sha256 is {actual}, and the manifest says {item.entry.encrypted.sha256}",
                where=str(item.path),
                cause="a damaged download: its size is right",
                fix="download this file again",
            )
    known = meant or (LLAMA_7B if key.stat().st_size == LLAMA_7B.bytes else None)
    if known:
        (actual,) = hashed(key, Silent(), "sha256")
        if meant and actual != meant.sha256:
            size = "a damaged copy of the right file: " + ("its size is right" if meant.bytes else "it fits in places")
            return wrong_key(key, meant, f"sha256 {actual}, and {_says(meant)} {meant.sha256}", size)
        fits = fits or actual == known.sha256
    if item.entry:
        cause = "the file and the key are what the manifest names, so the release itself is at fault"
        fix = "tell those who published it"
    elif fits:
        cause = "a truncated or damaged download: the key is right"
        cause += "" if known else " as far as it could be tried"
        fix = f"download it again, and compare the encrypted file with the published size and md5 ({here})"
    else:
        cause = why_wrong(key) or "a wrong key, or else a truncated or damaged download"
        fix = (
            f"check the key first, {key.name}: BELLE's LLaMA releases (7B and 13B) are encrypted with "
            f"{LLAMA_7B.described}; then download the file again ({here})"
        )
    return BelleError(f"{what}; nothing was kept", where=str(item.path), cause=cause, fix=fix)
