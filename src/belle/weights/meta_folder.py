"""The folder in which Meta publishes a LLaMA: params.json and ``consolidated.NN.pth``, read and checked as files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from belle.errors import InputError, shown
from belle.files import read_text
from belle.weights.tensors import WeightFile

PARAMS = "params.json"
EMBEDDINGS, NORM = "tok_embeddings.weight", "norm.weight"
SIZES = {4096: 1, 5120: 2, 6656: 4, 8192: 8}
"""How many shards Meta published of the models of each width."""
_SHARD = re.compile(r"consolidated\.(\d\d)\.pth")


def check_layout(folder: Path) -> None:
    """Refuse a folder that is not in Meta's layout.

    Raises:
        InputError: saying what it is instead.
    """
    if not folder.is_dir():
        raise InputError(
            "there is no such folder",
            where=str(folder),
            cause="a wrong path, or weights that are not downloaded yet",
            fix="ask Meta for the weights and put consolidated.*.pth and params.json there",
        )
    if (folder / PARAMS).is_file():
        return
    if (folder / "config.json").is_file() or any(folder.glob("*.safetensors")):
        raise InputError(
            f"a folder in Hugging Face's layout (no {PARAMS}), where Meta's is meant",
            where=str(folder),
            cause="weights that were converted already",
            fix="declare it as a base of kind `hub` with this folder as `hub:`",
        )
    below = sorted(path.parent.name for path in folder.glob(f"*/{PARAMS}"))
    raise InputError(
        f"no {PARAMS} in this folder" + (f", but in {', '.join(below)}" if below else ""),
        where=str(folder),
        cause="the folder above the models" if below else "a download that was stopped",
        fix="name the folder of one model",
    )


def read_params(path: Path) -> dict[str, Any]:
    """Read and check params.json.

    Raises:
        InputError: not JSON, or a field is missing or no number.
    """
    again = {"cause": "a damaged download or a file of another program", "fix": "download params.json again"}
    try:
        params = json.loads(read_text(path, PARAMS))
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=str(path), **again) from None
    if not isinstance(params, dict):
        raise InputError(f"a {type(params).__name__} where an object is meant", where=str(path), **again)
    for key in ("dim", "n_layers", "n_heads", "multiple_of"):
        value = params.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"`{key}` must be a whole number above 0, found {shown(value)}", where=str(path), **again)
    for key, kinds in (("norm_eps", (float, int)), ("n_kv_heads", int), ("ffn_dim_multiplier", (float, int)),
                       ("rope_theta", (float, int))):  # fmt: skip
        value = params.get(key)
        if value is None and key != "norm_eps":
            continue
        if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:  # type: ignore[arg-type,operator]
            raise InputError(f"`{key}` must be a number above 0, found {shown(value)}", where=str(path), **again)
    return params


def open_shards(folder: Path, dim: int) -> list[WeightFile]:
    """Open the shards in order; ``dim`` says how many Meta published of such a model.

    Raises:
        InputError: none, a gap between their numbers, or files of another model.
    """
    paths = sorted(path for path in folder.iterdir() if _SHARD.fullmatch(path.name))
    if not paths:
        raise InputError(
            "no consolidated.NN.pth in this folder",
            where=str(folder),
            cause="a download that was stopped, or shards under other names",
            fix=f"download the shards (a model of this width has {SIZES[dim]})" if dim in SIZES else "download them",
        )
    names = [path.name for path in paths]
    gaps = [name for name in (f"consolidated.{i:02d}.pth" for i in range(len(paths))) if name not in names]
    if gaps:
        raise InputError(
            f"{', '.join(gaps)} missing beside {names[-1]}",
            where=str(folder),
            cause="a download that was stopped",
            fix="download the missing shards beside the others",
        )
    shards = [WeightFile(path) for path in paths]
    for shard in shards:
        if EMBEDDINGS not in shard.specs or NORM not in shard.specs or len(shard.specs[EMBEDDINGS].shape) != 2:
            raise InputError(
                f"no {EMBEDDINGS} in it" if EMBEDDINGS not in shard.specs else "not shaped as a LLaMA of Meta's is",
                where=str(shard.path),
                cause="another model's file under a name of Meta's",
                fix="download the shards that Meta published",
            )
    return shards
