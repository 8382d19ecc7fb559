"""What weighing a set leaves: a folder of arrays, one item for each row, in the set's order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from belle.errors import InputError
from belle.files import atomic_folder

ABOUT = "about.json"
_ARRAYS = {"keys": ("<u8", (2,)), "losses": ("<f8", (2,)), "counts": ("<i4", (2,)), "vectors": ("|i1", (None,))}


@dataclass(frozen=True)
class Weighed:
    """What a base model said of ``n`` rows.

    Attributes:
        keys: The xxh3 hash of each row's line without outer white space, 128 bits [n, 2].
        losses: Sums of the negative log-likelihood in nats: of all tokens, and of the answer's, given what is before
            them [n, 2].
        counts: How many tokens each is the sum of [n, 2].
        vectors: Where the row lies among others [n, dimensions].
        about: Which model, which settings.
    """

    keys: npt.NDArray[np.uint64]
    losses: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.int8]
    about: dict[str, Any]

    def means(self, kind: int) -> npt.NDArray[np.float64]:
        """The mean loss of a token in nats, of the row (0) or of its answer (1); NaN where there is no token [n]."""
        counts = self.counts[:, kind].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(counts > 0, self.losses[:, kind] / counts, np.nan))

    def taken(self, at: npt.NDArray[np.int64]) -> Weighed:
        """Some rows, in another order."""
        if len(at) == len(self.keys) and (at == np.arange(len(at))).all():
            return self
        return Weighed(self.keys[at], self.losses[at], self.counts[at], self.vectors[at], self.about)


def save(path: Path, weighed: Weighed) -> None:
    """Write the folder."""
    with atomic_folder(path) as folder:
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(getattr(weighed, name)), allow_pickle=False)
        text = json.dumps(weighed.about, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        (folder / ABOUT).write_text(text, encoding="utf-8", newline="\n")


def load(path: Path) -> Weighed:
    """Read the folder; its arrays stay on disk until they are asked for.

    Raises:
        InputError: it is no such folder, or a damaged one.
    """
    arrays: dict[str, Any] = {}
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        for name in _ARRAYS:
            arrays[name] = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"cannot be read: {error}") from None
    rows = {name: len(array) if array.ndim else -1 for name, array in arrays.items()}
    if len(set(rows.values())) != 1 or not isinstance(about, dict):
        raise _damaged(path, f"its arrays have different numbers of rows: {rows}")
    for name, (dtype, (width,)) in _ARRAYS.items():
        found = arrays[name]
        if found.dtype.str != dtype or found.ndim != 2 or (width is not None and found.shape[1] != width):
            raise _damaged(path, f"{name}.npy holds {found.dtype.str} {list(found.shape)}")
    return Weighed(**arrays, about=about)


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"no weights of rows: {what}",
        where=str(path),
        cause="another folder, or a copy that was not finished",
        fix="build it again with `snakemake`",
    )
