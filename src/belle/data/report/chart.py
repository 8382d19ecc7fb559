"""Pictures as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import zip_longest

WIDTH = 760
_LABEL, _NUMBER = 190, 150
_ROW, _THIN = 24, 12
_HEIGHT, _FOOT, _TOP = 150, 22, 8
_MOST_EDGES = 16

Bar = tuple[str, int, str]
"""Label, length, and what stands beside it."""


def bars(title: str, items: Sequence[Bar]) -> str:
    """Draw one horizontal bar each, longest as wide as there is room; none where there are no items."""
    most = max((value for _, value, _ in items), default=0)
    parts = []
    for place, (label, value, beside) in enumerate(items):
        top = place * _ROW
        wide = _scaled(value, most, WIDTH - _LABEL - _NUMBER)
        parts.append(
            f'<text class="name" x="{_LABEL - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="one" x="{_LABEL}" y="{top + 4}" width="{wide}" height="{_ROW - 8}">'
            f"<title>{escape(label)}: {value:,}</title></rect>"
            f'<text x="{_LABEL + wide + 6}" y="{top + 16}">{escape(beside)}</text>'
        )
    return _svg(title, len(items) * _ROW, parts) if items else ""


def pairs(title: str, items: Sequence[tuple[str, int, int]]) -> str:
    """Draw two horizontal bars each: before and after."""
    most = max((max(before, after) for _, before, after in items), default=0)
    parts = []
    for place, (label, before, after) in enumerate(items):
        top = place * (_ROW + 6)
        parts.append(f'<text class="name" x="{_LABEL - 8}" y="{top + 19}" text-anchor="end">{escape(label)}</text>')
        for row, (style, value) in enumerate((("before", before), ("after", after))):
            wide = _scaled(value, most, WIDTH - _LABEL - _NUMBER)
            y = top + 3 + row * _THIN
            parts.append(
                f'<rect class="{style}" x="{_LABEL}" y="{y}" width="{wide}" height="{_THIN - 1}">'
                f"<title>{escape(label)}, {style}: {value:,}</title></rect>"
                f'<text class="small" x="{_LABEL + wide + 6}" y="{y + 9}">{value:,}</text>'
            )
    return _svg(title, len(items) * (_ROW + 6), parts) if items else ""


def histograms(
    title: str, edges: Sequence[int], before: Sequence[int], after: Sequence[int], what: str = "length"
) -> str:
    """Draw two histograms of ``what`` over the same bins in one picture: columns, ``before`` behind ``after``.

    Bin i goes from ``edges[i]`` to under ``edges[i + 1]``; the shorter of the two sides goes on with zeros.
    """
    columns = list(zip_longest(before, after, fillvalue=0))
    most = max((max(pair) for pair in columns), default=0)
    if not most:
        return ""
    first = next(place for place, pair in enumerate(columns) if any(pair))
    columns = columns[first:]
    step = WIDTH / len(columns)
    every = -(-len(columns) // _MOST_EDGES)
    parts = []
    for place, pair in enumerate(columns):
        low, high = edges[first + place], edges[first + place + 1]
        span = f"{low:,}" if high - low == 1 else f"{low:,} to {high - 1:,}"
        for style, value, shrink in (("before", pair[0], 0.08), ("after", pair[1], 0.22)):
            tall = _scaled(value, most, _HEIGHT)
            parts.append(
                f'<rect class="{style}" x="{place * step + shrink * step:.1f}" y="{_TOP + _HEIGHT - tall}"'
                f' width="{step * (1 - 2 * shrink):.1f}" height="{tall}">'
                f"<title>{what} {span}, {style}: {value:,}</title></rect>"
            )
        if place % every == 0:
            parts.append(f'<text class="small" x="{place * step:.1f}" y="{_TOP + _HEIGHT + 15}">{low:,}</text>')
    parts.append(f'<line x1="0" x2="{WIDTH}" y1="{_TOP + _HEIGHT}" y2="{_TOP + _HEIGHT}"/>')
    return _svg(title, _TOP + _HEIGHT + _FOOT, parts)


def _scaled(value: int, most: int, room: int) -> int:
    """A length in pixels; what is there at all is seen."""
    return max(1, round(value * room / most)) if value else 0


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg role="img" aria-label="{escape(title)}" {size}>' + "".join(parts) + "</svg>"
