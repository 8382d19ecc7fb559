"""Every compiled loop of ROUGE-L, in one file: numba keeps machine code by the file of the function that is called, and
would go on with what a changed file beside it held before.

Rows lie end to end: ``flat`` holds token ids, the rarest first in order, ``starts`` where each row begins. The LCS is
bit-parallel (Hyyrö 2004): words of 64 bits carry a whole row through the recurrence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

UNREACHABLE = 1 << 30
BITS = 64
MOST = (1 << 16) - 1
"""The most tokens of a row: length, group and place share a word with which one read of memory brings them all."""
MANY = -1
"""In the place of a token that stands more than once in its row."""
_FEW = 48
"""Tokens up to which an insertion sort is the fastest."""
_CLOSE = 1 - 1e-12
"""Two ways of computing one score differ by less than this."""


@njit(cache=True, nogil=True, inline="always")
def score(common: int, length_a: int, length_b: int) -> float:
    """ROUGE-L F1 of two rows, to the bit as Python computes it; 0 where they share nothing."""
    if common == 0:
        return 0.0
    precision, recall = common / length_a, common / length_b
    return 2 * precision * recall / (precision + recall)


@njit(cache=True, nogil=True)
def fill_needs(threshold: float, m: int, needs: Ints) -> tuple[int, int, int]:
    """Write the least LCS with which rows of m and n tokens reach the threshold to ``needs[n]``.

    Returns:
        The least of them, and the span of n in which any can be reached: outside it ``needs`` is left as it is.
    """
    # F is at most 2 min(m, n) / (m + n); one more on each side for rounding
    first = max(1, int(threshold * m / (2 - threshold)) - 1) if threshold < 2 else len(needs)
    last = min(len(needs) - 1, int(m * (2 - threshold) / threshold) + 2)
    least = UNREACHABLE
    for n in range(first, last + 1):
        # from below the real solution of 2L / (m + n) = threshold: the float arithmetic has the last word
        common = max(1, int(threshold * (m + n) / 2) - 1)
        longest = min(m, n)
        while common <= longest and score(common, m, n) < threshold:
            common += 1
        needs[n] = common if common <= longest else UNREACHABLE
        least = min(least, needs[n])
    return least, first, last


@intrinsic  # type: ignore[untyped-decorator]
def _ones(_: Any, word: Any) -> Any:
    """The processor's own count of bits, of several words at once where a loop allows it."""

    def generate(__: Any, builder: Any, ___: Any, given: Any) -> Any:
        return builder.ctpop(given[0])

    return types.uint64(types.uint64), generate


@njit(cache=True, nogil=True, inline="always")
def bit_count(word: np.uint64) -> int:
    """How many bits of a word are 1."""
    return np.int64(_ones(word))  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def set_places(flat: Ints, start: int, end: int, local: Ints, places: Words) -> int:
    """Note where each token of a row stands, a bit for each place.

    Args:
        local: By token: which line of ``places`` is its; -1 for all tokens before and after.
        places: A line of ``ceil(m / 64)`` words for each different token, written end to end.

    Returns:
        How many different tokens the row has.
    """
    width = (end - start + BITS - 1) // BITS
    found = 0
    for at in range(start, end):
        token = flat[at]
        if local[token] < 0:
            local[token] = found
            places[found * width : (found + 1) * width] = 0
            found += 1
        place = at - start
        places[local[token] * width + place // BITS] |= np.uint64(1) << np.uint64(place % BITS)
    return found


@njit(cache=True, nogil=True)
def clear_places(flat: Ints, start: int, end: int, local: Ints) -> None:
    """Forget the row of ``set_places``."""
    for at in range(start, end):
        local[flat[at]] = -1


@njit(cache=True, nogil=True)
def lcs(length: int, local: Ints, places: Words, flat: Ints, start: int, end: int, open_: Words) -> int:
    """LCS of the row of ``set_places``, ``length`` tokens long, with the row ``flat[start:end]``.

    ``open_`` is room for ``ceil(length / 64)`` words.
    """
    width = (length + BITS - 1) // BITS
    if width == 1:
        word = ~np.uint64(0)
        for at in range(start, end):
            line = local[flat[at]]
            if line >= 0:
                hit = word & places[line]
                # the carry moves each match to its leftmost free place
                word = (word + hit) | (word ^ hit)
        # bits above the row stay 1: no place is there to be hit, and a carry into them falls out at the top or not
        return bit_count(~word & _low(length))
    for index in range(width):
        open_[index] = ~np.uint64(0)
    for at in range(start, end):
        line = local[flat[at]]
        if line < 0:
            continue
        carry = np.uint64(0)
        for index in range(width):
            word = open_[index]
            hit = word & places[line * width + index]
            total = word + hit
            over = np.uint64(total < word)
            total += carry
            over |= np.uint64(total < carry)
            open_[index] = total | (word ^ hit)
            carry = over
    common = 0
    for index in range(width):
        rest = length - index * BITS
        common += bit_count(~open_[index] & _low(min(rest, BITS)))
    return common


@njit(cache=True, nogil=True, inline="always")
def _low(bits: int) -> np.uint64:
    return ~np.uint64(0) if bits >= BITS else (np.uint64(1) << np.uint64(bits)) - np.uint64(1)


@njit(cache=True, nogil=True)
def rare_first(flat: Ints, start: int, end: int, sorted_: Longs, tokens: Ints, groups: Ints, places: Ints) -> int:
    """The different tokens of a row, the rarest first.

    Writes each token's id, where its group begins in the row sorted by rarity, and its place in the text (``MANY`` if
    it has several); returns how many there are.
    """
    length = end - start
    if length <= _FEW:
        for at in range(length):
            value = (np.int64(flat[start + at]) << 32) | at
            to = at
            while to > 0 and sorted_[to - 1] > value:
                sorted_[to] = sorted_[to - 1]
                to -= 1
            sorted_[to] = value
    else:
        for at in range(length):
            sorted_[at] = (np.int64(flat[start + at]) << 32) | at
        sorted_[:length].sort()
    found = 0
    for at in range(length):
        token = np.int32(sorted_[at] >> 32)
        if found and tokens[found - 1] == token:
            places[found - 1] = MANY
        else:
            tokens[found], groups[found], places[found] = token, at, np.int32(sorted_[at] & 0x7FFFFFFF)
            found += 1
    return found


@njit(cache=True, nogil=True)
def count_rarest(flat: Ints, starts: Longs, threshold: float, longest: int, capacity: Longs) -> None:
    """How many rows have each token among their rarest, as far as the index holds them."""
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    least_of = np.full(longest + 1, -1, np.int64)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    for row in range(len(starts) - 1):
        start, end = starts[row], starts[row + 1]
        length = end - start
        if least_of[length] < 0:
            least, _, _ = fill_needs(threshold, length, needs)
            least_of[length] = least
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            if groups[index] > length - least_of[length]:
                break
            capacity[tokens[index]] += 1


@njit(cache=True, nogil=True)
def signatures_of(flat: Ints, starts: Longs) -> tuple[Words, Words]:
    """A bit for each token of each row: one of 64 [N], and one of 256, of which the 64 are the sum [N, 4]."""
    found, wide = np.zeros(len(starts) - 1, np.uint64), np.zeros((len(starts) - 1, 4), np.uint64)
    for row in range(len(found)):
        for at in range(starts[row], starts[row + 1]):
            place = (np.uint64(flat[at]) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(56)
            wide[row, place & np.uint64(3)] |= np.uint64(1) << (place >> np.uint64(2))
        found[row] = wide[row, 0] | wide[row, 1] | wide[row, 2] | wide[row, 3]
    return found, wide


@njit(cache=True, nogil=True, inline="always")
def _may_reach(rest: int, m: int, group: int, place: int, needs: Ints) -> bool:
    """Whether a row of ``m`` tokens, one of which it has at ``place``, may reach the threshold with a posting's row."""
    n = rest & MOST
    need = needs[n]
    theirs = (rest >> 32) - 1
    if group > m - need or (rest >> 16) & MOST > n - need:
        return False
    # a token that stands once in both: whatever LCS goes through it is no longer than this
    through = min(place, theirs) + 1 + min(m - 1 - place, n - 1 - theirs)
    return place == MANY or theirs == MANY or through >= need


@njit(cache=True, nogil=True, inline="always")
def _alike(mine: np.uint64, its: np.uint64, m: int, n: int, need: int) -> bool:
    """Whether two rows' signatures leave room for an LCS of ``need`` tokens."""
    return bit_count(mine & ~its) <= m - need and bit_count(its & ~mine) <= n - need


@njit(cache=True, nogil=True, inline="always")
def _alike_wide(wide: Words, row: int, other: int, m: int, n: int, need: int) -> bool:
    """What ``_alike`` tells, by four words each: few rows pass the one and not the other, and most of those fall."""
    mine_only = its_only = 0
    for word in range(4):
        mine, its = wide[row, word], wide[other, word]
        mine_only += bit_count(mine & ~its)
        its_only += bit_count(its & ~mine)
    return mine_only <= m - need and its_only <= n - need


@njit(cache=True, nogil=True)
def decide_rows(
    flat: Ints, starts: Longs, pool: int, threshold: float, longest: int, heads: Longs,
    keep: Mask, rivals: Ints,
) -> None:  # fmt: skip
    count = len(starts) - 1
    signatures, wide = signatures_of(flat, starts)
    ends = heads[:-1].copy()  # of each token's list; it begins at its head
    post_row, post_rest = np.empty(heads[-1], np.int32), np.empty(heads[-1], np.uint64)
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    seen, candidates = np.full(count, -1, np.int32), np.empty(count, np.int32)
    local = np.full(len(heads), -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    open_ = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    for row in range(count):
        start, end = starts[row], starts[row + 1]
        m = end - start
        if m == 0:
            keep[row] = True
            continue
        least, first, last = fill_needs(threshold, m, needs)
        different = rare_first(flat, start, end, sorted_, tokens, groups, places)
        rival = -1
        if row >= pool:
            found = 0
            for index in range(different):
                group, place, token = groups[index], places[index], tokens[index]
                if group > m - least:
                    break
                for at in range(heads[token], ends[token]):
                    rest = np.int64(post_rest[at])
                    other = post_row[at]
                    if not _may_reach(rest, m, group, place, needs) or seen[other] == row:
                        continue
                    seen[other] = row
                    n, need = rest & MOST, needs[rest & MOST]
                    if _alike(signatures[row], signatures[other], m, n, need) and _alike_wide(
                        wide, row, other, m, n, need
                    ):
                        candidates[found] = other
                        found += 1
            if found:
                set_places(flat, start, end, local, lines)
                # rows of one origin stand together: the last is the likeliest
                for index in range(found - 1, -1, -1):
                    other = candidates[index]
                    begin, stop = starts[other], starts[other + 1]
                    if lcs(m, local, lines, flat, begin, stop, open_) >= needs[stop - begin]:
                        rival = other
                        break
                clear_places(flat, start, end, local)
        for length in range(first, last + 1):
            needs[length] = UNREACHABLE
        rivals[row] = rival
        keep[row] = rival < 0
        if rival < 0:
            for index in range(different):
                if groups[index] > m - least:
                    break
                at = ends[tokens[index]]
                post_row[at] = row
                post_rest[at] = np.uint64(m | np.int64(groups[index]) << 16 | np.int64(places[index] + 1) << 32)
                ends[tokens[index]] = at + 1


@njit(cache=True, nogil=True)
def count_few(flat: Ints, starts: Longs, few: Longs, threshold: float, longest: int, heads: Longs) -> None:
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    for row in few:
        start, end = starts[row], starts[row + 1]
        least, _, _ = fill_needs(threshold, end - start, needs)
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            if groups[index] > end - start - least:
                break
            heads[tokens[index] + 1] += 1


@njit(cache=True, nogil=True)
def index_few(
    flat: Ints, starts: Longs, few: Longs, threshold: float, longest: int, heads: Longs, post_few: Ints,
    post_rest: Words,
) -> None:  # fmt: skip
    ends = heads[:-1].copy()
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    for slot in range(len(few)):
        start, end = starts[few[slot]], starts[few[slot] + 1]
        m = end - start
        least, _, _ = fill_needs(threshold, m, needs)
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            if groups[index] > m - least:
                break
            at = ends[tokens[index]]
            post_few[at] = slot
            post_rest[at] = np.uint64(m | np.int64(groups[index]) << 16 | np.int64(places[index] + 1) << 32)
            ends[tokens[index]] = at + 1


@njit(cache=True, nogil=True)
def near_rows(
    part: Longs, flat: Ints, starts: Longs, signatures: Words, wide: Words, threshold: float, longest: int, few: Longs,
    heads: Longs, post_few: Ints, post_rest: Words, near: Ints, counts: Ints,
) -> None:  # fmt: skip
    """Note which of the few may be similar to each row of a part.

    Args:
        part: Rows, those of one length one after the other.
        heads, post_few, post_rest: An index of the few by their rarest tokens.
        near: Room for all the few for each row; the row at i has its ``counts[i]`` numbers from ``i * len(few)`` on.
    """
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    sorted_ = np.empty(longest, np.int64)
    tokens, groups, places = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    seen = np.full(len(few), -1, np.int64)
    first, last, least, m = 1, 0, 0, np.int64(-1)
    for at in range(len(part)):
        row = part[at]
        start, end = starts[row], starts[row + 1]
        if end - start != m:
            for n in range(first, last + 1):
                needs[n] = UNREACHABLE
            m = end - start
            least, first, last = fill_needs(threshold, m, needs)
        to = at * len(few)
        for index in range(rare_first(flat, start, end, sorted_, tokens, groups, places)):
            group, place, token = groups[index], places[index], tokens[index]
            if group > m - least:
                break
            for post in range(heads[token], heads[token + 1]):
                rest = np.int64(post_rest[post])
                slot = post_few[post]
                if seen[slot] == row or not _may_reach(rest, m, group, place, needs):
                    continue
                seen[slot] = row
                its_m = rest & MOST
                need = needs[its_m]
                if _alike(signatures[row], signatures[few[slot]], m, its_m, need) and _alike_wide(
                    wide, row, few[slot], m, its_m, need
                ):
                    near[to] = slot
                    to += 1
        counts[at] = to - at * len(few)


@njit(cache=True, nogil=True)
def only_similar(
    part: Longs, flat: Ints, starts: Longs, threshold: float, longest: int, vocabulary: int, few: Longs,
    witness: Longs, near: Ints, counts: Ints,
) -> None:  # fmt: skip
    """Of what may be similar to each row of a part, leave what is."""
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    local = np.full(vocabulary, -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    open_ = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    first, last, m = 1, 0, np.int64(-1)
    for at in range(len(part)):
        if not counts[at]:
            continue
        row = part[at]
        start, end = starts[row], starts[row + 1]
        if end - start != m:
            for n in range(first, last + 1):
                needs[n] = UNREACHABLE
            m = end - start
            _, first, last = fill_needs(threshold, m, needs)
        set_places(flat, start, end, local, lines)
        begin = to = at * len(few)
        for index in range(begin, begin + counts[at]):
            other = few[near[index]]
            # what was dropped has no say any more
            if other == row or witness[other] >= 0:
                continue
            begin_of, end_of = starts[other], starts[other + 1]
            if lcs(m, local, lines, flat, begin_of, end_of, open_) >= needs[end_of - begin_of]:
                near[to] = near[index]
                to += 1
        counts[at] = to - begin
        clear_places(flat, start, end, local)


@njit(cache=True, nogil=True)
def settle_rows(
    part: Longs, turns: Longs, few: Longs, asked: Mask, near: Ints, counts: Ints, keep: Mask, witness: Longs
) -> int:
    """Decide the rows of a part, in the order of ``turns``, by those of the few that are similar.

    Returns:
        How many of the few were dropped.
    """
    dropped = 0
    for at in turns:
        row = part[at]
        if asked[row] and witness[row] >= 0:
            continue
        keep[row] = True
        begin, end = at * len(few), at * len(few) + counts[at]
        if not asked[row]:  # of two rows to decide the first has had its turn
            for index in range(begin, end):
                other = few[near[index]]
                if other < row and keep[other]:
                    keep[row], witness[row] = False, other
                    break
        if keep[row]:
            for index in range(begin, end):
                other = few[near[index]]
                if other > row and witness[other] < 0:
                    witness[other] = row
                    dropped += 1
    return dropped


@njit(cache=True, nogil=True)
def alike_rows(
    flat: Ints, starts: Longs, some: Longs, others: Longs, threshold: float, longest: int, vocabulary: int
) -> Mask:
    needs = np.full(longest + 1, UNREACHABLE, np.int32)
    local = np.full(vocabulary, -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    open_ = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    found = np.zeros(len(some), np.bool_)
    for index in range(len(some)):
        start, end = starts[some[index]], starts[some[index] + 1]
        begin, stop = starts[others[index]], starts[others[index] + 1]
        if start == end or begin == stop:
            continue
        _, first, last = fill_needs(threshold, end - start, needs)
        set_places(flat, start, end, local, lines)
        found[index] = lcs(end - start, local, lines, flat, begin, stop, open_) >= needs[stop - begin]
        clear_places(flat, start, end, local)
        for length in range(first, last + 1):
            needs[length] = UNREACHABLE
    return found


@njit(cache=True, nogil=True)
def entries_of(flat: Ints, starts: Longs, kept: Ints, vocabulary: int) -> tuple[Ints, Ints, Words]:
    last, found = np.full(vocabulary, -1, np.int64), 0
    tokens, slots = np.empty(len(flat), np.int32), np.empty(len(flat), np.int32)
    words = np.zeros(len(flat), np.uint64)
    for slot in range(len(kept)):
        start, end = starts[kept[slot]], starts[kept[slot] + 1]
        if end - start > BITS:
            continue
        first = found  # of this row's entries; an older one of a token is another row's
        for at in range(start, end):
            token = flat[at]
            if last[token] < first:
                last[token], tokens[found], slots[found] = found, token, slot
                found += 1
            words[last[token]] |= np.uint64(1) << np.uint64(at - start)
    return tokens[:found], slots[:found], words[:found]


@njit(cache=True, nogil=True)
def rank_rows(
    part: Longs, pool: int, flat: Ints, starts: Longs, lengths: Longs, kept: Ints, before: Longs, heads: Longs,
    post_slot: Ints, post_word: Words, vocabulary: int, longest: int, scores: Floats, whom: Ints, mean: Floats,
) -> None:  # fmt: skip
    full = ~np.uint64(0)
    open_ = np.full(len(kept), full, np.uint64)
    local = np.full(vocabulary, -1, np.int32)
    lines = np.empty(longest * ((longest + BITS - 1) // BITS) + 1, np.uint64)
    room = np.empty((longest + BITS - 1) // BITS + 1, np.uint64)
    inverse = np.empty(longest + 1)
    top = scores.shape[1]
    for number in part:
        start, end = starts[pool + number], starts[pool + number + 1]
        m, others = end - start, before[number]
        if m == 0 or others == 0:
            continue
        for at in range(start, end):
            token = flat[at]
            for entry in range(heads[token], heads[token + 1]):
                slot = post_slot[entry]
                if slot >= others:
                    break
                word = open_[slot]
                hit = word & post_word[entry]
                open_[slot] = (word + hit) | (word ^ hit)
        for n in range(longest + 1):
            inverse[n] = 2.0 / (m + n)
        set_places(flat, start, end, local, lines)
        total, low = 0.0, 0.0
        for slot in range(others):
            n = lengths[kept[slot]]
            if n > BITS:
                begin = starts[kept[slot]]
                common = lcs(m, local, lines, flat, begin, begin + n, room)
            else:
                common = bit_count(~open_[slot])
                open_[slot] = full
            near = common * inverse[n]
            total += near
            if near > low * _CLOSE and common > 0:
                found = score(common, m, n)
                if found > low:
                    to = top - 1
                    while to > 0 and scores[number, to - 1] < found:
                        scores[number, to] = scores[number, to - 1]
                        whom[number, to] = whom[number, to - 1]
                        to -= 1
                    scores[number, to], whom[number, to] = found, kept[slot]
                    low = scores[number, top - 1]
        clear_places(flat, start, end, local)
        mean[number] = total / others
