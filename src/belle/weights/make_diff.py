"""Subtract a base from a model tuned on it: what may be shared of a model whose base may not."""

import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from belle.weights import difference
from belle.weights.raw_tensors import DTYPES, Model, Tensor, WeightFile
from belle.weights.rewriting import FILES_AT_ONCE, Change, Made, complete, names_of, rewrite
from belle.weights.streams import Progress, side_by_side
from belle.weights.target import check_replaceable, check_space, check_target, told, unfinished


def make_diff(*, tuned: Path, base: Path, out: Path) -> None:
    """Write tuned minus base, tensor by tensor in float32, into the folder ``out``, with ``difference.json``.

    Follows Stanford Alpaca's weight diff. The manifest has each tensor's digest on both sides and after recovery, and
    how many of its elements a float32 sum will not give back to the bit.

    Args:
        tuned: the model's folder in Hugging Face's form; what lies beside its weights is copied.
        base: the base's folder in that form.
        out: the folder for the difference; it appears whole or not at all.

    Raises:
        InputError: no weights, or the two sides' names, shapes or kinds of numbers do not go together.
        BelleError: the disk is too small.
    """
    out = Path(out)
    with told(out):
        model, under = Model(tuned), Model(base)
        sides = difference.matched(under, model, "the tuned model")
        check_target(out, sources=[Path(tuned), Path(base)])
        check_replaceable(out, [difference.NAME, *names_of(model)])
        counted = {name: _Counted() for name in sides}
        changes = {name: _change(sides[name], tensor, counted[name]) for name, tensor in model.tensors.items()}
        size = sum(tensor.elements * DTYPES[changes[name].to] for name, tensor in model.tensors.items())
        check_space(out, size)
        with (
            tqdm(desc="make_diff", total=size, unit="B", unit_scale=True, mininterval=1, delay=1) as bar,
            unfinished(out, []) as folder,
        ):
            progress = Progress(bar)

            def work(file: WeightFile) -> dict[str, Made]:
                return rewrite(file, folder, changes, progress)

            made = {
                name: found
                for part in side_by_side(work, model.files, progress, FILES_AT_ONCE)
                for name, found in part.items()
            }
            others = complete(model, folder, changes)
            entries = {
                name: difference.Entry(
                    tensor.dtype, list(tensor.shape), made[name].base, made[name].new,
                    counted[name].digest.hexdigest(), counted[name].inexact,
                )
                for name, tensor in sorted(model.tensors.items())
            }  # fmt: skip
            total = difference.summed(model, {name: counts.total for name, counts in counted.items()})
            difference.write(folder, difference.Manifest(entries, others, total))


class _Counted:
    """What is taken of a tensor as it will be after recovery."""

    def __init__(self) -> None:
        self.digest, self.inexact, self.total = hashlib.sha256(), 0, 0.0


def _change(base: Tensor, tuned: Tensor, counted: _Counted) -> Change:
    kept = difference.kept_as(tuned.dtype)

    def make(under: np.ndarray, over: np.ndarray) -> np.ndarray:
        found = difference.subtracted(over, tuned.dtype, under, base.dtype)
        again = difference.added(under, base.dtype, found, kept, tuned.dtype)
        word = f"<u{DTYPES[tuned.dtype]}"
        counted.inexact += int(np.count_nonzero(again.view(word) != over.view(word)))
        counted.digest.update(again.data)
        counted.total += difference.total(again, tuned.dtype)
        return found

    return Change(base, tuned, kept, make)
