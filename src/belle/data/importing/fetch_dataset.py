"""Fetch a published data set as raw rows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import load_dataset_builder

from belle.data.importing.containers import Found
from belle.data.importing.writing import write
from belle.errors import BelleError


def fetch_dataset(*, hub: str, out: Path, report: Path, revision: str, split: str, format: str, licence: str) -> None:
    """Write a set of the Hugging Face hub as raw rows.

    Args:
        hub: A repository as ``BelleGroup/train_2M_CN``, or a local folder that ``datasets`` can load.
        out: See ``belle.data.importing.writing.write``.
        report: The same, with the licence, the repository, the commit that was fetched, and its files.
        revision: A branch, tag or commit; not used for a folder.
        split: As ``datasets`` names it, ``train`` or ``train[:1000]``.
        format: A name in ``belle.data.importing.formats.FORMATS``; ``auto`` tells it from the first rows.
        licence: Under which the rows may be used; carried into the report.

    Raises:
        BelleError: it cannot be loaded, with the loader's own words.
        InputError: a row or a field is at fault; nothing is written.
    """
    local = Path(hub).is_dir()
    try:
        builder = load_dataset_builder(hub, **({} if local else {"revision": revision}))
        builder.download_and_prepare()
        loaded = builder.as_dataset(split)
    except Exception as error:  # datasets raises what its many back ends raise
        lines = str(error).splitlines() or [""]
        raise BelleError(
            f"could not be loaded: {type(error).__name__}: {lines[0]}",
            where=f"{hub} ({split})",
            cause="no network, a mistyped name, or a split that is not there",
            fix="download it and import the folder as a dataset of kind `local` in params.yaml",
        ) from None
    name = Path(hub).name if local else hub

    def found() -> Iterator[Found]:
        for number, row in enumerate(loaded, 1):
            yield Found(name, number, f"{hub} ({split}), row {number}", row)

    card = {"licence": licence, "hub": name, "revision": "" if local else revision, "split": split, **_files(builder)}
    write(found(), out=out, report=report, form=format, card=card, where=f"{hub} ({split})")


_HUB_FILE = re.compile(r"hf://datasets/[^@]+@(?P<commit>[0-9a-f]{40})/(?P<name>.+)")


def _files(builder: Any) -> dict[str, Any]:
    """The commit, which says what its files hold, and their names by split; of a local folder, names alone."""
    files: dict[str, list[str]] = {}
    commits = set()
    for split, urls in sorted((builder.config.data_files or {}).items()):
        matches = [(url, _HUB_FILE.fullmatch(str(url))) for url in urls]
        commits |= {match["commit"] for _, match in matches if match}
        files[str(split)] = [match["name"] if match else Path(url).name for url, match in matches]
    return {"commit": ", ".join(sorted(commits)), "files": files}
