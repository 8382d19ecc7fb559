"""A share of right answers with its interval."""

import math

Z95 = 1.96


def share_of(right: float, count: int) -> tuple[float | None, list[float] | None]:
    """A share and its 95% interval by Wilson's score, to 4 places; None of nothing."""
    if not count:
        return None, None
    share, z2 = right / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return round(share, 4), [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]
