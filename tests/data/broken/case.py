"""A broken input, the function that it is given to, and what the message must name."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from belle import jsonl
from belle.data.clean import clean
from belle.data.generate import load_prompt
from belle.data.importing.import_dataset import import_dataset
from belle.evaluate.judge import load_prompts
from belle.records import load_eval, load_seeds, turns


@dataclass(frozen=True)
class Case:
    """``write`` makes the input in a folder and returns its path; ``says`` are parts of the message.

    ``place`` is what stands after the path, as ``:3`` or ``, row 3``.
    """

    name: str
    entry: str
    write: Callable[[Path], Path]
    place: str
    says: tuple[str, ...]


def give(entry: str, path: Path, out: Path) -> None:
    """Call what ``entry`` names on ``path``; ``import:FORMAT`` names a format, ``+categories`` the file beside."""
    if entry == "seeds":
        load_seeds(path)
    elif entry == "evaluation set":
        load_eval(path)
    elif entry == "jsonl":
        list(jsonl.read(path))
    elif entry == "turns":
        for number, row in enumerate(jsonl.read(path), 1):
            turns(row, f"{path}, row {number}")
    elif entry == "clean":
        clean(
            raw=path, out=out / "clean.jsonl", report=out / "clean.report.json", rejects=out / "rejects.jsonl",
            page=out / "page.html",
            filters=[], compare="instruction", novelty_threshold=1.01, near_duplicate_threshold=1.01,
            min_output_chars=0, max_output_chars=10_000,
        )  # fmt: skip
    elif entry == "prompt":
        load_prompt(path, 10)
    elif entry == "judge prompts":
        load_prompts(path)
    else:
        form, _, categories = entry.removeprefix("import").lstrip(":").partition("+")
        import_dataset(
            path=path, categories=path.parent / "categories.json" if categories else None, out=out / "raw.jsonl",
            report=out / "raw.report.json", format=form or "auto", licence="unknown",
        )  # fmt: skip


def file(name: str, data: bytes | str, **beside: bytes | str) -> Callable[[Path], Path]:
    """A writer of one file, with others beside it (``categories__json`` is categories.json)."""

    def write(folder: Path) -> Path:
        for other, content in {name: data, **{key.replace("__", "."): value for key, value in beside.items()}}.items():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return write


def folder_of(**files: bytes | str) -> Callable[[Path], Path]:
    """A writer of a folder."""

    def write(folder: Path) -> Path:
        (folder / "set").mkdir()
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / "set" / name.replace("__", ".")).write_bytes(data)
        return folder / "set"

    return write


def link(folder: Path) -> Path:
    """A link to nothing."""
    path = folder / "rows.jsonl"
    path.symlink_to("moved-away.jsonl")
    return path


def pipe(folder: Path) -> Path:
    """A named pipe."""
    os.mkfifo(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def absent(folder: Path) -> Path:
    """Nothing."""
    return folder / "rows.jsonl"


def only_dvc(folder: Path) -> Path:
    """A file that DVC tracks and has not brought."""
    (folder / "rows.jsonl.dvc").write_text("outs:\n- md5: 0\n  path: rows.jsonl\n", encoding="utf-8")
    return folder / "rows.jsonl"
