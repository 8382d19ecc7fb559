"""Add a base to a released difference: the model that it was taken of."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from belle.errors import BelleError, InputError
from belle.files import sha256_of
from belle.weights import difference
from belle.weights.difference import Manifest
from belle.weights.raw_tensors import DTYPES, Model, Tensor, WeightFile
from belle.weights.rewriting import FILES_AT_ONCE, Change, Made, complete, names_of, rewrite
from belle.weights.streams import Progress, side_by_side
from belle.weights.target import check_replaceable, check_space, check_target, told, unfinished

TOLERANCE = 1e-2
"""How far the sum of all values may be from the published one, as Alpaca's own check has it."""


def recover(*, difference: Path, base: Path, out: Path, check_sum: str = "none") -> None:
    """Write base plus difference, tensor by tensor in float32, into the folder ``out``.

    Undoes ``make_diff``, and Stanford Alpaca's weight diff. Names, shapes and kinds of numbers are checked first;
    where the difference has a manifest, every tensor is held against it on both sides and after the sum.

    Args:
        difference: the released folder in Hugging Face's form; what lies beside its weights is copied.
        base: the base's folder in that form.
        out: the model's folder; it appears whole or not at all.
        check_sum: the sum of all values as published, 50637.1836 for Alpaca's, or "none".

    Raises:
        InputError: no weights, or the two sides do not go together.
        BelleError: a digest or the sum does not hold, or the disk is too small; nothing is left behind.
    """
    _recover(Path(difference), Path(base), Path(out), _number(check_sum))


def _number(check_sum: str) -> float | None:
    if check_sum == "none":
        return None
    try:
        return float(check_sum)
    except ValueError:
        raise InputError(
            f"{check_sum!r} is no sum", where="check_sum", cause="a mistyped number", fix="give a number, or none"
        ) from None


def _recover(released: Path, base: Path, out: Path, check_sum: float | None) -> None:
    with told(out):
        model, under = Model(released), Model(base)
        known = difference.read(released)
        if known:
            _check_manifest(model, known)
        sides = difference.matched(under, model, "the difference")
        check_target(out, sources=[released, base])
        check_replaceable(out, names_of(model))
        sums = dict.fromkeys(sides, 0.0)
        changes = {
            name: _change(sides[name], tensor, known.tensors[name].dtype if known else tensor.dtype, sums)
            for name, tensor in model.tensors.items()
        }
        size = sum(tensor.elements * DTYPES[changes[name].to] for name, tensor in model.tensors.items())
        check_space(out, size)
        with (
            tqdm(desc="recover", total=size, unit="B", unit_scale=True, mininterval=1, delay=1) as bar,
            unfinished(out, []) as folder,
        ):
            progress = Progress(bar)

            def work(file: WeightFile) -> None:
                made = rewrite(file, folder, changes, progress)
                if known:
                    for name, found in made.items():
                        _check_tensor(name, found, known, file.path, under, sides[name])

            side_by_side(work, model.files, progress, FILES_AT_ONCE)
            complete(model, folder, changes)
            if check_sum is not None:
                _check_sum(difference.summed(model, sums), check_sum, released)


def _change(base: Tensor, tensor: Tensor, to: str, sums: dict[str, float]) -> Change:
    def make(under: np.ndarray, over: np.ndarray) -> np.ndarray:
        found = difference.added(under, base.dtype, over, tensor.dtype, to)
        sums[tensor.name] += difference.total(found, to)
        return found

    return Change(base, tensor, to, make)


def _check_manifest(model: Model, known: Manifest) -> None:
    """Hold the released files against their manifest, before any work."""
    where = str(model.folder)
    missing, extra = sorted(set(known.tensors) - set(model.tensors)), sorted(set(model.tensors) - set(known.tensors))
    missing += sorted(name for name in known.others if not (model.folder / name).is_file())
    if missing or extra:
        first = f"{len(missing)} of the manifest missing, as {missing[0]}" if missing else ""
        second = f"{len(extra)} that the manifest does not name, as {extra[0]}" if extra else ""
        raise InputError(
            "; ".join(filter(None, (first, second))),
            where=where,
            cause="an incomplete download, or files of different releases",
            fix="download the folder again",
        )
    for name, entry in known.tensors.items():
        tensor, kept = model.tensors[name], difference.kept_as(entry.dtype)
        if (tensor.dtype, list(tensor.shape)) != (kept, entry.shape):
            raise InputError(
                f"{name} is {tensor.dtype} {list(tensor.shape)}, and the manifest says {kept} {entry.shape}",
                where=where,
                cause="files of different releases",
                fix="download the folder again",
            )
    for name, digest in known.others.items():
        if (found := sha256_of(model.folder / name)) != digest:
            raise InputError(
                f"sha256 {found}, and {difference.NAME} says {digest}",
                where=str(model.folder / name),
                cause="a damaged download, or a file that was changed",
                fix="download it again",
            )


def _check_tensor(name: str, made: Made, known: Manifest, path: Path, base: Model, side: Tensor) -> None:
    """Say which digest of a tensor failed: the difference's, the base's, or the sum's."""
    entry = known.tensors[name]
    if made.other != entry.difference_sha256:
        raise BelleError(
            f"the difference of {name} has the sha256 {made.other}, and the manifest says {entry.difference_sha256}",
            where=str(path),
            cause="a damaged download: the base is not to blame",
            fix="download this file again",
        )
    if made.base != entry.base_sha256:
        raise BelleError(
            f"{name} of the base has the sha256 {made.base}, and the manifest says {entry.base_sha256}",
            where=str(base.folder),
            cause=f"another base of the same shape, or one that was converted or rounded otherwise ({side.dtype} here)",
            fix="use the base that the difference was made from",
        )
    if made.new != entry.recovered_sha256:
        raise BelleError(
            f"{name} came out with the sha256 {made.new}, and the manifest says {entry.recovered_sha256}",
            where=str(path),
            cause="both sides are what the manifest names, so this machine or the release is at fault",
            fix="try on another machine, then tell those who published it",
        )


def _check_sum(found: float, wanted: float, released: Path) -> None:
    if abs(found - wanted) <= TOLERANCE:
        return
    raise BelleError(
        f"the sum of all values is {found:.4f}, and {wanted:.4f} was published (within {TOLERANCE})",
        where=str(released),
        cause="a damaged download, another base, or a base that was converted or rounded otherwise",
        fix="compare both folders' digests with the published ones",
    )
