"""Stage ``prefer``: pairs of a better and a worse answer to one prompt, by a judge's scores of drawn answers."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from belle import jsonl
from belle.api.budget import Budget
from belle.api.client import Client, Mode, Reply, Request
from belle.api.ledger import Ledger
from belle.api.provider import provider
from belle.errors import BelleError, InputError, shown
from belle.evaluate.judge import load_prompts, parse_score, request_of
from belle.files import atomic_file
from belle.records import class_name

CUT, EMPTY, REFUSED, UNPARSED = "cut", "empty", "refused", "unparsed"
"""Why an answer takes no part: the model did not end it, it has no text, the API or the judge gave no score."""


@dataclass(frozen=True)
class Scored:
    """A drawn answer with its score, and the request that the score was given to."""

    sample: jsonl.Row
    score: float
    request: str


def prefer(
    *,
    samples: Path,
    prompts: Path,
    out: Path,
    report: Path,
    ledger: Path,
    base_url: str,
    model: str,
    api_key: str,
    temperature: float,
    max_tokens: int,
    judge_class: str,
    margin: float,
    in_flight: int,
    timeout_s: float,
    budget: Budget | None = None,
    mode: Mode = "chat",
) -> None:
    """Write a pair for every prompt whose best and worst answer differ by at least ``margin``.

    Every answer is judged as ``judge`` would; a verdict is asked for by question and answer alone, so that what one
    stage paid for, no other pays for again.

    Args:
        samples: What stage ``sample`` wrote.
        prompts: A folder of ``<class>.txt``, one judge prompt per instruction class.
        out: JSON Lines of ``id, row`` (the training row's id), ``prompt, chosen, rejected, chosen_score,
            rejected_score, samples`` (ids of both answers) and ``requests`` (of both verdicts, in the ledger).
        report: JSON: answers judged and passed over by reason, prompts without a pair, and mean scores.
        judge_class: The prompt for rows whose class has none.

    Raises:
        InputError: a field is missing, the class is not known, or the key is missing.
        BelleError: the API fails, the budget is reached, or no prompt gives a pair.
    """
    rows = load_samples(samples)
    texts = load_prompts(prompts)
    if class_name(judge_class) not in texts:
        raise InputError(
            f"the class {judge_class!r} has no judge prompt; there are {', '.join(sorted(texts))}",
            where="prefer.judge_class",
            cause="a class name of another evaluation set",
            fix="name one of these classes",
        )
    passed = Counter[str]()
    usable = []
    for row in rows:
        reason = EMPTY if not row["answer"].strip() else "" if row["stopped"] else CUT
        passed[reason] += 1
        usable += [] if reason else [row]
    requests = [request_for(row, texts, judge_class, model, temperature, max_tokens) for row in usable]
    with (
        Ledger(ledger) as book,
        provider(base_url, api_key) as api,
        Client(
            ledger=book, base_url=api.base_url, endpoint=api.endpoint, api_key=api.api_key, in_flight=in_flight,
            timeout_s=timeout_s, budget=budget, mode=mode,
        ) as client,
    ):  # fmt: skip
        replies = client.ask(requests, describe="prefer", refusals=True)
    scored: dict[str, list[Scored]] = {}
    for row, reply in zip(usable, replies, strict=True):
        score = parse_score(reply.text) if isinstance(reply, Reply) else None
        if score is None:
            passed[UNPARSED if isinstance(reply, Reply) else REFUSED] += 1
        else:
            scored.setdefault(row["row"], []).append(Scored(row, score, reply.digest))
    pairs = [pair for answers in scored.values() if (pair := pair_of(answers, margin))]
    if not pairs:
        raise BelleError(
            f"none of {len({row['row'] for row in rows})} prompts has answers whose scores differ by {margin:g}",
            where=str(samples),
            cause="a model that answers alike each time, or a judge that scores in another form",
            fix="raise temperature or answers in `sample`, or lower margin in `prefer`",
        )
    jsonl.write(out, pairs)
    with atomic_file(report) as file:
        file.write(json.dumps(_summary(rows, scored, pairs, passed), ensure_ascii=False, indent=2) + "\n")


def load_samples(path: Path) -> list[jsonl.Row]:
    """Load drawn answers.

    Raises:
        InputError: a field is missing or of the wrong type, an id comes twice, or the file is empty.
    """
    rows: list[jsonl.Row] = []
    seen: set[str] = set()
    for number, row in enumerate(jsonl.read(path, "samples"), 1):
        where = f"{path}, row {number}"
        for key in ("id", "row", "question", "class", "std_answer", "model", "answer"):
            if not isinstance(row.get(key), str):
                raise InputError(
                    f"`{key}` must be text, found {shown(row.get(key))}",
                    where=where,
                    cause="rows that `belle sample` did not write",
                    fix="draw them with `belle sample`",
                )
        if not isinstance(row.get("stopped"), bool):
            raise InputError(
                f"`stopped` must be true or false, found {shown(row.get('stopped'))}",
                where=where,
                cause="rows that `belle sample` did not write",
                fix="draw them with `belle sample`",
            )
        if row["id"] in seen:
            raise InputError(
                f"the id {row['id']!r} comes twice",
                where=where,
                cause="two files put together",
                fix="keep each answer once",
            )
        seen.add(row["id"])
        rows.append(row)
    if not rows:
        raise InputError(
            "no answers in it", where=str(path), cause="a file that was not written to its end", fix="draw them again"
        )
    return rows


def request_for(
    row: jsonl.Row, texts: Mapping[str, str], judge_class: str, model: str, temperature: float, max_tokens: int
) -> Request:
    """The request for a verdict on a drawn answer."""
    prompt = texts.get(class_name(row["class"]) if row["class"] else "") or texts[class_name(judge_class)]
    return request_of(prompt, row, model, temperature, max_tokens)


def pair_of(answers: Sequence[Scored], margin: float) -> jsonl.Row | None:
    """The best answer and the worst as a pair, the first of those that score alike; None where they are too close."""
    best = max(answers, key=lambda item: item.score)
    worst = min(answers, key=lambda item: item.score)
    if best.score - worst.score < margin - 1e-9:
        return None
    row = best.sample
    return {
        "id": f"p-{row['row']}",
        "row": row["row"],
        "prompt": row["question"],
        "chosen": row["answer"],
        "rejected": worst.sample["answer"],
        "chosen_score": best.score,
        "rejected_score": worst.score,
        "samples": [row["id"], worst.sample["id"]],
        "requests": [best.request, worst.request],
    }


def _summary(
    rows: Sequence[jsonl.Row], scored: Mapping[str, Sequence[Scored]], pairs: Sequence[jsonl.Row], passed: Counter[str]
) -> dict[str, Any]:
    prompts = len({row["row"] for row in rows})
    scores = [item.score for answers in scored.values() for item in answers]
    return {
        "prompts": prompts,
        "answers": len(rows),
        "judged": len(scores),
        "passed_over": {reason: passed[reason] for reason in (CUT, EMPTY, REFUSED, UNPARSED)},
        "pairs": len(pairs),
        "prompts_without_a_pair": prompts - len(pairs),
        "mean_score": round(fmean(scores), 4),
        "mean_chosen": round(fmean(pair["chosen_score"] for pair in pairs), 4),
        "mean_rejected": round(fmean(pair["rejected_score"] for pair in pairs), 4),
    }
