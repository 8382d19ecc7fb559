"""Which rows of a sequence are novel: farther than a threshold from every row that was kept before them.

A rare-first prefix index (Bayardo, Ma and Srikant 2007; Xiao et al. 2008), on multisets of tokens: two rows whose LCS
reaches t share a token among the m - t + 1 rarest of the one and the n - t + 1 rarest of the other. Of the pairs that
it brings together, most fall to the places of that token in the two texts, and to signatures of 64 bits; the LCS
decides the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from belle.data.rouge.loops import MOST, Ints, count_rarest, decide_rows
from belle.data.rouge.packed import Rows


def decide(rows: Rows, pool: int, threshold: float) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Go through the rows in order, the first ``pool`` of them kept whatever they are.

    Exact: decides as a comparison with every kept row would.

    Args:
        threshold: ROUGE-L F1 over 0 from which on a row is not novel.

    Returns:
        For each row whether it is kept, and the index of a kept row that reaches the threshold with it, else -1.
    """
    if not threshold > 0:
        raise ValueError(f"a novelty threshold must be over 0, found {threshold}")
    if rows.longest > MOST:
        raise ValueError(f"a row of {rows.longest} tokens; {MOST} are the most that can be compared")
    capacity = np.zeros(rows.vocabulary + 1, np.int64)
    count_rarest(rows.flat, rows.starts, threshold, rows.longest, capacity)
    heads = np.zeros(rows.vocabulary + 1, np.int64)
    np.cumsum(capacity[:-1], out=heads[1:])
    keep, rivals = np.zeros(len(rows), np.bool_), np.full(len(rows), -1, np.int32)
    decide_rows(rows.flat, rows.starts, pool, threshold, rows.longest, heads, keep, rivals)
    return keep, rivals
