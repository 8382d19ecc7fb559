"""Tell which way a change goes: claims such as "full fine-tuning scores above LoRA", each over several seeds."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import variance
from typing import Any

from belle import jsonl
from belle.entries import OTHERS, SCORE, TOKENS
from belle.errors import BelleError, InputError
from belle.evaluate.score import OTHERS as POOLED
from belle.evaluate.student import interval
from belle.files import atomic_file, require_file

SHOWS, OPPOSITE, OPEN = "shows", "shows the opposite", "does not show"
NORMAL = 1.959964
"""Within so many standard errors lie 95% of a normal distribution."""

_PLACES = 4
_NONE = "–"


@dataclass(frozen=True)
class Side:
    """A model or vocabulary of one seed: what it was made by, the file that measures it, and what that says."""

    name: str
    recipe: str
    result: str
    value: float


@dataclass(frozen=True)
class Pair:
    """The two that a claim compares at one seed.

    ``gain`` is by how much the better is better; ``half`` is half of its 95% interval over questions, or None.
    """

    better: Side
    worse: Side
    gain: float
    half: float | None


def directions(
    *,
    out_md: Path,
    out_json: Path,
    title: str,
    results: list[Path],
    verdicts: list[Path],
    names: list[str],
    recipes: list[str],
    claims: list[str],
    says: list[str],
    measures: list[str],
    evaluations: list[str],
    seeds: list[int],
) -> None:
    """Write for each claim its gain by seed, the mean with its 95% interval over seeds, and whether the claim shows.

    A gain is by how much what is said to be better is better: its score less the other's, or the tokens that it saves
    for each character. Seeds are paired: of n gains with mean m and standard deviation s the interval is
    m ± t(0.975, n−1)·s/√n (Student 1908). A claim shows where all of it is above 0, shows the opposite where all of it
    is below, and does not show otherwise; the ends are compared as they are written, in 4 places.

    Beside each gain of a score stands half of its own 95% interval, over the questions: those that both were given a
    readable verdict on, paired, with the variance s² and the number n of each of G pooled classes:
    1.96·sqrt(Σ s²/n)/G. A class of one question has no variance, and the gain then no interval.

    Args:
        out_md: the claims, then what stands behind each, seed by seed.
        out_json: the same with everything: files, recipes, ends of intervals.
        results: claim by claim and seed by seed the better one's and the worse one's file: scores, or for
            tokens_a_character twice the report of the expanded vocabulary, which has its base's figure, too.
        verdicts: in the same order the verdicts behind each file of scores.
        names, recipes: what each of ``results`` is called, and how it was made.
        claims, says, measures, evaluations, seeds: of each claim its name, its words, what it is about (Score,
            others, a class, tokens_a_character), the evaluation set that scores are of, and its number of seeds.

    Raises:
        InputError: lists that do not go together, a file of another kind or another model, verdicts on other
            questions, a class that the set does not have, a single seed.
        BelleError: a class of which no verdict could be read.
    """
    _check(results, verdicts, names, recipes, claims, says, measures, evaluations, seeds)
    sides = zip(results, names, recipes, strict=True)
    rows = iter(verdicts)
    found: list[dict[str, Any]] = []
    for claim, words, measure, of, count in zip(claims, says, measures, evaluations, seeds, strict=True):
        pairs = [_pair(measure, next(sides), next(sides), rows) for _ in range(count)]
        mean, low, high = (round(value, _PLACES) for value in interval([pair.gain for pair in pairs]))
        of = _NONE if measure == TOKENS else of
        found.append({"name": claim, "says": words, "measure": measure, "evaluation": of, "n": count, "gain": mean,
                      "interval": [low, high], "verdict": verdict(low, high), "seeds": pairs})  # fmt: skip
    with atomic_file(out_md) as file:
        file.write(_markdown(title, found))
    with atomic_file(out_json) as file:
        data = {"title": title, "caption": _CAPTION, "claims": [_plain(one) for one in found]}
        file.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def verdict(low: float, high: float) -> str:
    """What an interval of a gain says of its claim."""
    return SHOWS if low > 0 else OPPOSITE if high < 0 else OPEN


def _check(
    results: list[Path], verdicts: list[Path], names: list[str], recipes: list[str], claims: list[str],
    says: list[str], measures: list[str], evaluations: list[str], seeds: list[int],
) -> None:  # fmt: skip
    if not claims or not len(claims) == len(says) == len(measures) == len(evaluations) == len(seeds):
        counts = (
            f"{len(claims)} claims, {len(says)} in words, {len(measures)} measures, "
            f"{len(evaluations)} evaluation sets, {len(seeds)} numbers of seeds"
        )
        raise InputError(f"{counts}: each claim needs one of each", where="directions")
    wanted = 2 * sum(seeds)
    scored = 2 * sum(count for measure, count in zip(measures, seeds, strict=True) if measure != TOKENS)
    if not len(results) == len(names) == len(recipes) == wanted or len(verdicts) != scored:
        raise InputError(
            f"{len(results)} results, {len(names)} names, {len(recipes)} recipes, {len(verdicts)} verdicts; "
            f"meant are {wanted}, {wanted}, {wanted}, {scored}",
            where="directions", cause="a better and a worse result are needed for every seed of every claim",
        )  # fmt: skip


def _pair(measure: str, better: Any, worse: Any, rows: Iterator[Path]) -> Pair:
    if measure == TOKENS:
        after, before = (Side(name, recipe, str(path), _tokens(path, when))
                         for (path, name, recipe), when in ((better, "after"), (worse, "before")))  # fmt: skip
        return Pair(after, before, before.value - after.value, None)
    one, other = (Side(name, recipe, str(path), _score(path, name, measure)) for path, name, recipe in (better, worse))
    groups = _differences(measure, _scores(next(rows), one.name), _scores(next(rows), other.name))
    return Pair(one, other, one.value - other.value, _half(groups))


def _load(path: Path, what: str) -> Any:
    try:
        return json.loads(require_file(path, what).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"not JSON: {error}", where=str(path), cause="a file that was cut off", fix="build it again"
        ) from None


def _number(value: Any, path: Path, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} must be a number, found {value!r}", where=str(path),
                         cause="another file under its name", fix="build it again")  # fmt: skip
    return float(value)


def _tokens(path: Path, when: str) -> float:
    data = _load(path, "report of a vocabulary")
    try:
        value = data["held_out"][when]["tokens_a_character"]
    except (KeyError, TypeError):
        raise InputError(
            f"no held_out.{when}.tokens_a_character in it", where=str(path),
            cause="no report of a vocabulary", fix="write it with `belle vocabulary`",
        ) from None  # fmt: skip
    return _number(value, path, "tokens_a_character")


def _score(path: Path, name: str, measure: str) -> float:
    data = _load(path, "scores")
    classes = data.get("classes") if isinstance(data, dict) else None
    if not isinstance(classes, dict) or SCORE not in data:
        raise InputError("not a score file", where=str(path), fix="write it with `belle score`")
    if data.get("model") != name:
        raise InputError(f"the scores of {data.get('model')!r}, not of {name!r}", where=str(path),
                         cause="files in another order than their names")  # fmt: skip
    pooled = {SCORE: data, OTHERS: data.get("others")}
    entry = pooled[measure] if measure in pooled else classes.get(measure)
    if not isinstance(entry, dict):
        raise InputError(
            f"no class {measure!r} in it; there are {', '.join(classes)}", where=str(path),
            cause="an evaluation set without that class", fix="choose another measure or another set",
        )  # fmt: skip
    value = entry.get(SCORE if measure == SCORE else "mean")
    if value is None:
        raise BelleError(f"no verdict on {measure!r} could be read", where=str(path),
                         fix="read some of the verdicts, then choose another judge")  # fmt: skip
    return _number(value, path, measure)


def _scores(path: Path, name: str) -> dict[str, tuple[str, float | None]]:
    """Of each question its class and its score, None where the verdict could not be read."""
    found: dict[str, tuple[str, float | None]] = {}
    for number, row in enumerate(jsonl.read(path, "verdicts"), 1):
        where = f"{path}, row {number}"
        if row.get("model") != name:
            raise InputError(f"a verdict on {row.get('model')!r}, not on {name!r}", where=where)
        id_, cls, score = row.get("id"), row.get("class"), row.get("score")
        if not isinstance(id_, str) or not isinstance(cls, str):
            raise InputError("no `id` or no `class`", where=where, fix="write the verdicts with `belle judge`")
        found[id_] = cls, None if score is None else _number(score, path, f"`score` of row {number}")
    return found


def _differences(
    measure: str, better: dict[str, tuple[str, float | None]], worse: dict[str, tuple[str, float | None]]
) -> list[list[float]]:
    """By pooled class the differences of the questions that both have a score on."""
    if better.keys() != worse.keys():
        odd = sorted(better.keys() ^ worse.keys())[0]
        raise InputError(
            f"verdicts on {len(better)} and on {len(worse)} questions; only one has {odd}", where="directions",
            cause="the evaluation set has changed since one of them was scored", fix="score all models on one set",
        )  # fmt: skip
    groups: dict[str, list[float]] = {}
    for id_, (cls, one) in better.items():
        other = worse[id_][1]
        group = OTHERS if cls in POOLED and measure in (SCORE, OTHERS) else cls
        if one is not None and other is not None and measure in (SCORE, group):
            groups.setdefault(group, []).append(one - other)
    return list(groups.values())


def _half(groups: list[list[float]]) -> float | None:
    if not groups or any(len(group) < 2 for group in groups):
        return None
    return NORMAL * math.sqrt(math.fsum(variance(group) / len(group) for group in groups)) / len(groups)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _PLACES)


def _plain(claim: dict[str, Any]) -> dict[str, Any]:
    pairs = [
        {"better": vars(pair.better), "worse": vars(pair.worse), "gain": _rounded(pair.gain),
         "half_over_questions": _rounded(pair.half)}
        for pair in claim["seeds"]
    ]  # fmt: skip
    return {**claim, "seeds": pairs}


_CAPTION = (
    "Scores are of the evaluation set that is named; tokens a character are of lines that no piece was trained on. "
    "A gain is by how much the one is better: scores are better where they are higher, tokens a character where "
    "they are lower. The interval is of the mean gain over the seeds, 95% by Student's t, paired, for each claim "
    "by itself. A claim shows where all of its interval is above 0, and shows the opposite where all of it is "
    "below. Behind a seed's gain stands ± half of its own 95% interval, over the questions, paired."
)


def _markdown(title: str, claims: list[dict[str, Any]]) -> str:
    head = [["claim", "measure", "of", "seeds", "mean gain", "95% interval", "verdict"]]
    for claim in claims:
        low, high = claim["interval"]
        ends = f"{low:+.4f} to {high:+.4f}"
        about = [claim["says"], claim["measure"], claim["evaluation"], str(claim["n"])]
        head.append([*about, f"{claim['gain']:+.4f}", ends, claim["verdict"]])
    parts = [f"# {title}", "", *_table(head), "", _CAPTION]
    for claim in claims:
        rows = [["said to be better", "made by", claim["measure"], "than", "made by", claim["measure"], "gain"]]
        for pair in claim["seeds"]:
            half = f" {_NONE}" if pair.half is None else f" ± {pair.half:.4f}"
            one, other = ([side.name, side.recipe, f"{side.value:.4f}"] for side in (pair.better, pair.worse))
            rows.append([*one, *other, f"{pair.gain:+.4f}{half if claim['measure'] != TOKENS else ''}"])
        parts += ["", f"## {claim['says']}: {claim['verdict']}", "", *_table(rows)]
    return "\n".join([*parts, ""])


def _table(lines: list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(cells[0]))]
    drawn = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    return [drawn[0], "| " + " | ".join("-" * width for width in widths) + " |", *drawn[1:]]
