"""The page: totals, reasons, lengths, classes, samples of what fell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from belle.data.report import chart

_SHOWN = 400
"""Characters of a rejected row's text that are shown."""
_KNOWN = ("rows_in", "rows_out", "reasons", "samples", "chars", "classes", "contamination", "perplexity")
_FIGURES = ("min", "mean", "median", "p95", "max")
# What no page should hold: control characters are shown by their pictures, half surrogate pairs as lost.
_PICTURES = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)} | {127: "\u2421"}

_STYLE = """
:root { --ink: #1f2328; --soft: #636c76; --line: #d5dae0; --paper: #ffffff; --box: #f6f8fa;
  --before: #b6c2d1; --after: #1f6feb; --one: #c4432b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b0; --line: #363d47; --paper: #14181d;
  --box: #1c2128; --before: #56626f; --after: #58a0ff; --one: #e5735c; } }
body { margin: 2rem auto; max-width: 800px; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 15px/1.55 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.cards div { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; }
.cards b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.soft { color: var(--soft); }
svg { max-width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font-size: 12.5px; } svg text.small { fill: var(--soft); font-size: 10.5px; }
svg line { stroke: var(--line); }
rect.before { fill: var(--before); } rect.after { fill: var(--after); } rect.one { fill: var(--one); }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px; }
.key.before::before { background: var(--before); } .key.after::before { background: var(--after); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top;
  unicode-bidi: isolate; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.text { white-space: pre-wrap; } code { font-size: .85em; }
details { border: 1px solid var(--line); border-radius: 8px; padding: .4rem .9rem; margin: .5rem 0; }
summary { cursor: pointer; } article { border-top: 1px solid var(--line); padding: .5rem 0; }
article p { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
article p span { color: var(--soft); margin-right: .5em; }
"""


def html(report: Mapping[str, Any], name: str = "") -> str:
    """Render a report of ``clean`` as one HTML page with nothing outside it: no script, no font, no picture.

    Args:
        report: ``rows_in``, ``rows_out``, ``reasons`` {reason: rows}; and, where there are, ``samples`` {reason: rows
            with ``id, instruction, input, output`` and perhaps ``rival``, or ids}, ``chars`` {``before``, ``after``:
            {field: figures and ``histogram``, in which bin i has the texts of ``edges[i]`` to under ``edges[i + 1]``
            characters}}, ``classes`` {``before``, ``after``: {class: rows}}, ``contamination``,
            ``perplexity`` {kind: {``before``, ``after``: figures and ``histogram``}}. Further keys (digests,
            settings) are shown as they are.
        name: The set's name, for the title.

    Returns:
        A page that can be written as UTF-8 whatever the rows hold; their texts are escaped, and cut at 400 characters.
    """
    title = f"Report of {name}" if name else "Report of a set"
    sections = [
        _totals(report),
        _reasons(report),
        _lengths(report.get("chars") or {}),
        _classes(report.get("classes") or {}),
        _perplexity(report.get("perplexity") or {}),
        _anything("Contamination", report.get("contamination")),
        _samples(report.get("samples") or {}, report["reasons"]),
        *(_anything(key, value) for key, value in report.items() if key not in _KNOWN),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """A value as HTML shows it, whatever characters it has."""
    plain = str(value).encode("utf-8", "replace").decode().translate(_PICTURES)
    return escape(plain)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "–"


def _totals(report: Mapping[str, Any]) -> str:
    rows_in, rows_out = report["rows_in"], report["rows_out"]
    dropped = rows_in - rows_out
    cards = (
        ("rows in", f"{rows_in:,}"),
        ("rows out", f"{rows_out:,}"),
        ("dropped", f"{dropped:,}"),
        ("kept", _share(rows_out, rows_in)),
    )
    return '<div class="cards">' + "".join(f"<div>{name}<b>{value}</b></div>" for name, value in cards) + "</div>"


def _reasons(report: Mapping[str, Any]) -> str:
    counts: Mapping[str, int] = report["reasons"]
    rows_in = report["rows_in"]
    # By count, and by the recipe's order where counts are equal: that is the order in which they come.
    there = sorted((item for item in counts.items() if item[1]), key=lambda item: -item[1])
    none = [name for name, count in counts.items() if not count]
    picture = chart.bars(
        "rows dropped by reason",
        [(_plain(name), count, f"{count:,} ({_share(count, rows_in)})") for name, count in there],
    )
    rest = f'<p class="soft">No row: {_text(", ".join(none))}.</p>' if none else ""
    return f"<h2>Why rows were dropped</h2>\n{picture or '<p>No row was dropped.</p>'}\n{rest}"


def _plain(name: str) -> str:
    return name.encode("utf-8", "replace").decode().translate(_PICTURES)


_KEY = '<p><span class="key before">before</span> &#160; <span class="key after">after</span></p>'


def _lengths(chars: Mapping[str, Any]) -> str:
    before, after = chars.get("before") or {}, chars.get("after") or {}
    fields = dict.fromkeys((*before, *after))
    parts = [
        _distribution(f"lengths of {_plain(field)}", field, before.get(field) or {}, after.get(field) or {}, "length")
        for field in fields
    ]
    if not parts:
        return ""
    return "<h2>Lengths, in characters</h2>\n" + _KEY + "\n".join(parts)


def _perplexity(found: Mapping[str, Any]) -> str:
    kinds = {kind: sides for kind, sides in found.items() if isinstance(sides, Mapping) and "before" in sides}
    parts = [
        _distribution(f"perplexity of {_plain(kind)}", kind, sides["before"], sides.get("after") or {}, "perplexity")
        for kind, sides in kinds.items()
    ]
    rest = {key: value for key, value in found.items() if key not in kinds}
    return f"<h2>Perplexity of a token</h2>\n{_KEY}{''.join(parts)}\n{_table(rest)}" if parts else ""


def _distribution(title: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any], what: str) -> str:
    """A picture and a table of the figures of some values before and after."""
    sides = (before, after)
    bins = [side.get("histogram") or {"edges": [0], "counts": []} for side in sides]
    edges = max((side["edges"] for side in bins), key=len)
    picture = chart.histograms(title, edges, bins[0]["counts"], bins[1]["counts"], what)
    heads = "".join(f'<th class="number">{name}</th>' for name in _FIGURES)
    rows = "".join(
        f"<tr><td>{when}</td>"
        + "".join(f'<td class="number">{_number(side.get(name))}</td>' for name in _FIGURES)
        + "</tr>"
        for when, side in zip(("before", "after"), sides, strict=True)
    )
    return f"<h3>{_text(name)}</h3>\n{picture}\n<table><tr><th></th>{heads}</tr>{rows}</table>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _classes(classes: Mapping[str, Any]) -> str:
    before, after = classes.get("before") or {}, classes.get("after") or {}
    names = sorted(dict.fromkeys((*before, *after)), key=lambda name: (-before.get(name, 0), name))
    if not names:
        return ""
    picture = chart.pairs("rows by class", [(_plain(name), before.get(name, 0), after.get(name, 0)) for name in names])
    return f"<h2>Classes</h2>\n{_KEY}{picture}"


def _samples(samples: Mapping[str, Sequence[Any]], counts: Mapping[str, int]) -> str:
    parts = []
    for reason, rows in samples.items():
        if not rows:
            continue
        head = f"{_text(reason)} <span class='soft'>{len(rows):,} of {counts.get(reason, len(rows)):,}</span>"
        parts.append(f"<details><summary>{head}</summary>{''.join(map(_row, rows))}</details>")
    return "<h2>Samples of what was dropped</h2>\n" + "\n".join(parts) if parts else ""


def _row(row: Any) -> str:
    if not isinstance(row, Mapping):
        return f"<article><p><code>{_text(row)}</code></p></article>"
    lines = [f"<p><code>{_text(row.get('id', ''))}</code></p>"]
    for field, value in row.items():
        if field == "id" or value in ("", None):
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append(f"<p><span>{_text(field)}</span>{_text(_cut(shown))}</p>")
    return f"<article>{''.join(lines)}</article>"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _anything(name: str, value: Any) -> str:
    """A value of a shape not known here: a table of names and values, tables in tables."""
    return "" if value is None else f"<h2>{_text(name.replace('_', ' '))}</h2>\n{_table(value)}"


def _table(value: Any) -> str:
    if isinstance(value, Mapping):
        rows = "".join(f"<tr><th>{_text(key)}</th><td>{_table(item)}</td></tr>" for key, item in value.items())
        return f"<table>{rows}</table>" if rows else "–"
    if isinstance(value, list):
        return "<br>".join(map(_table, value)) or "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _text(value)
