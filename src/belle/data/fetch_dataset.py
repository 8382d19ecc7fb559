"""Fetch a published data set as raw rows."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import load_dataset
from tqdm import tqdm

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.records import turns


def _fields(row: dict[str, Any], where: str) -> jsonl.Row:
    """The training fields of a row in any of BELLE's published schemas."""
    if "conversations" in row:
        return {"conversations": row["conversations"]}
    if "instruction" in row and "output" in row:
        return {"instruction": row["instruction"], "input": row.get("input") or "", "output": row["output"]}
    if "input" in row and "target" in row:  # train_0.5M_CN: instruction and input are one field
        return {"instruction": row["input"], "input": "", "output": row["target"]}
    raise InputError(
        f"columns {sorted(row)} are no schema that BELLE published",
        where=where,
        cause="another data set, or a column that was renamed",
        fix="give it instruction/input/output, input/target, or conversations",
    )


def fetch_dataset(*, hub: str, out: Path, revision: str, split: str) -> None:
    """Write a published set as raw rows whose ids are made from their content and place.

    Args:
        hub: A repository as ``BelleGroup/train_2M_CN``, or a local folder that ``datasets`` can load.
        revision: A branch, tag or commit; not used for a folder.
        split: As ``datasets`` names it, ``train`` or ``train[:1000]``.

    Raises:
        BelleError: it cannot be loaded, with the loader's own words.
        InputError: a row in none of the published schemas.
    """
    local = Path(hub).is_dir()
    try:
        rows = load_dataset(hub, split=split, **({} if local else {"revision": revision}))
    except Exception as error:  # datasets raises what its many back ends raise
        raise BelleError(
            f"could not be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            where=f"{hub} ({split})",
            cause="no network, a mistyped name, or a split that is not there",
            fix="download it and name the folder as `hub:` in params.yaml",
        ) from None

    def raw_rows() -> Iterator[jsonl.Row]:
        for number, row in enumerate(tqdm(rows, desc=f"fetch {hub}", unit="row", mininterval=1), 1):
            where = f"{hub} ({split}), row {number}"
            fields = _fields(row, where)
            turns(fields, where)
            digest = hashlib.sha256(jsonl.canonical(fields)).hexdigest()
            yield {"id": f"p-{digest[:12]}-{number}", **fields}

    if jsonl.write(out, raw_rows()) == 0:
        raise BelleError("no rows in it", where=f"{hub} ({split})")
