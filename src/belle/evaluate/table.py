"""Put several models' scores side by side: Markdown to read, CSV to compute with, JSON with everything."""

import csv
import json
from pathlib import Path
from typing import Any

from belle.errors import InputError
from belle.evaluate.overlaps import overlap_caption, removed
from belle.files import atomic_file, require_file
from belle.records import INSTRUCTION_CLASSES

_NONE = "–"


def table(
    *,
    scores: list[Path],
    out_md: Path,
    out_csv: Path,
    out_json: Path,
    title: str,
    evaluation: str = "",
    of: list[str] | None = None,
    reports: list[Path] | None = None,
) -> None:
    """Write one row for each model, in the order given.

    Columns: ``model``, ``Score`` with its standard error, ``Score_w/o_others``, the Score of each split, the mean of
    each class, ``n`` and ``unparsed``. A dash (CSV: nothing; JSON: null) stands where no verdict was parsed.

    Args:
        scores: files that ``belle score`` wrote, of one evaluation set.
        out_md: a Markdown table of 3 places under ``title``, with a caption on how its numbers came about.
        out_csv: the same with all figures, one column each.
        out_json: ``{"title", "caption", "models": [the score files' contents], "contamination"}``.
        title: the table's heading.
        evaluation: the name of the evaluation set, by which the reports call it.
        of, reports: models, and for each the report of ``belle clean`` on a data set that it was trained on; a model
            may come more than once. The caption and the JSON (``contamination``) say how many rows of it were removed
            because they overlap with the set.

    Raises:
        InputError: no scores, a file of another kind, a model twice, or models scored on different sets.
    """
    if not scores:
        raise InputError("no scores to put in the table", where="table", fix="name at least one score file")
    models = [_load(Path(path)) for path in scores]
    _check(models, [Path(path) for path in scores])
    classes = _classes(models)
    splits = sorted({split for model in models for split in model.get("splits", {})})
    overlaps = removed(evaluation, of or [], reports or [])
    caption = " ".join([_caption(models, splits), *overlap_caption(evaluation, overlaps)])
    head, rows = _figures(models, classes, splits)

    with atomic_file(out_md) as file:
        file.write(_markdown(title, caption, models, classes, splits))
    with atomic_file(out_csv) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([["" if value is None else value for value in row] for row in rows])
    with atomic_file(out_json) as file:
        data = {"title": title, "caption": caption, "models": models}
        if overlaps:
            data["contamination"] = overlaps
        file.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def _load(path: Path) -> dict[str, Any]:
    text = require_file(path, "scores").read_text(encoding="utf-8")
    try:
        data = json.loads(text)
        counts = (data["n"], data["unparsed"])
        means = (data["Score"], data["Score_w/o_others"], data["stderr"])
        classes = [(entry["n"], entry["mean"]) for entry in data["classes"].values()]
        splits = [(entry["n"], entry["Score"]) for entry in data.get("splits", {}).values()]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"not a score file: {type(error).__name__}: {error}",
            where=str(path),
            cause="another file, or one that was cut off",
            fix="write it with `belle score`",
        ) from None
    figures = [*counts, *means, *(part for entry in (*classes, *splits) for part in entry)]
    odd = [
        value
        for value in figures
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float))
    ]
    if odd or not isinstance(data.get("model"), str):
        raise InputError(
            f"not a score file: {odd[0]!r} stands where a number should" if odd else "not a score file: no `model`",
            where=str(path),
            fix="write it with `belle score`",
        )
    return data


def _check(models: list[dict[str, Any]], paths: list[Path]) -> None:
    first: dict[str, Path] = {}
    for model, path in zip(models, paths, strict=True):
        if model["model"] in first:
            raise InputError(
                f"the model {model['model']!r} comes twice", where=f"{first[model['model']]} and {path}",
                fix="name each model once",
            )  # fmt: skip
        first[model["model"]] = path
        if _sizes(model) != _sizes(models[0]):
            ours, theirs = (", ".join(f"{cls} {n}" for cls, n in _sizes(m)[0].items()) for m in (model, models[0]))
            raise InputError(
                f"scored on another evaluation set than {paths[0]}: {ours}, there: {theirs}",
                where=str(path),
                cause="the set has changed since one of them was scored",
                fix="score all models on one set",
            )


def _sizes(model: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    return (
        {cls: entry["n"] for cls, entry in model["classes"].items()},
        {split: entry["n"] for split, entry in model.get("splits", {}).items()},
    )


def _classes(models: list[dict[str, Any]]) -> list[str]:
    found = {cls for model in models for cls in model["classes"]}
    known = [cls for cls in INSTRUCTION_CLASSES if cls in found]
    return [*known, *sorted(found - set(known))]


def _caption(models: list[dict[str, Any]], splits: list[str]) -> str:
    parts = [
        f"Each of the {models[0]['n']} answers was scored by the judge, from 0 to 1.",
        "A class is the mean of its answers; Score is the unweighted mean of the classes,"
        " with math, code and cot pooled as one class, others;"
        " ± is its standard error over the questions asked."
        " Score_w/o_others leaves others out.",
    ]
    if splits:
        listed = ", ".join(f"{split} ({models[0]['splits'][split]['n']})" for split in splits)
        parts.append(f"Score is given for each part of the set, too: {listed}.")
    parts.append("Verdicts without a readable score count as unparsed and in no mean.")
    return " ".join(parts)


def _figures(models: list[dict[str, Any]], classes: list[str], splits: list[str]) -> tuple[list[str], list[list[Any]]]:
    """The CSV: head and rows."""
    head = ["model", "Score", "stderr", "Score_w/o_others"]
    head += [f"Score {split}" for split in splits] + classes + ["n", "unparsed"]
    rows = []
    for model in models:
        row = [model["model"], model["Score"], model["stderr"], model["Score_w/o_others"]]
        row += [model["splits"][split]["Score"] for split in splits]
        row += [model["classes"][cls]["mean"] for cls in classes]
        rows.append([*row, model["n"], model["unparsed"]])
    return head, rows


def _markdown(title: str, caption: str, models: list[dict[str, Any]], classes: list[str], splits: list[str]) -> str:
    head = ["model", "Score", "Score_w/o_others", *splits, *classes, "n", "unparsed"]
    lines = [head]
    for model in models:
        score = _short(model["Score"])
        if model["stderr"] is not None:
            score += f" ± {_short(model['stderr'])}"
        lines.append(
            [
                model["model"],
                score,
                _short(model["Score_w/o_others"]),
                *(_short(model["splits"][split]["Score"]) for split in splits),
                *(_short(model["classes"][cls]["mean"]) for cls in classes),
                str(model["n"]),
                str(model["unparsed"]),
            ]
        )
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(head))]
    body = ["| " + " | ".join(_aligned(line, widths)) + " |" for line in cells]
    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([f"# {title}", "", body[0], rule, *body[1:], "", caption, ""])


def _aligned(line: list[str], widths: list[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def _short(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"
