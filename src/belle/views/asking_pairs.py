"""How many verdicts on drawn answers a set of pairs takes beyond what the ledger holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from belle import jsonl
from belle.api.request import request_digest
from belle.entries import JudgedPairs
from belle.evaluate.judge import load_prompts
from belle.evaluate.prefer import load_samples, request_for
from belle.params import Params
from belle.views.asked import Asked, span
from belle.views.graph import Step
from belle.views.interval import Interval, mean_of
from belle.views.tokens import Known, drawn, endpoint_of, is_teacher

DISTINCT = Interval(0.75, 0.3, 1.0)
"""The share of drawn answers that are not equal to another to their prompt: each of those is judged once. The tiny
world's: 0.72."""
QUESTION_CHARS = Interval(60, 20, 200)
"""A training prompt, where the rows are not here; the reference answer is taken to be as long as a drawn one."""
TEACHERS_QUESTION_CHARS, TEACHERS_ANSWER_CHARS = Interval(20, 12, 32), Interval(8, 4, 24)
"""The same in the tiny world."""
SAMPLE = 200
"""Requests that the offline teacher is asked in this process, to see how long its verdicts are."""


def prefer(
    step: Step, params: Params, known: Known, steps: dict[str, Step], *, verdict: Interval, answer: Interval
) -> Asked:
    """The estimate for a stage that asks for verdicts on drawn answers.

    Args:
        verdict: Tokens of a verdict of a model that the ledger does not know.
        answer: Characters of an answer that is not drawn yet.
    """
    entry = params.pairs[step.wildcards["pairs"]]
    assert isinstance(entry, JudgedPairs)
    recipe, sample = params.prefer[entry.prefer], params.sample[entry.sample]
    asked = Asked(endpoint_of(recipe.base_url), recipe.model)
    samples = f"data/samples/{step.wildcards['pairs']}.jsonl"
    (folder,) = (dep for dep in step.stage.deps if dep != samples)
    prompts = load_prompts(Path(folder))

    def request(row: jsonl.Row) -> dict[str, Any]:
        found = request_for(row, prompts, recipe.judge_class, recipe.model, recipe.temperature, recipe.max_tokens)
        return found.identity(asked.endpoint)

    if not any(steps[name].runs for name in step.before) and Path(samples).exists():
        rows = [row for row in load_samples(Path(samples)) if row["stopped"] and row["answer"].strip()]
        requests = {request_digest(found): found for found in map(request, rows)}
        missing = set(known.ledger.missing(list(requests), refusals=True))
        todo = [found for digest, found in requests.items() if digest in missing]
        asked.calls = Interval.exactly(len(todo))
        asked.basis.append("counted: the drawn answers are here")
        if not todo:
            return asked
        texts = ["".join(message["content"] for message in found["messages"]) for found in todo]
        asked.prompt_tokens = known.prompt_tokens(asked.endpoint, asked.model, "prefer", texts, len(texts))
    else:
        count = sample.rows * sample.answers
        asked.calls = Interval(round(count * DISTINCT.mean), round(count * DISTINCT.low), count)
        asked.basis.append(
            f"the answers are not drawn yet: at most {count}, of which {DISTINCT.high:.0%} to {DISTINCT.low:.0%} differ"
        )
        todo = [request({"question": "", "class": "", "std_answer": "答", "answer": ""})]
        bare = "".join(message["content"] for message in todo[0]["messages"])
        fixed = known.prompt_tokens(asked.endpoint, asked.model, "prefer", [bare], 1)
        one = known.prompt_tokens(asked.endpoint, asked.model, "prefer", ["答"], 1)
        question = QUESTION_CHARS
        if is_teacher(asked.endpoint):
            question, answer = TEACHERS_QUESTION_CHARS, TEACHERS_ANSWER_CHARS
        asked.prompt_tokens = (fixed + one * (question + answer + answer)) * asked.calls
    if seen := known.measured(asked.endpoint, asked.model, "prefer") or known.measured(
        asked.endpoint, asked.model, "judge"
    ):
        size = mean_of(seen.completions, asked.calls.mean)
        asked.basis.append(f"verdicts measured on {len(seen.completions)} in the ledger")
    elif is_teacher(asked.endpoint):
        size = mean_of([len(drawn(found)[0]) for found in todo[:SAMPLE]], asked.calls.mean)
        asked.basis.append("verdicts as the offline teacher gives them")
    else:
        longest = recipe.max_tokens
        size = Interval(*(min(longest, value) for value in (verdict.mean, verdict.low, verdict.high)))
        asked.basis.append(f"assumed: {span(verdict)} tokens a verdict")
    asked.completion_tokens = size * asked.calls
    return asked
