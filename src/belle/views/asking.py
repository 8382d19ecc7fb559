"""How many calls and tokens a stage that asks would take beyond what the ledger holds.

What is known is counted: requests that are in the ledger, prompts, the replies that were seen. What a reply will be
is measured on the ledger's replies of that model, on the offline teacher itself, or else assumed, and said to be.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from belle import jsonl
from belle.api.request import request_digest
from belle.data.evalset import evalset
from belle.data.generate import load_prompt, request_of, shots_of
from belle.data.selfinstruct import parse
from belle.entries import GeneratedDataset, ReleasedModel
from belle.evaluate import judge
from belle.params import Params
from belle.records import EvalRow, class_name, load_eval, load_seeds
from belle.views import asking_pairs, asking_sets
from belle.views.asked import Asked, over, span, until, whole
from belle.views.graph import Step
from belle.views.interval import Interval, mean_of
from belle.views.tokens import DRAWN, Known, drawn, endpoint_of, is_teacher

ROW_TOKENS = Interval(150, 90, 260)
"""A row in a reply of ChatGPT's to BELLE's prompt, numbering and all."""
ROWS_KEPT = Interval(0.9, 0.98, 0.8)
"""The share of a reply's items that become rows; its low number is the cheap case."""
VERDICT_TOKENS = Interval(120, 30, 400)
"""A verdict of ChatGPT's: a score and its reason."""
ANSWER_CHARS = Interval(200, 60, 600)
"""An answer of a model of 7 billion parameters that is not made yet."""
SAME_CHARACTER = 0.99
"""How likely a 4-bit twin goes on as its model did, by character: 371 of 400 answers of 6.6 characters were equal."""


class Asking:
    """Estimates for the stages of one plan, in the order of their running: what one asks, the next need not."""

    def __init__(self, params: Params, known: Known, steps: dict[str, Step]) -> None:
        self.params, self.known, self.steps = params, known, steps
        self._planned: set[str] = set()
        self._evals: set[str] = set()

    def of(self, step: Step) -> Asked | None:
        """The estimate for a stage; None for one that asks nothing."""
        if step.command == "generate":
            return self._generate(step)
        if step.command == "ask":
            return asking_sets.ask(step, self.params, self.known)
        if step.command == "label":
            return asking_sets.label(step, self.params, self.known, self.steps)
        if step.command == "prefer":
            return asking_pairs.prefer(
                step, self.params, self.known, self.steps, verdict=VERDICT_TOKENS, answer=ANSWER_CHARS
            )
        return self._judge(step) if step.command == "judge" else None

    def _generate(self, step: Step) -> Asked:
        entry = self.params.datasets[step.wildcards["dataset"]]
        assert isinstance(entry, GeneratedDataset)
        recipe = self.params.generate[entry.generate]
        seeds = load_seeds(Path(entry.seeds))
        (prompt,) = (dep for dep in step.stage.deps if dep != entry.seeds)
        text = load_prompt(Path(prompt), recipe.tasks)
        sampling: dict[str, Any] = {
            "temperature": recipe.temperature, "top_p": recipe.top_p, "max_tokens": recipe.max_tokens
        }  # fmt: skip
        if recipe.stop:
            sampling["stop"] = [stop.replace(r"\n", "\n") for stop in recipe.stop]
        asked = Asked(endpoint_of(recipe.base_url), recipe.model)

        def request(sample: int) -> dict[str, Any]:
            shots = shots_of(seeds, recipe.shots, recipe.seed, sample)
            return request_of(text, shots, recipe.model, sampling, sample).identity(asked.endpoint)

        made, sample, rows, tokens = 0, 0, list[int](), list[int]()
        while made < recipe.rows:
            digest = request_digest(request(sample))
            line = self.known.ledger.get(digest)
            if line is None and self.known.ledger.refusal(digest) is None:
                break
            reply = _reply(line) if line else ("", "")
            rows.append(_rows(*reply))
            tokens.append(int(((line or {}).get("usage") or {}).get("completion_tokens") or len(reply[0])))
            made += rows[-1]
            sample += 1
        if made >= recipe.rows:
            asked.basis.append(f"all {sample} replies are in the ledger")
            return asked
        if sample:
            asked.basis.append(f"{sample} replies are in the ledger, {min(made, recipe.rows)} of {recipe.rows} rows")
        left = float(recipe.rows - made)
        if len(rows) < DRAWN and is_teacher(asked.endpoint):
            replies = [drawn(request(sample + number)) for number in range(DRAWN)]
            rows, tokens = [_rows(*reply) for reply in replies], [len(reply[0]) for reply in replies]
            asked.basis.append(f"measured on {DRAWN} replies that the offline teacher would give")
        elif rows:
            asked.basis.append(f"measured on {len(rows)} replies in the ledger")
        taken = until(rows, left) if len(rows) == DRAWN and is_teacher(asked.endpoint) else 0
        if taken:
            # waves are as large as the rows that are left seem to need, so one reply too many may be asked for
            asked.calls = Interval(taken, taken, taken + 1)
            asked.completion_tokens = Interval.exactly(sum(tokens[:taken]) / taken) * asked.calls
        elif len(rows) > 1 and any(rows):
            asked.calls = whole(over(left, mean_of(rows, left / (sum(rows) / len(rows)))))
            asked.completion_tokens = mean_of(tokens, asked.calls.mean) * asked.calls
        else:
            asked.basis.append(
                f"assumed: {recipe.tasks - recipe.shots} items a reply of {span(ROW_TOKENS)} tokens each, "
                f"of which {ROWS_KEPT.high:.0%} to {ROWS_KEPT.low:.0%} become rows"
            )
            items = max(1, recipe.tasks - recipe.shots)
            fits = [min(items, recipe.max_tokens / size) for size in (ROW_TOKENS.mean, ROW_TOKENS.low, ROW_TOKENS.high)]
            per_reply = [count * kept for count, kept in zip(fits, (0.9, 0.98, 0.8), strict=True)]
            asked.calls = whole(Interval(*(left / count for count in per_reply)))
            asked.completion_tokens = _of_texts(left)
        texts = [
            "".join(message["content"] for message in request(sample + number)["messages"])
            for number in range(min(1000, math.ceil(asked.calls.mean)))
        ]
        per_call = self.known.prompt_tokens(asked.endpoint, asked.model, "generate", texts, 1)
        asked.prompt_tokens = per_call * asked.calls
        return asked

    def _judge(self, step: Step) -> Asked:
        eval_ = self.params.evals[step.wildcards["eval"]]
        recipe = self.params.judge[eval_.judge]
        asked = Asked(endpoint_of(recipe.base_url), recipe.model)
        answers = next(dep for dep in step.stage.deps if dep.startswith("results/answers/"))
        (folder,) = (dep for dep in step.stage.deps if dep != answers)
        prompts = judge.load_prompts(Path(folder))

        def request(row: jsonl.Row) -> dict[str, Any]:
            prompt = prompts.get(class_name(row["class"]), "")
            found = judge.request_of(prompt, row, recipe.model, recipe.temperature, recipe.max_tokens)
            return found.identity(asked.endpoint)

        made = not any(self.steps[name].runs for name in step.before) and Path(answers).exists()
        if made:
            requests = {request_digest(found): found for found in map(request, jsonl.read(Path(answers)))}
            todo = [
                found for digest, found in requests.items()
                if digest not in self._planned and digest not in self.known.ledger
            ]  # fmt: skip
            self._planned.update(requests)
            asked.calls = Interval.exactly(len(todo))
            asked.basis.append("counted: the answers are here")
        elif questions := self._questions(eval_.path):
            rows = [
                {"question": row.question, "class": row.cls, "std_answer": row.std_answer, "answer": row.std_answer}
                for row in questions
            ]
            todo = [request(row) for row in rows]
            answer_chars = sum(len(row["answer"]) for row in rows) / len(rows)
            asked.calls = self._fresh(
                step, len(todo), answer_chars if is_teacher(asked.endpoint) else ANSWER_CHARS.mean
            )
            long = (
                "as long as the reference answers"
                if is_teacher(asked.endpoint)
                else f"of {span(ANSWER_CHARS)} characters"
            )
            asked.basis.append(f"the answers are not made yet: taken to be {long}")
        else:
            asked.basis.append(f"{eval_.path} is not here yet: not counted")
            return asked
        if not todo or not asked.calls.high:
            return asked
        texts = ["".join(message["content"] for message in found["messages"]) for found in todo]
        asked.prompt_tokens = self.known.prompt_tokens(asked.endpoint, asked.model, "judge", texts, 1) * asked.calls
        asked.completion_tokens = self._verdicts(asked, todo, recipe.max_tokens) * asked.calls
        if not made and not is_teacher(asked.endpoint):
            empty = [request({**row, "answer": ""}) for row in rows]
            texts = ["".join(message["content"] for message in found["messages"]) for found in empty]
            bare = self.known.prompt_tokens(asked.endpoint, asked.model, "judge", texts, 1)
            answer = self.known.prompt_tokens(asked.endpoint, asked.model, "judge", ["答"], 1) * ANSWER_CHARS
            asked.prompt_tokens = (bare + answer) * asked.calls
        return asked

    def _questions(self, path: str) -> list[EvalRow]:
        """The evaluation set as it will be; empty where it is not here and no recipe writes it."""
        writing = [step for step in self.steps.values() if step.runs and path in step.stage.outs]
        if not writing:
            return load_eval(Path(path)) if Path(path).exists() else []
        recipe = self.params.evalset[writing[0].wildcards["evalset"]]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "set.jsonl"
            evalset(out=out, **recipe.model_dump())
            return load_eval(out)

    def _verdicts(self, asked: Asked, todo: list[dict[str, Any]], longest: int) -> Interval:
        """Tokens of one verdict."""
        if seen := self.known.measured(asked.endpoint, asked.model, "judge"):
            asked.basis.append(f"verdicts measured on {len(seen.completions)} in the ledger")
            return mean_of(seen.completions, asked.calls.mean)
        if is_teacher(asked.endpoint):
            sample = todo[:: max(1, len(todo) // DRAWN)][:DRAWN]
            asked.basis.append(f"verdicts measured on {len(sample)} that the offline teacher would give")
            return mean_of([len(drawn(found)[0]) for found in sample], asked.calls.mean)
        asked.basis.append(f"assumed: {span(VERDICT_TOKENS)} tokens a verdict")
        return Interval(
            *(min(longest, value) for value in (VERDICT_TOKENS.mean, VERDICT_TOKENS.low, VERDICT_TOKENS.high))
        )

    def _fresh(self, step: Step, count: int, answer_chars: float) -> Interval:
        """How many of ``count`` answers that are not made yet nobody has judged: equal ones are asked about once."""
        model, eval_ = step.wildcards["model"], step.wildcards["eval"]
        entry = self.params.models.get(model.removesuffix("-gptq"))
        twin, alike = "", 0.0
        if model.endswith("-gptq"):
            twin, alike = model.removesuffix("-gptq"), SAME_CHARACTER**answer_chars
        elif isinstance(entry, ReleasedModel) and entry.release.endswith("-enc"):
            twin, alike = entry.release.removeprefix("models/").removesuffix("-enc"), 1.0
        alike = alike if f"judge-{eval_}-{twin}" in self.steps else 0.0
        # At least one model's answers are new, each under its own question. Others may all answer alike, and a model
        # that answers once more may answer as before: then the ledger has it all.
        first = eval_ not in self._evals and not Path(step.stage.outs[0]).exists()
        self._evals.add(eval_)
        return Interval(count * (1 - alike), count if first else 0, count)


def _reply(line: dict[str, Any]) -> tuple[str, str]:
    """The text of a ledger line's reply, and its finish reason."""
    from belle.api.body import read_body

    body = read_body(line["reply"])
    return body.text, body.finish_reason


def _rows(text: str, finish_reason: str) -> int:
    return len([item for item in parse(text, finish_reason=finish_reason) if not item.reason])


def _of_texts(rows: float) -> Interval:
    return Interval(
        rows * ROW_TOKENS.mean / ROWS_KEPT.mean, rows * ROW_TOKENS.low / ROWS_KEPT.low,
        rows * ROW_TOKENS.high / ROWS_KEPT.high,
    )  # fmt: skip
