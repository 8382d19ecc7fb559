"""Turn a judge's verdicts into the scores of BELLE's papers."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.files import atomic_file
from belle.records import INSTRUCTION_CLASSES, class_name

OTHERS = ("math", "code", "cot")
"""Classes whose rows are pooled into one, "others", before the macro mean. BELLE's set has math and code; chain of
thought, which only its first paper scored, joins them."""

_PLACES = 4


@dataclass
class _Tally:
    """Verdicts of one kind: the parsed scores, and how many could not be parsed."""

    scores: list[float] = field(default_factory=list)
    unparsed: int = 0

    @property
    def n(self) -> int:
        return len(self.scores) + self.unparsed

    def mean(self) -> float | None:
        return fmean(self.scores) if self.scores else None


def score(*, verdicts: Path, out: Path) -> None:
    """Write a model's scores as JSON that ``dvc metrics`` can show.

    ``Score`` is the unweighted mean of the means of the classes, with the rows of math, code and cot pooled as one
    class, others; ``Score_w/o_others`` leaves that one out. Verdicts that could not be parsed take no part in any
    mean and are counted apart; a class without a parsed verdict has the mean null and no part in ``Score``.
    ``stderr`` is the standard error of ``Score`` over questions: with s² the variance and n the parsed rows of each
    of the G pooled classes, sqrt(Σ s²/n)/G; a class of one row is given the mean variance of the others.

    Args:
        verdicts: JSON Lines with ``id, class, split, model, score`` (in [0, 1], or null where unparsed).
        out: JSON: ``model, n, parsed, unparsed, Score, Score_w/o_others, stderr, others, classes`` (by class:
            ``n, parsed, unparsed, mean``), and ``splits`` (by split: ``n, unparsed, Score, stderr``) where the
            evaluation set has some. Rounded to 4 places.

    Raises:
        InputError: no rows, rows of several models, an id twice, or a score outside of [0, 1].
        BelleError: no verdict could be parsed.
    """
    rows = _load(verdicts)
    everything = _tally(rows)
    if not any(tally.scores for tally in everything.values()):
        raise BelleError(
            f"none of {len(rows)} verdicts has a score",
            where=str(verdicts),
            cause="a judge that does not answer in the form 得分: …",
            fix="read some of the verdicts, then choose another judge",
        )
    total, without_others, stderr = _macro(everything)
    n, unparsed = len(rows), sum(tally.unparsed for tally in everything.values())
    result: dict[str, Any] = {
        "model": rows[0]["model"],
        "n": n,
        "parsed": n - unparsed,
        "unparsed": unparsed,
        "Score": _rounded(total),
        "Score_w/o_others": _rounded(without_others),
        "stderr": _rounded(stderr),
    }
    others = _pooled(everything).get("others")
    if others:
        result["others"] = {**_counts(others), "mean": _rounded(others.mean())}
    result["classes"] = {cls: {**_counts(tally), "mean": _rounded(tally.mean())} for cls, tally in everything.items()}
    splits = sorted({row["split"] for row in rows} - {""})
    if splits:
        result["splits"] = {split: _split([row for row in rows if row["split"] == split]) for split in splits}
    with atomic_file(out) as file:
        file.write(json.dumps(result, ensure_ascii=False, indent=2) + "\n")


def _split(rows: Sequence[jsonl.Row]) -> dict[str, Any]:
    tallies = _tally(rows)
    total, _, stderr = _macro(tallies)
    unparsed = sum(tally.unparsed for tally in tallies.values())
    return {"n": len(rows), "unparsed": unparsed, "Score": _rounded(total), "stderr": _rounded(stderr)}


def _load(verdicts: Path) -> list[jsonl.Row]:
    rows: list[jsonl.Row] = []
    seen: set[str] = set()
    for number, row in enumerate(jsonl.read(verdicts, "verdicts"), 1):
        where = f"{verdicts}, row {number}"
        row["split"] = row.get("split") or ""
        for key in ("id", "class", "split", "model"):
            if not isinstance(row.get(key), str) or (not row[key] and key != "split"):
                raise InputError(f"`{key}` must be text, found {row.get(key)!r}", where=where)
        value = row.get("score")
        number_like = isinstance(value, int | float) and not isinstance(value, bool)
        if "score" not in row or not (value is None or (number_like and 0 <= value <= 1)):
            raise InputError(
                f"`score` must be a number from 0 to 1, or null; found {value!r}",
                where=where,
                cause="a judge that scores on another scale" if number_like else "",
                fix="write the verdicts with `belle judge`",
            )
        if row["id"] in seen:
            raise InputError(f"the id {row['id']!r} comes twice", where=where, fix="judge each answer once")
        if rows and row["model"] != rows[0]["model"]:
            raise InputError(
                f"a verdict on {row['model']!r} among those on {rows[0]['model']!r}",
                where=where,
                fix="keep one file for each model",
            )
        row["class"] = class_name(row["class"])
        seen.add(row["id"])
        rows.append(row)
    if not rows:
        raise InputError("no verdicts in it", where=str(verdicts), fix="judge the model's answers first")
    return rows


def _tally(rows: Iterable[jsonl.Row]) -> dict[str, _Tally]:
    """Verdicts by class, in the order of the paper, then of the alphabet."""
    found: dict[str, _Tally] = {}
    for row in rows:
        tally = found.setdefault(row["class"], _Tally())
        if row["score"] is None:
            tally.unparsed += 1
        else:
            tally.scores.append(float(row["score"]))
    known = [cls for cls in INSTRUCTION_CLASSES if cls in found]
    return {cls: found[cls] for cls in (*known, *sorted(set(found) - set(known)))}


def _pooled(tallies: dict[str, _Tally]) -> dict[str, _Tally]:
    """The same with the rows of ``OTHERS`` in one class, "others"."""
    pooled: dict[str, _Tally] = {}
    for cls, tally in tallies.items():
        into = pooled.setdefault("others" if cls in OTHERS else cls, _Tally())
        into.scores.extend(tally.scores)
        into.unparsed += tally.unparsed
    return pooled


def _macro(tallies: dict[str, _Tally]) -> tuple[float | None, float | None, float | None]:
    """``Score``, ``Score_w/o_others`` and the standard error of ``Score``; None where there is nothing to tell."""
    scored = {cls: tally.scores for cls, tally in _pooled(tallies).items() if tally.scores}
    means = {cls: fmean(scores) for cls, scores in scored.items()}
    total = fmean(means.values()) if means else None
    without = [mean for cls, mean in means.items() if cls != "others"]
    return total, fmean(without) if without else None, _stderr(list(scored.values()))


def _stderr(groups: list[list[float]]) -> float | None:
    variances = [variance(scores) for scores in groups if len(scores) > 1]
    if not variances:
        return None
    usual = fmean(variances)
    terms = [(variance(scores) if len(scores) > 1 else usual) / len(scores) for scores in groups]
    return math.sqrt(math.fsum(terms)) / len(groups)


def _counts(tally: _Tally) -> dict[str, int]:
    return {"n": tally.n, "parsed": len(tally.scores), "unparsed": tally.unparsed}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _PLACES)
