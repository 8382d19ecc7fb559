"""A linear classifier of texts in whole numbers, so that it comes out equal, to the byte, on every machine.

Features are hashed runs of characters, present or not. Weights are those of the perceptron with a margin (Krauth and
Mézard 1987), averaged over all steps (Freund and Schapire 1999; Collins 2002): integers, only added and compared.
"""

import json
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from belle.errors import InputError
from belle.files import atomic_folder, require_file

Features = NDArray[np.int64]
"""The places of a text's features, ascending, each once: [F]."""

WEIGHTS, ABOUT = "weights.npy", "classifier.json"
"""The files of a classifier's folder: int64 [classes, 2 ** bits], and what it was trained on."""


def features(text: str, ngrams: int, bits: int) -> Features:
    """Hash every run of 1 to ``ngrams`` characters; width and case are folded, both ends are marked."""
    folded = f"\x02{''.join(unicodedata.normalize('NFKC', text).lower().split())}\x03"
    runs = {
        folded[start : start + length].encode("utf-8", "replace")
        for length in range(1, ngrams + 1)
        for start in range(len(folded) - length + 1)
    }
    return np.unique(np.fromiter((zlib.crc32(run) & ((1 << bits) - 1) for run in runs), np.int64, len(runs)))


@dataclass(frozen=True)
class Linear:
    """A trained classifier; ``weights`` is [classes, 2 ** bits]."""

    classes: tuple[str, ...]
    ngrams: int
    bits: int
    weights: NDArray[np.int64]

    def of(self, text: str) -> str:
        """The class of a text; of several with one score the first."""
        places = features(text, self.ngrams, self.bits)
        return self.classes[int(self.weights[:, places].sum(axis=1).argmax())]

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the classifier as a folder; ``about`` says what it was trained on."""
        with atomic_folder(folder) as temporary:
            np.save(temporary / WEIGHTS, self.weights)
            known = {"classes": list(self.classes), "ngrams": self.ngrams, "bits": self.bits, **about}
            text = json.dumps(known, ensure_ascii=False, indent=2) + "\n"
            (temporary / ABOUT).write_text(text, encoding="utf-8")


def load(folder: Path) -> Linear:
    """Load a classifier that ``save`` wrote.

    Raises:
        InputError: a file is missing, or they do not belong together.
    """
    about = json.loads(require_file(folder / ABOUT, "a classifier").read_text(encoding="utf-8"))
    weights = np.load(require_file(folder / WEIGHTS, "a classifier's weights"), allow_pickle=False)
    wanted = (len(about["classes"]), 1 << about["bits"])
    if weights.shape != wanted or weights.dtype != np.int64:
        raise InputError(
            f"weights of the shape {weights.shape} ({weights.dtype}) where {wanted} (int64) belong",
            where=str(folder),
            cause="files of two classifiers put together",
            fix="train it again",
        )
    return Linear(tuple(about["classes"]), about["ngrams"], about["bits"], weights)


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    ngrams: int,
    bits: int,
    margin: int,
    epochs: int,
    seed: int,
) -> Linear:
    """Train on texts with their labels, each of which is one of ``classes``.

    A text is learnt from where its own class is not ahead of every other by more than ``margin`` for each of its
    features; learning from it once brings it ahead by 2.
    """
    places = [features(text, ngrams, bits) for text in texts]
    wanted = [classes.index(label) for label in labels]
    weights = np.zeros((len(classes), 1 << bits), np.int64)
    passed = np.zeros_like(weights)
    order, rng, step = list(range(len(texts))), Random(seed), 0
    for _ in tqdm(range(epochs), desc="classifier", unit="epoch", mininterval=1, delay=1):
        rng.shuffle(order)
        for place in order:
            step += 1
            right, seen = wanted[place], places[place]
            scores = weights[:, seen].sum(axis=1)
            own, scores[right] = int(scores[right]), np.iinfo(np.int64).min
            rival = int(scores.argmax())
            if own - int(scores[rival]) <= margin * len(seen):
                for class_, sign in ((right, 1), (rival, -1)):
                    weights[class_, seen] += sign
                    passed[class_, seen] += sign * step
    # The mean of the weights after every step, times the number of steps: what is weighed against it stays whole.
    return Linear(tuple(classes), ngrams, bits, weights * (step + 1) - passed)
