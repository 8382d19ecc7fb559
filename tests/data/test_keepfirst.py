"""Deciding again after an edit comes to what deciding everything comes to."""

import random

import numpy as np
import pytest
from xxhash import xxh3_128_digest

from belle.data.cleaning.keepfirst import by_pairs, decide
from belle.data.cleaning.same import first_seen, keys_of, matched


def keys(values):
    return keys_of(b"".join(xxh3_128_digest(repr(value).encode()) for value in values))


class Near:
    """Numbers are similar when they are at most ``reach`` apart; counts how many rows were asked about."""

    def __init__(self, values, reach):
        self.values, self.reach, self.asked = values, reach, 0

    def decide(self):
        keep, witness = np.zeros(len(self.values), np.bool_), np.full(len(self.values), -1)
        for row, value in enumerate(self.values):
            rivals = [at for at in range(row) if keep[at] and abs(self.values[at] - value) <= self.reach]
            keep[row] = not rivals
            if rivals:
                witness[row] = rivals[0]
        return keep, witness

    def pairs(self, rows, among):
        self.asked += len(rows)
        found = [
            (row, other)
            for row in rows.tolist()
            for other in among.tolist()
            if other != row and abs(self.values[other] - self.values[row]) <= self.reach
        ]
        return np.array([row for row, _ in found], np.int64), np.array([other for _, other in found], np.int64)


def edited(values, rng, free):
    values = list(values)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(5)
        if kind == 0 or len(values) < 3:
            values.insert(rng.randint(0, len(values)), free.pop())
        elif kind == 1:
            free.append(values.pop(rng.randrange(len(values))))
        elif kind == 2:
            at = rng.randrange(len(values))
            free.append(values[at])
            values[at] = free.pop(0)
        elif kind == 3:
            values.insert(rng.randrange(len(values)), values.pop(rng.randrange(len(values))))
        else:
            start = rng.randrange(len(values))
            part = values[start : start + 5]
            rng.shuffle(part)
            values[start : start + 5] = part
    return values


@pytest.mark.parametrize("seed", range(20))
def test_every_edit_ends_as_deciding_everything(seed):
    rng = random.Random(seed)
    reach = rng.choice([0, 1, 2, 5])
    free = list(range(300))
    rng.shuffle(free)
    values = [free.pop() for _ in range(rng.choice([3, 40, 120]))]
    before = decide(keys(values), None, Near(values, reach).decide, None)
    for _ in range(60):
        values = edited(values, rng, free)
        near = Near(values, reach)
        after = decide(keys(values), before, near.decide, by_pairs(near.pairs))
        keep, _ = near.decide()
        assert (after.keep == keep).all()
        for row, witness in enumerate(after.witness.tolist()):
            if after.keep[row]:
                assert witness == -1
            else:
                assert witness < row
                assert after.keep[witness]
                assert abs(values[witness] - values[row]) <= reach
        before = after


def test_a_small_edit_asks_about_few_rows():
    values = random.Random(1).sample(range(100_000), 2_000)
    near = Near(values, 20)
    before = decide(keys(values), None, near.decide, None)
    values.insert(1_000, 100_001)
    near = Near(values, 20)
    decide(keys(values), before, near.decide, by_pairs(near.pairs))
    assert 0 < near.asked < 30


def test_keys_that_share_a_word_are_told_apart():
    pairs = np.array([[1, 2], [1, 1], [2, 2], [1, 2], [1, 1], [0, 5]], np.uint64)
    assert first_seen(pairs).tolist() == [0, 1, 2, 0, 1, 5]
    assert matched(pairs, pairs[[1, 4, 2]]).tolist() == [-1, 0, 2, -1, 0, -1]
    assert first_seen(np.empty((0, 2), np.uint64)).tolist() == []
    assert matched(pairs[:0], pairs).tolist() == []
