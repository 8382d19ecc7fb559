"""Import a data set that lies here."""

from pathlib import Path

from belle.data.importing.categories import Categories
from belle.data.importing.containers import rows
from belle.data.importing.sources import find
from belle.data.importing.writing import write


def import_dataset(*, path: Path, categories: Path | None, out: Path, report: Path, format: str, licence: str) -> None:
    """Write the rows of a file, or of all files of a folder, as raw rows.

    Memory does not grow with the files, but for an object of arrays (``jsontext.LARGEST_OBJECT``) and for categories.

    Args:
        path: JSON, JSON Lines, CSV, TSV, Parquet or plain text; also compressed as .gz, .zst or .zip; or a folder.
        categories: The category of each row's id (``Categories``), if any.
        out: See ``belle.data.importing.writing.write``.
        report: The same, with the licence, and name, size and SHA-256 of each file.
        format: A name in ``belle.data.importing.formats.FORMATS``; ``auto`` tells it from the first rows.
        licence: Under which the rows may be used; carried into the report.

    Raises:
        InputError: a file, a row or a field is at fault; nothing is written.
    """
    sources, passed_over = find(path)
    joined = Categories(categories) if categories else None
    card = {
        "licence": licence,
        "files": [source.card() for source in sources],
        "passed_over": passed_over,
        "categories": [source.card() for source in joined.sources] if joined else [],
    }
    write(rows(sources, format), out=out, report=report, form=format, card=card, where=str(path), categories=joined)
