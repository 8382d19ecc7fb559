"""Raw rows of either shape, with ids of their own and where they come from; and a report of all that was read."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from belle import jsonl
from belle.data.importing import formats
from belle.data.importing.categories import Categories
from belle.data.importing.containers import Found
from belle.data.importing.fields import REASONS, Dropped, identity
from belle.errors import InputError
from belle.files import atomic_file

_SAMPLES = 3


def write(
    found: Iterable[Found],
    *,
    out: Path,
    report: Path,
    form: str,
    card: dict[str, Any],
    where: str,
    categories: Categories | None = None,
) -> None:
    """Write what ``found`` holds as raw rows, and a report; rows in = rows out + the sum of the reasons.

    Args:
        out: JSON Lines of ``id``, then ``instruction, input, output`` or ``conversations`` (or ``text``), then
            ``system``, ``category``, ``source_id`` where the row has them, and ``source``: the name of its file.
            The id is made from the row's content, its file's name and its number in the file.
        report: JSON: the format, ``card``, ``rows_in``, ``rows_out``, ``reasons`` (counts), ``samples`` (the places
            of up to 3 rows of each).
        form: a name in ``belle.data.importing.formats.FORMATS``, or ``auto``.
        card: where the rows come from and under which licence.
        where: the data set, for messages.

    Raises:
        InputError: a file or a row is at fault, there are no rows, or none can be kept. Nothing is written.
    """
    rows = iter(found)
    first = list(itertools.islice(rows, formats.PEEKED))
    if not first:
        raise InputError(
            "no rows in it",
            where=where,
            cause="an empty file, or a copy that was not finished",
            fix="look at the file, and fetch it again",
        )
    chosen = formats.choose(form, [(item.where, item.row) for item in first])
    reasons = Counter[str]()
    samples: dict[str, list[str]] = {}
    files = Counter[str]()

    def kept() -> Iterator[jsonl.Row]:
        everything = itertools.chain(first, rows)
        for item in tqdm(everything, desc="import", unit="row", mininterval=1, delay=1):
            files[item.source] += 1
            try:
                yield raw_row(item, chosen, categories)
            except Dropped as dropped:
                reasons[dropped.reason] += 1
                places = samples.setdefault(dropped.reason, [])
                if len(places) < _SAMPLES:
                    places.append(f"{item.source}, row {item.number}")

    with atomic_file(out) as file:
        rows_out = 0
        for row in kept():
            file.write(jsonl.dumps(row) + "\n")
            rows_out += 1
        rows_in = sum(files.values())
        if not rows_out:
            seen = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            raise InputError(
                f"none of {rows_in} rows can be kept ({seen}); the first is {next(iter(samples.values()))[0]}",
                where=where,
                cause=f"another format than {chosen}, or roles in another order",
                fix=f"look at that row, and name its format in params.yaml: {', '.join(formats.FORMATS)}",
            )
        if rows_in != rows_out + reasons.total():
            raise AssertionError(f"{rows_in} rows in, {rows_out} out, {reasons.total()} counted as dropped")
        summary = {
            "format": chosen,
            **card,
            "rows": dict(sorted(files.items())),
            "rows_in": rows_in,
            "rows_out": rows_out,
            "reasons": {reason: reasons[reason] for reason in REASONS},
            "samples": {reason: samples[reason] for reason in REASONS if reason in samples},
        }
        with atomic_file(report) as text:
            text.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")


def raw_row(item: Found, form: str, categories: Categories | None) -> jsonl.Row:
    """The raw row of a found one.

    Raises:
        InputError: a field is missing or of the wrong type, or the row is longer than a raw row may be.
        Dropped: raw rows cannot represent it.
    """
    row, where = item.row, item.where
    formats.check_fits(form, row, where)
    fields = formats.FORMATS[form].read(row, where)
    category = categories.category(row, where) if categories else row.get("category")
    if isinstance(category, str) and category.strip():
        fields = {**fields, "category": category.strip()}
    try:
        content = jsonl.canonical([item.source, fields])
    except UnicodeEncodeError:
        raise Dropped("not_utf8") from None
    if len(content) > jsonl.LONGEST_ROW - 4096:  # with room for ids, so that it can be read again
        raise jsonl.too_long(where)
    digest = hashlib.sha256(content).hexdigest()
    theirs = identity(row)
    made: jsonl.Row = {"id": f"p-{digest[:12]}-{item.number}", **fields}
    if theirs:
        made["source_id"] = theirs
    return {**made, "source": item.source}
