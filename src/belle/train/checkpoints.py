"""Checkpoints that know what they belong to, so that a killed run resumes and a changed one starts anew.

checkpoints/identity.json        digest of data, base weights and every setting
checkpoints/checkpoint-N/        as the Hugging Face Trainer writes it
checkpoints/checkpoint-N/complete.json   written last: names and sizes of the files; without it the folder is void
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from belle.files import atomic_file, sha256_of
from belle.jsonl import canonical

IDENTITY = "identity.json"
COMPLETE = "complete.json"


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of the files of a model folder, hidden ones passed over."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return hashlib.sha256(
        canonical([[path.relative_to(folder).as_posix(), sha256_of(path)] for path in files])
    ).hexdigest()


def latest(checkpoints: Path, identity: dict[str, Any]) -> Path | None:
    """The newest whole checkpoint of this very run, or None.

    Checkpoints of another identity are thrown away, and so are those that a kill left half-written.
    """
    record = checkpoints / IDENTITY
    if not record.is_file() or record.read_bytes() != canonical(identity):
        shutil.rmtree(checkpoints, ignore_errors=True)
        checkpoints.mkdir(parents=True)
        with atomic_file(record, "wb") as file:
            file.write(canonical(identity))
        return None
    whole = []
    for folder in checkpoints.glob("checkpoint-*"):
        if _is_whole(folder):
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def _is_whole(folder: Path) -> bool:
    record = folder / COMPLETE
    if not record.is_file():
        return False
    sizes = json.loads(record.read_text())
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


class MarkComplete(TrainerCallback):
    """Marks a checkpoint as whole once all its files are on the disk."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Flush every file of the checkpoint just written, then write its ``complete.json``."""
        everyone = PartialState()
        everyone.wait_for_everyone()
        if not everyone.is_main_process or args.output_dir is None:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        with atomic_file(folder / COMPLETE) as file:
            json.dump({path.relative_to(folder).as_posix(): path.stat().st_size for path in files}, file, indent=1)
