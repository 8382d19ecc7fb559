"""The report as a page: well-formed, escaped, nothing from outside; and lengths counted as they come."""

import json
import random
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from belle.data.cleaning.writing import EDGES, lengths_of
from belle.data.report.page import html

VOID = {"meta", "br", "link", "img", "input"}
SELF_CLOSED = {"line"}


class Page(HTMLParser):
    """Fails on a tag that is not closed in order; keeps tags, attributes and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SELF_CLOSED
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def count(self, tag):
        return self.tags.count(tag)

    def rects(self, style):
        return self.attributes.count(("class", style))


def lengths(*values):
    return lengths_of(np.array(values, np.uint32))


REPORT = {
    "rows_in": 12_345,
    "rows_out": 12_000,
    "reasons": {"output_empty": 45, "refusal": 300, "mojibake": 0},
    "samples": {
        "output_empty": [{"id": "r-1", "instruction": "介绍北京。", "input": "", "output": ""}],
        "refusal": [
            {
                "id": "r-2",
                "instruction": "写<b>诗</b> & 文",
                "input": "“引”",
                "output": "抱歉，" + "长" * 1000,
                "rival": "r-9",
            }
        ],
        "mojibake": [],
    },
    "chars": {
        "before": {"instruction": lengths(5, 9, 9, 300), "output": lengths(0, 1, 2, 7000)},
        "after": {"instruction": lengths(9, 9), "output": lengths(1, 2)},
    },
    "classes": {"before": {"开放问答": 9000, "math": 3345}, "after": {"开放问答": 8900, "math": 3100}},
    "contamination": {"data/eval/real.jsonl": {"rows": 3, "removed": ["r-7", "r-8"]}},
    "digests": {"raw": "ab12", "out": "cd34"},
}


def test_a_whole_report():
    page = Page(html(REPORT, "tiny"))
    text = "".join(page.text)
    for piece in (
        "Report of tiny", "12,345", "12,000", "345", "97.2%", "refusal", "300 (2.4%)", "No row: mojibake", "介绍北京。",
        "开放问答", "r-9", "Contamination", "data/eval/real.jsonl", "digests", "cd34", "7,000", "1,003 characters",
    ):  # fmt: skip
        assert piece in text, piece
    assert page.count("svg") == 4  # reasons, two fields, classes
    assert page.rects("one") == 2
    assert text.index("refusal") < text.index("output_empty")  # by count
    assert page.count("details") == 2
    assert "长" * 400 not in text.replace("长" * 397, "")  # cut
    assert html(REPORT, "tiny") == html(json.loads(json.dumps(REPORT)), "tiny")


def test_nothing_comes_from_outside_and_nothing_runs():
    page = Page(html(REPORT))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, value in page.attributes if name in ("src", "href", "srcset") or name.startswith("on")]
    assert "url(" not in html(REPORT)
    assert "@import" not in html(REPORT)


EVIL = [
    "</style><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]>--><!-- &lt;b&gt; &#60;i&#62;",
    "空\x00格\x1b[31m\x7f",
    "半个\ud83d",
    "\u202e反向",
    "</details></article></html>",
]


@pytest.mark.parametrize("evil", EVIL)
def test_rows_and_names_are_text_whatever_they_hold(evil):
    row = {"id": evil, "instruction": evil, "input": evil, "output": evil, evil: evil, "rival": {"id": evil}}
    report = {
        "rows_in": 2,
        "rows_out": 1,
        "reasons": {evil: 1, "none" + evil: 0},
        "samples": {evil: [row, evil]},
        "chars": {"before": {evil: lengths(1)}, "after": {evil: lengths(1)}},
        "classes": {"before": {evil: 1}, "after": {}},
        "contamination": {evil: evil},
        evil: [evil, {evil: evil}],
    }
    text = html(report, evil)
    assert text.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    page = Page(text)
    harmless = Page(html({**report, "samples": {evil: []}}))
    assert set(page.tags) <= set(harmless.tags) | {"details", "summary", "article", "p", "code", "span", "b"}
    assert "script" not in page.tags
    assert "img" not in page.tags
    shown = "".join(page.text)
    if evil.isprintable() and evil.isascii():
        assert shown.count(evil) >= 10


def test_an_empty_set_is_a_report_too():
    nothing = {field: lengths() for field in ("instruction", "input", "output")}
    report = {
        "rows_in": 0,
        "rows_out": 0,
        "reasons": {"output_empty": 0},
        "samples": {"output_empty": []},
        "chars": {"before": nothing, "after": nothing},
        "classes": {"before": {}, "after": {}},
    }
    page = Page(html(report))
    assert page.count("svg") == 0
    assert "No row was dropped." in "".join(page.text)
    assert Page(html({"rows_in": 3, "rows_out": 3, "reasons": {}})).count("h2") == 1


def test_everything_dropped():
    report = {
        "rows_in": 2,
        "rows_out": 0,
        "reasons": {"refusal": 2},
        "chars": {"before": {"output": lengths(3, 4)}, "after": {"output": lengths()}},
    }
    page = Page(html(report))
    assert page.count("svg") == 2
    assert "0.0%" in "".join(page.text)


def test_bars_are_as_long_as_their_counts():
    text = html({"rows_in": 100, "rows_out": 0, "reasons": {"a": 75, "b": 24, "c": 1}})
    widths = [int(width) for width in re.findall(r'class="one"[^>]* width="(\d+)"', text)]
    assert widths[0] > 300
    assert widths[1] == pytest.approx(widths[0] * 24 / 75, abs=1)
    assert 1 <= widths[2] <= 10


def test_both_histograms_share_their_bins():
    text = html(
        {
            "rows_in": 4,
            "rows_out": 2,
            "reasons": {"a": 2},
            "chars": {"before": {"output": lengths(1, 20, 20, 5000)}, "after": {"output": lengths(20, 20)}},
        }
    )
    assert "<title>length 16 to 23, before: 2</title>" in text
    assert "<title>length 16 to 23, after: 2</title>" in text
    assert "<title>length 1, before: 1</title>" in text
    assert "<title>length 4,096 to 6,143, after: 0</title>" in text


@pytest.mark.parametrize("seed", range(5))
def test_lengths_are_exact(seed):
    rng = random.Random(seed)
    values = [int(rng.lognormvariate(4, 1.5)) for _ in range(rng.choice([1, 2, 19, 20, 21, 1000]))]
    found, ordered = lengths(*values), sorted(values)
    assert found["min"] == ordered[0]
    assert found["max"] == ordered[-1]
    assert found["mean"] == round(sum(values) / len(values), 2)
    assert found["median"] == ordered[(len(values) - 1) // 2]
    assert found["p95"] == ordered[(95 * len(values) + 99) // 100 - 1]
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert len(edges) == len(counts) + 1
    assert counts == [sum(low <= value < high for value in values) for low, high in pairwise(edges)]
    assert sum(counts) == len(values)
    assert counts[-1] > 0


def test_no_lengths():
    assert lengths() == {
        "min": 0, "mean": 0.0, "median": 0, "p95": 0, "max": 0, "histogram": {"edges": [0], "counts": []},
    }  # fmt: skip


def test_edges_grow_by_half():
    assert EDGES[:10] == (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)
    assert list(EDGES) == sorted(set(EDGES))
    assert lengths(10**9)["max"] == 10**9
