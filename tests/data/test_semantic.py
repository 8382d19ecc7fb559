"""Duplicates in meaning: what is similar is decided exactly, and the first of its kind is kept."""

import math
import random

import numpy as np
import pytest

from belle.data.semantic.keeping import keep_first, pairs
from belle.data.semantic.similarity import BANDS, Semantic


def cosines(vectors):
    whole = vectors.astype(np.int64)
    lengths = np.maximum(np.sqrt((whole * whole).sum(axis=1)), 1)
    return whole @ whole.T / np.outer(lengths, lengths)


def rounded(vectors):
    return np.rint(vectors * 127 / np.abs(vectors).max(axis=1, keepdims=True)).astype(np.int8)


def planted(rng, groups, of_each, cosine, size=128):
    """Groups of vectors of which each has the given cosine with the first of its group, shuffled."""
    centres = rng.standard_normal((groups, size))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found, names = [], []
    for number, centre in enumerate(centres):
        found.append(centre)
        names.append(number)
        for _ in range(of_each - 1):
            aside = rng.standard_normal(size)
            aside -= (aside @ centre) * centre
            aside /= np.linalg.norm(aside)
            found.append(cosine * centre + math.sqrt(1 - cosine**2) * aside)
            names.append(number)
    order = rng.permutation(len(found))
    return rounded(np.array(found)[order]), np.array(names)[order]


def by_hand(vectors, similarity):
    """What ``keep_first`` says, by comparing all with all."""
    codes, alike = similarity.codes(vectors), cosines(vectors) >= similarity.threshold
    kept, rivals = [], []
    for row in range(len(vectors)):
        found = [
            other
            for other in kept
            if alike[row, other] and (codes[row] == codes[other]).any() and vectors[row].any() and vectors[other].any()
        ]
        rivals.append(found[0] if found else -1)
        if not found:
            kept.append(row)
    return rivals


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_of_its_kind_is_kept(threshold, seed):
    rng = np.random.default_rng(seed)
    vectors, _ = planted(rng, 40, 6, min(0.995, threshold + 0.03), size=64)
    vectors[rng.integers(len(vectors), size=5)] = 0
    vectors[17] = vectors[203]
    similarity = Semantic(threshold)
    assert keep_first(vectors, similarity).tolist() == by_hand(vectors, similarity)


@pytest.mark.parametrize("threshold", [0.7, 0.9])
def test_pairs_are_those_that_keeping_compares(threshold):
    rng = np.random.default_rng(4)
    vectors, _ = planted(rng, 30, 8, 0.97, size=64)
    vectors[3] = 0
    similarity = Semantic(threshold)
    codes, alike = similarity.codes(vectors), cosines(vectors) >= threshold
    few, among = np.array([0, 3, 7, 100, 239]), np.arange(1, 240, 2)
    wanted = {
        (one, other)
        for one in few.tolist()
        for other in among.tolist()
        if one != other and one != 3 and other != 3 and alike[one, other] and (codes[one] == codes[other]).any()
    }
    left, right = pairs(vectors, few, among, similarity)
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert wanted
    none = np.zeros(0, np.int64)
    assert [len(side) for side in pairs(vectors, none, among, similarity)] == [0, 0]
    assert [len(side) for side in pairs(vectors, few, none, similarity)] == [0, 0]


def test_hashes_are_exact_sums():
    """In float32 by a matrix product, in whole numbers by hand: the same side of every plane."""
    from belle.data.semantic.similarity import _planes

    rng = np.random.default_rng(1)
    vectors = rng.integers(-127, 128, (50, 1024)).astype(np.int8)
    vectors[0] = 127
    similarity = Semantic(0.9)
    sides = vectors.astype(np.int64) @ _planes(1024, BANDS * similarity.bits).astype(np.int64) > 0
    weights = 1 << np.arange(similarity.bits)
    assert (similarity.codes(vectors) == sides.reshape(50, BANDS, -1) @ weights).all()


@pytest.mark.parametrize(("threshold", "over"), [(0.8, 0.03), (0.9, 0.02), (0.95, 0.01)])
def test_recall_at_the_threshold_and_above(threshold, over):
    """At the threshold itself 95% of the pairs are compared, by arithmetic; a little above it nearly all."""
    for cosine, least in ((threshold + 0.002, 0.93), (threshold + over, 0.97)):
        rng = np.random.default_rng(7)
        vectors, names = planted(rng, 600, 2, cosine)
        first = {name: at for at, name in reversed(list(enumerate(names.tolist())))}
        later = [at for at, name in enumerate(names.tolist()) if first[name] != at]
        alike = cosines(vectors)
        wanted = [at for at in later if alike[at, first[names[at]]] >= threshold]
        assert len(wanted) > 300
        rivals = keep_first(vectors, Semantic(threshold))
        found = sum(rivals[at] == first[names[at]] for at in wanted)
        assert found / len(wanted) >= least
        assert (rivals[np.setdiff1d(np.arange(len(vectors)), later)] < 0).all(), "no row that is like none goes"


def test_edits_are_decided_as_from_nothing():
    """``keepfirst.decide`` with these pairs: whatever is put in, taken out or moved."""
    from belle.data.cleaning.keepfirst import by_pairs, decide

    rng, draw = np.random.default_rng(9), random.Random(9)
    vectors, _ = planted(rng, 25, 12, 0.93, size=64)
    similarity = Semantic(0.9)
    order, before, reused = list(range(0, len(vectors), 2)), None, 0
    for _ in range(60):
        keys = np.array([[number, 0] for number in order], np.uint64)
        part = vectors[order]

        def anew(part=part):
            rivals = keep_first(part, similarity)
            return rivals < 0, rivals

        def never():
            raise LookupError

        def around(few, among, part=part):
            return pairs(part, few, among, similarity)

        try:
            warm = decide(keys, before, never, by_pairs(around))
            reused += 1
        except LookupError:
            warm = decide(keys, before, anew, by_pairs(around))
        assert warm.keep.tolist() == anew()[0].tolist()
        before = warm
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(order))
            rest = sorted(set(range(len(vectors))) - set(order))
            if draw.random() < 0.5 and rest:
                order.insert(at, draw.choice(rest))
            else:
                order.pop(at)
    assert reused > 30
