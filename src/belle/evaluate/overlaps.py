"""What was taken out of the training data because it overlaps with an evaluation set: told where the scores are."""

import json
from pathlib import Path
from typing import Any

from belle.errors import InputError
from belle.files import require_file


def removed(evaluation: str, of: list[str], reports: list[Path]) -> list[dict[str, Any]]:
    """What each data set lost for the sake of an evaluation set, and the models trained on it.

    Args:
        evaluation: The set's name.
        of, reports: A model, and the report of ``belle clean`` on a data set that it was trained on.

    Returns:
        For each data set ``report`` (its path), ``models``, ``rows_in``, ``removed`` (null: it was not checked against
        this set).

    Raises:
        InputError: models and reports that do not go together, or a file that is no such report.
    """
    if len(of) != len(reports):
        raise InputError(f"{len(of)} models and {len(reports)} reports", where="table", fix="name a report for each")
    found: dict[Path, dict[str, Any]] = {}
    for model, path in zip(of, reports, strict=True):
        if path not in found:
            found[path] = {"report": str(path), "models": [], **_counts(path, evaluation)}
        found[path]["models"].append(model)
    return list(found.values())


def overlap_caption(evaluation: str, overlaps: list[dict[str, Any]]) -> list[str]:
    """Sentences about ``removed``'s findings."""
    said = []
    for overlap in overlaps:
        dataset = Path(overlap["report"]).name.removesuffix(".report.json")
        if overlap["removed"] is None:
            said.append(f"The rows of {dataset} were not checked against {evaluation}.")
        else:
            said.append(
                f"Of the {overlap['rows_in']} raw rows of {dataset}, {overlap['removed']} were removed because they"
                f" overlap with {evaluation}."
            )
    return said


def _counts(path: Path, evaluation: str) -> dict[str, Any]:
    text = require_file(path, "report of a data set").read_text(encoding="utf-8")
    try:
        report = json.loads(text)
        contamination = report.get("contamination", {"checked": []})
        checked = evaluation in contamination["checked"]
        count = contamination["evaluation_sets"].get(evaluation, 0) if checked else None
        return {"rows_in": report["rows_in"], "removed": count}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"not a report of `belle clean`: {type(error).__name__}: {error}",
            where=str(path),
            cause="another file, or one of an older version",
            fix="build the data set again",
        ) from None
