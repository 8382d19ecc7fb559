"""A model folder in Hugging Face's layout: its config, its tensors, and its files that are neither."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from belle.errors import InputError
from belle.files import atomic_file, read_text
from belle.weights.tensors import Tensors

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip


class HFModel:
    """A folder's config and tensors; nothing is read until it is asked for.

    Raises:
        InputError: a folder of another layout, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.config = read_config(self.folder)
        self.tensors = Tensors(self.folder)
        if not len(self.tensors):
            raise InputError("no tensors in it", where=str(folder), cause="an empty file", fix="download it again")

    @property
    def tied(self) -> bool:
        """Whether the head is the embeddings: they are kept once."""
        return HEAD not in self.tensors or bool(self.config.get("tie_word_embeddings"))

    def find(self, name: str) -> str | None:
        """The folder's name for a tensor, which may lack the model's own prefix (as BLOOM's do); None: not there."""
        if name in self.tensors:
            return name
        short = name.partition(".")[2]
        return short if short in self.tensors else None

    @property
    def longest(self) -> int:
        """The most tokens that it can read."""
        return int(self.config.get("max_position_embeddings") or self.config.get("seq_length") or 2048)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model folder's config.json.

    Raises:
        InputError: there is none, with what the folder is instead, or it is no object.
    """
    path = folder / "config.json"
    if not path.is_file():
        cause, fix = "a wrong path, or a base that is not built or fetched yet", "build it with `snakemake`"
        if (folder / "params.json").is_file() or any(folder.glob("consolidated.*.pth")):
            cause = "a folder in Meta's layout, where a Hugging Face model is meant"
            fix = "declare it as a base of kind `converted`, and name that base"
        elif (folder / "adapter_config.json").is_file():
            cause, fix = (
                "an adapter, where the model under it is meant",
                "name the base, and the adapter under adapters",
            )
        raise InputError("no config.json in it", where=str(folder), cause=cause, fix=fix)
    try:
        config = json.loads(read_text(path, "config.json"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError("no JSON object", where=str(path), cause="a damaged download", fix="download it again")
    return config


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json without the keys that name a place on this machine."""
    kept = {key: value for key, value in config.items() if key not in ("_name_or_path", "name_or_path")}
    write_json(folder / "config.json", kept)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON object, keys in order."""
    with atomic_file(path) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def copy_generation_config(source: Path, folder: Path, **changed: int) -> None:
    """Copy generation_config.json, where there is one, with some ids changed."""
    path = source / "generation_config.json"
    if path.is_file():
        value = json.loads(path.read_text(encoding="utf-8"))
        write_json(folder / path.name, {**value, **changed})


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy every file of a tokenizer."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def added_tokens(folder: Path) -> dict[str, int]:
    """Tokens beyond a sentencepiece model's pieces, with their ids."""
    path = folder / "added_tokens.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def special_tokens(folder: Path) -> dict[str, str]:
    """What special_tokens_map.json says of ``bos_token``, ``pad_token`` and their like."""
    path = folder / "special_tokens_map.json"
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    texts = {key: item["content"] if isinstance(item, dict) else item for key, item in value.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str) and key.endswith("_token")}
