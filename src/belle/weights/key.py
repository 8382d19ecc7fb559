"""Key files: which file is the key, what it is known by, and what it looks like when it is the wrong one."""

import re
from dataclasses import dataclass
from pathlib import Path

from belle.errors import InputError

WEIGHT_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")


@dataclass(frozen=True)
class Identity:
    """What a key is known by; ``bytes`` is 0 and ``md5`` empty where they are not known."""

    name: str
    sha256: str
    md5: str = ""
    bytes: int = 0

    @property
    def described(self) -> str:
        """The file for a message that asks for it."""
        parts = [f"{self.bytes:,} bytes"] if self.bytes else []
        parts += [f"sha256 {self.sha256}"]
        parts += [f"md5 {self.md5}"] if self.md5 else []
        return f"{self.name}: {', '.join(parts)}"


LLAMA_7B = Identity(
    name="LLaMA-7B's original consolidated.00.pth",
    sha256="700df0d3013b703a806d2ae7f1bfb8e59814e3d06ae78be0c66368a50059f33d",
    md5="6efc8dab194ab59e49cd24be5574d85e",
    bytes=13_476_939_516,
)
"""The key of all of BELLE's LLaMA releases, the 13B ones too."""

_VOCABULARY = 32_000
_SHAPES = {"7B": (4096, 32, 11_008, 1), "13B": (5120, 40, 13_824, 2), "33B": (6656, 60, 17_920, 4),
           "65B": (8192, 80, 22_016, 8)}  # fmt: skip
"""LLaMA's hidden size, layers, size of the feed-forward layer, and shards (arXiv 2302.13971)."""
_AROUND = 1 << 20
"""Bytes that a file has besides its tensors, at most."""


def pinned(sha256: str) -> Identity | None:
    """The key that a registry's ``key_sha256`` means; None where it is "any".

    Raises:
        InputError: it is neither that nor a SHA-256.
    """
    if sha256 == "any":
        return None
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InputError(
            f"{sha256!r} is no SHA-256 in hexadecimal",
            where="key_sha256",
            cause="a mistyped digest",
            fix="give 64 digits in lower case, or any",
        )
    return LLAMA_7B if sha256 == LLAMA_7B.sha256 else Identity("the key", sha256)


def shard_bytes(model: str) -> int:
    """Bytes of the fp16 tensors in each ``consolidated.NN.pth`` of a LLaMA, by its shapes.

    Matrices are split over the shards, norms and the 64 rotary frequencies stand in each.
    """
    hidden, layers, inner, shards = _SHAPES[model]
    matrices = 2 * _VOCABULARY * hidden + layers * (4 * hidden * hidden + 3 * hidden * inner)
    return 2 * (matrices // shards + (2 * layers + 1) * hidden + 64)


def llama_of_size(size: int) -> str:
    """Which LLaMA has shards of about ``size`` bytes: "7B", "13B", "33B", "65B", or empty."""
    return next((model for model in _SHAPES if 0 <= size - shard_bytes(model) < _AROUND), "")


def find_key(key: Path) -> Path:
    """The key file that ``key`` names: itself, or the largest weight file in it, the first by name of equals.

    Raises:
        InputError: no such path, no weight file in the folder, an encrypted file, a placeholder, or an empty file.
    """
    key = Path(key)
    if key.is_dir():
        weights = [path for path in key.iterdir() if path.is_file() and path.suffix in WEIGHT_ENDINGS]
        if not weights:
            raise InputError(
                f"no weight file ({', '.join(WEIGHT_ENDINGS)}) in this folder",
                where=str(key),
                cause="not the folder of the base model",
                fix="name the key file itself",
            )
        key = min(weights, key=lambda path: (-path.stat().st_size, path.name))
    if not key.is_file():
        raise InputError(
            "key: there is no such file or folder",
            where=str(key),
            cause="a wrong path, or the base model is not here yet",
            fix="give the key file, or the base model's folder",
        )
    if key.suffix == ".enc":
        raise InputError(
            "an encrypted file stands where the key should",
            where=str(key),
            cause="the arguments have changed places",
            fix="the order is: belle decrypt ENCRYPTED KEY OUT_DIR",
        )
    if not key.stat().st_size:
        raise InputError("the key is empty", where=str(key), cause="a download that failed", fix="download it again")
    if stands_for := placeholder(key):
        raise InputError(
            f"the key is {stands_for}, not the file itself",
            where=str(key),
            cause="a clone without Git LFS, or a link that leads to a page",
            fix="fetch the file itself: `git lfs pull`, or the page's download link",
        )
    return key


def placeholder(path: Path) -> str:
    """What stands in a file's place: "a Git LFS pointer", "a web page", or nothing."""
    with open(path, "rb") as file:
        head = file.read(32)
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return "a web page" if head.lower().startswith((b"<!doctype", b"<html")) else ""


def is_hf_converted(key: Path) -> bool:
    """Whether a key is a file of a Hugging Face model rather than one of Meta's originals, by name and contents."""
    if key.name.startswith(("pytorch_model", "model.safetensors", "model-", "adapter_model")):
        return True
    with open(key, "rb") as file:
        head = file.read(_AROUND)
    # A safetensors file: the length of its JSON header, then the header.
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < key.stat().st_size:
        return True
    # In a PyTorch file the names of the tensors come first.
    return b"embed_tokens" in head or b"model.layers." in head or b"word_embeddings" in head


def is_of_a_larger_llama(key: Path) -> bool:
    """Whether a key stands among the shards of LLaMA 13B or larger: the 7B model has one shard only."""
    return key.name.startswith("consolidated.") and (key.parent / "consolidated.01.pth").is_file()


def why_wrong(key: Path, meant: Identity | None = None) -> str:
    """The likely cause where a key, told apart from the right one, is wrong; empty where it shows no sign.

    Args:
        meant: The right key; None where it is not known, and LLaMA-7B's is the likeliest.
    """
    size, known = key.stat().st_size, meant is not None
    meant = meant or LLAMA_7B
    wanted, found = llama_of_size(meant.bytes), llama_of_size(size)
    original = wanted or meant.name.startswith("consolidated.") or meant.sha256 == LLAMA_7B.sha256
    if original and is_hf_converted(key):
        return "this is a file of an HF-converted model, where Meta's original consolidated.NN.pth is meant"
    if original and wanted in ("7B", "") and (found not in ("7B", "") or is_of_a_larger_llama(key)):
        return (
            f"this is a shard of LLaMA-{found or '13B or larger'}, where LLaMA-7B's is meant "
            "(for BELLE's 13B releases and EXT-13B too)"
        )
    if wanted and found and wanted != found:
        return f"this is a shard of LLaMA-{found}, where one of LLaMA-{wanted} is meant"
    if known and original and size < meant.bytes and key.name.startswith("consolidated."):
        return "a download that was cut off"
    if known and size == meant.bytes:
        return "the right size, so the right file but damaged, or another release of the base model"
    return ""
