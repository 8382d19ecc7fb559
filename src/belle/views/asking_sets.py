"""How many calls and tokens the kinds of set take that are asked for by threads, and the labels of a classifier.

A thread's later requests hold earlier replies. Where those are not known, the offline teacher's stand in for them:
they decide how many requests a thread has, while the sizes of texts are assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belle.api import brief
from belle.api.body import read_body
from belle.api.client import Reply, Request
from belle.api.request import request_digest
from belle.data.ask import described, kind_of
from belle.data.kinds.prompt import load_prompts
from belle.data.label import Labels, chosen
from belle.data.threads import REFUSED, Kind, sampling
from belle.entries import AskedDataset
from belle.params import Params
from belle.views.asked import Asked, over, span, until, whole
from belle.views.graph import Step
from belle.views.interval import NOTHING, Interval, mean_of, total
from belle.views.tokens import DRAWN, Known, drawn, endpoint_of, is_teacher

TURN_TOKENS = Interval(90, 40, 180)
"""A turn of a dialogue, a user's or an assistant's."""
ANSWER_TOKENS = Interval(200, 80, 400)
"""ChatGPT's answer to a question."""
REPLY_TOKENS = {
    brief.DIALOGUE: Interval(180, 80, 360), brief.ROLE_DIALOGUE: Interval(130, 60, 260),
    brief.ROLES: Interval(60, 40, 100), brief.QUESTIONS: Interval(35, 20, 60), brief.FOLLOW_UP: Interval(30, 15, 60),
    brief.PROBLEMS: Interval(150, 90, 250), brief.TASKS: Interval(150, 90, 260), brief.CATEGORY: Interval(8, 5, 20),
}  # fmt: skip
"""ChatGPT's reply to a brief, for each item or exchange that is asked for."""
KEPT = Interval(0.9, 0.98, 0.8)
"""The share of a thread's items that become rows; its low number is the cheap case."""
QUESTION_CHARS = Interval(60, 20, 200)
"""A user's first question, where the rows are not made yet."""
TEACHERS_QUESTION_CHARS = Interval(20, 12, 32)
"""The same of the offline teacher's."""

Answer = Callable[[dict[str, Any]], tuple[str, str, int, int] | None]
"""The text of a reply, its finish reason, and the tokens of prompt and completion; None where there is none."""


@dataclass
class _Thread:
    """One thread: the rows that it gives and its requests, with the tokens that the API would count."""

    rows: int
    requests: list[dict[str, Any]]
    prompt_tokens: int
    completion_tokens: int


def ask(step: Step, params: Params, known: Known) -> Asked:
    """The estimate for a stage that asks for rows."""
    entry = params.datasets[step.wildcards["dataset"]]
    assert isinstance(entry, AskedDataset)
    recipe = params.ask[entry.ask]
    (prompts,) = (dep for dep in step.stage.deps if dep != entry.seeds)
    kind = kind_of(
        recipe.kind, Path(entry.seeds), Path(prompts), tasks=recipe.tasks, exchanges=recipe.exchanges, seed=recipe.seed
    )
    stop = [text.replace(r"\n", "\n") for text in recipe.stop]
    asked = Asked(endpoint_of(recipe.base_url, sets=True), recipe.model)
    walk = _Walk(kind, asked, sampling(recipe.temperature, recipe.top_p, recipe.max_tokens, stop))

    done: list[_Thread] = []
    in_ledger = _from(known)
    while sum(thread.rows for thread in done) < recipe.rows and (thread := walk.thread(len(done), in_ledger)):
        done.append(thread)
    made, replies = sum(thread.rows for thread in done), sum(len(thread.requests) for thread in done)
    if made >= recipe.rows:
        asked.basis.append(f"all {replies} replies are in the ledger")
        return asked
    if done:
        asked.basis.append(f"{replies} replies are in the ledger, {made} of {recipe.rows} rows")
    left = float(recipe.rows - made)
    teacher = is_teacher(asked.endpoint)
    if teacher or len(done) < 2 or not made:
        sample = [walk.thread(len(done) + number, _drawn) for number in range(DRAWN)]
        threads = [thread for thread in sample if thread]
    else:
        threads = done
    if teacher and (taken := until([thread.rows for thread in threads], left)):
        asked.basis.append(f"measured on {taken} threads that the offline teacher would go through")
        # waves are as large as the rows that are left seem to need, so one thread too many may be asked for
        last = taken if taken < len(threads) else taken - 1
        asked.calls = _counted(threads, taken, last, lambda thread: len(thread.requests))
        asked.prompt_tokens = _counted(threads, taken, last, lambda thread: thread.prompt_tokens)
        asked.completion_tokens = _counted(threads, taken, last, lambda thread: thread.completion_tokens)
    elif teacher or threads is done:
        whose = "that the offline teacher would go through" if teacher else "in the ledger"
        asked.basis.append(f"measured on {len(threads)} threads {whose}")
        rows = [thread.rows for thread in threads]
        wanted = over(left, mean_of(rows, left * len(rows) / max(1, sum(rows))))
        asked.calls = whole(_mean(threads, wanted, lambda thread: len(thread.requests)) * wanted)
        asked.prompt_tokens = _mean(threads, wanted, lambda thread: thread.prompt_tokens) * wanted
        asked.completion_tokens = _mean(threads, wanted, lambda thread: thread.completion_tokens) * wanted
    else:
        asked.basis.append(
            f"assumed: threads as the offline teacher goes through them, turns of {span(TURN_TOKENS)} and answers of "
            f"{span(ANSWER_TOKENS)} tokens, {KEPT.high:.0%} to {KEPT.low:.0%} of the items become rows"
        )
        wanted = Interval(*(left / (kind.most_rows * kept) for kept in (KEPT.mean, KEPT.low, KEPT.high)))
        per_thread = 1 / len(threads)
        asked.calls = whole(wanted * (sum(len(thread.requests) for thread in threads) * per_thread))
        requests = [request for thread in threads for request in thread.requests]
        asked.prompt_tokens = _prompts(asked, known, described(recipe.kind), requests) * per_thread * wanted
        asked.completion_tokens = total([_size(request) for request in requests]) * per_thread * wanted
    return asked


def label(step: Step, params: Params, known: Known, steps: dict[str, Step]) -> Asked:
    """The estimate for a stage that asks for the categories of rows."""
    entry = params.categories[step.wildcards["categories"]]
    recipe = params.label[entry.label]
    asked = Asked(endpoint_of(recipe.base_url, sets=True), recipe.model)
    rows_of = f"data/clean/{entry.dataset}.jsonl"
    (folder,) = (dep for dep in step.stage.deps if dep != rows_of)
    prompt = load_prompts(Path(folder), "category")["category"]
    made = not any(steps[name].runs for name in step.before) and Path(rows_of).exists()
    texts = chosen(Path(rows_of), recipe.rows, recipe.seed) if made else [("", "")]
    kind = Labels(texts, prompt)
    walk = _Walk(kind, asked, sampling(recipe.temperature, 1.0, recipe.max_tokens))
    requests = [request for number in range(len(texts)) for request in walk.requests(number)]
    if made:
        missing = set(known.ledger.missing([request_digest(request) for request in requests], refusals=True))
        requests = [request for request in requests if request_digest(request) in missing]
        asked.calls = Interval.exactly(len(requests))
        asked.basis.append("counted: the rows are here")
    else:
        asked.calls = Interval(recipe.rows, recipe.rows / 2, recipe.rows)
        asked.basis.append(f"the rows are not made yet: at most {recipe.rows} texts, each asked about once")
    if not requests:
        return asked
    bare = _prompts(asked, known, "label", requests) * (1 / len(requests))
    if not made:
        teacher = is_teacher(asked.endpoint)
        chars = TEACHERS_QUESTION_CHARS if teacher else QUESTION_CHARS
        bare = bare + known.prompt_tokens(asked.endpoint, asked.model, "label", ["问"], 1) * chars
    asked.prompt_tokens = bare * asked.calls
    if seen := known.measured(asked.endpoint, asked.model, "label"):
        asked.completion_tokens = mean_of(seen.completions, asked.calls.mean) * asked.calls
        asked.basis.append(f"verdicts measured on {len(seen.completions)} in the ledger")
    else:
        asked.completion_tokens = REPLY_TOKENS[brief.CATEGORY] * asked.calls
        asked.basis.append(f"assumed: {span(REPLY_TOKENS[brief.CATEGORY])} tokens a verdict")
    return asked


@dataclass
class _Walk:
    """Threads of a kind, gone through with somebody's answers."""

    kind: Kind
    asked: Asked
    params: dict[str, Any]

    def requests(self, sample: int, rounds: list[list[Reply]] | None = None) -> list[dict[str, Any]]:
        """The next round of a thread."""
        number = sample if self.kind.draws else 0
        return [
            Request(self.asked.model, messages, self.params, number).identity(self.asked.endpoint)
            for messages in self.kind.ask(sample, rounds or [])
        ]

    def thread(self, sample: int, answer: Answer) -> _Thread | None:
        """A whole thread; None where an answer is missing."""
        rounds: list[list[Reply]] = []
        requests, prompt, completion = list[dict[str, Any]](), 0, 0
        while batch := self.requests(sample, rounds):
            replies = []
            for request in batch:
                found = answer(request)
                if found is None:
                    return None
                text, finish_reason, asked, told = found
                replies.append(Reply(request_digest(request), text, finish_reason, {}))
                prompt, completion = prompt + asked, completion + told
            rounds.append(replies)
            requests += batch
        rows = sum(not item.reason for item in self.kind.items(sample, rounds))
        return _Thread(rows, requests, prompt, completion)


def _from(known: Known) -> Answer:
    """Answers out of the ledger."""

    def answer(request: dict[str, Any]) -> tuple[str, str, int, int] | None:
        digest = request_digest(request)
        line = known.ledger.get(digest)
        if line is None:
            refusal = known.ledger.refusal(digest)
            return ("", f"{REFUSED}: {refusal['reason']}", 0, 0) if refusal else None
        body, usage = read_body(line["reply"]), line.get("usage") or {}
        prompt = usage.get("prompt_tokens") or _characters(request)
        return body.text, body.finish_reason, int(prompt), int(usage.get("completion_tokens") or len(body.text))

    return answer


def _drawn(request: dict[str, Any]) -> tuple[str, str, int, int]:
    """Answers as the offline teacher would give them; it counts a character as a token."""
    text, finish_reason = drawn(request)
    return text, finish_reason, _characters(request), len(text)


def _characters(request: dict[str, Any]) -> int:
    return sum(len(message["content"]) for message in request["messages"])


def _counted(threads: list[_Thread], taken: int, last: int, of: Callable[[_Thread], int]) -> Interval:
    """A sum over the threads that are needed, and perhaps one more."""
    count = sum(map(of, threads[:taken]))
    return Interval(count, count, count + of(threads[last]))


def _mean(threads: list[_Thread], wanted: Interval, of: Callable[[_Thread], int]) -> Interval:
    return mean_of([of(thread) for thread in threads], wanted.mean)


def _prompts(asked: Asked, known: Known, describe: str, requests: list[dict[str, Any]]) -> Interval:
    """Tokens of the prompts of all ``requests``; turns of dialogues that they hold are of assumed size."""
    fixed, turns = list[str](), 0
    for request in requests:
        messages = request["messages"]
        found = brief.parse(messages[-1]["content"])
        if found is None:
            turns += len(messages)
        elif found.title in (brief.DIALOGUE, brief.FOLLOW_UP):
            turns += found.text.count("\n助手：") * 2
            fixed.append("".join(message["content"] for message in messages).removesuffix(found.text))
        else:
            fixed.append("".join(message["content"] for message in messages))
    if is_teacher(asked.endpoint):
        return Interval.exactly(sum(map(_characters, requests)))
    prompts = known.prompt_tokens(asked.endpoint, asked.model, describe, fixed, len(fixed)) if fixed else NOTHING
    return prompts + TURN_TOKENS * turns


def _size(request: dict[str, Any]) -> Interval:
    """Tokens of ChatGPT's reply to a request, at most as many as it allows."""
    found = brief.parse(request["messages"][-1]["content"])
    if found is None:
        size = ANSWER_TOKENS
    else:
        size = REPLY_TOKENS[found.title] * int(found.fields.get("轮数") or found.fields.get("个数") or 1)
    longest = request["params"]["max_tokens"]
    return Interval(*(min(longest, value) for value in (size.mean, size.low, size.high)))
