"""Key files: which file is the key, and what it looks like when it is the wrong one."""

from pathlib import Path

from belle.errors import InputError

WEIGHT_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")

LLAMA_7B = "700df0d3013b703a806d2ae7f1bfb8e59814e3d06ae78be0c66368a50059f33d"
"""SHA-256 of LLaMA-7B's consolidated.00.pth: the key of all of BELLE's LLaMA releases, the 13B ones too."""


def find_key(key: Path) -> Path:
    """The key file that ``key`` names: itself, or the largest weight file in it, the first by name of equals.

    Raises:
        InputError: no such path, no weight file in the folder, an encrypted file, or an empty file.
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
    return key


def is_hf_converted(key: Path) -> bool:
    """Whether a key is a file of a Hugging Face model rather than one of Meta's originals, by name and contents."""
    if key.name.startswith(("pytorch_model", "model.safetensors", "model-", "adapter_model")):
        return True
    with open(key, "rb") as file:
        head = file.read(10)
    # A safetensors file: the length of its JSON header, then the header.
    return head[8:] == b'{"' and int.from_bytes(head[:8], "little") < key.stat().st_size


def is_of_a_larger_llama(key: Path) -> bool:
    """Whether a key stands among the shards of LLaMA 13B or larger: the 7B model has one shard only."""
    return key.name.startswith("consolidated.") and (key.parent / "consolidated.01.pth").is_file()


def why_wrong(key: Path) -> str:
    """The likely cause where a key, told apart from the right one, is wrong; empty where it shows no sign."""
    if is_of_a_larger_llama(key):
        return "this is a shard of LLaMA-13B or larger, where LLaMA-7B's is meant (for BELLE's 13B releases too)"
    if is_hf_converted(key):
        return "this is a file of an HF-converted model, where the original consolidated.00.pth is meant"
    return ""
