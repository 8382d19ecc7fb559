"""Fetch a published base model."""

import shutil
from pathlib import Path

from huggingface_hub import snapshot_download

from belle.errors import BelleError
from belle.files import atomic_folder

WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "pytorch_model*.bin")


def fetch_model(*, hub: str, out: Path, revision: str) -> None:
    """Copy a model from the Hugging Face hub, or from a local folder, into ``out``.

    Args:
        hub: A repository as ``bigscience/bloomz-7b1-mt``, or a folder.
        revision: A branch, tag or commit of the repository; a commit is the only one that stays.

    Raises:
        BelleError: the hub cannot be reached, or has no such repository or revision.
    """
    folder = Path(hub)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(hub, revision=revision, allow_patterns=list(WANTED)))
        except Exception as error:  # the hub's client raises a dozen unrelated classes
            raise BelleError(
                f"could not be fetched: {type(error).__name__}: {str(error).splitlines()[0]}",
                where=f"{hub}@{revision}",
                cause="no network, a mistyped name, or a repository that asks for a token",
                fix="fetch it by hand and name the folder as `hub:` in params.yaml",
            ) from None
    chosen = sorted({path for pattern in WANTED for path in folder.glob(pattern)})
    if not any(path.suffix in {".safetensors", ".bin"} for path in chosen):
        raise BelleError("no weights in it", where=str(folder), cause="a download that was cut off")
    if any(path.suffix == ".safetensors" for path in chosen):
        chosen = [path for path in chosen if path.suffix != ".bin"]  # the same weights twice
    with atomic_folder(out) as temporary:
        for path in chosen:
            shutil.copyfile(path, temporary / path.name)
