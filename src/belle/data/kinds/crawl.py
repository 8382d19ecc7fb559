"""Chinese-LLaMA-Alpaca's self-instruct crawl: tasks for each pair of a topic and a task type, as JSON."""

import json
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from belle.api import brief
from belle.data.kinds.prompt import load_prompts, messages
from belle.data.kinds.subjects import TASK_TYPE, TOPIC, Subject, load_subjects
from belle.data.threads import REFUSED, Drawn, Item, Messages, Rounds, is_refused

REASONS = ("cut_off", "format", "empty")
"""Why an item cannot be used, in the order in which it is looked at."""


class Crawl(Drawn):
    """A thread is one request for ``tasks`` tasks. Every pair is asked for once before any is asked for again."""

    reasons = REASONS

    def __init__(self, seeds: Path, prompts: Path, *, tasks: int, exchanges: int, seed: int) -> None:
        subjects = load_subjects(seeds, TOPIC, TASK_TYPE)
        self._pairs = [(topic, type_) for topic in subjects[TOPIC] for type_ in subjects[TASK_TYPE]]
        self._prompt = load_prompts(prompts, "crawl")["crawl"]
        self._seed = seed
        self.most_rows = tasks
        self._order = lru_cache(2)(self._shuffled)

    def _shuffled(self, pass_: int) -> list[tuple[Subject, Subject]]:
        pairs = list(self._pairs)
        Random(f"{self._seed}-{pass_}").shuffle(pairs)
        return pairs

    def _pair(self, sample: int) -> tuple[Subject, Subject]:
        pass_, place = divmod(sample, len(self._pairs))
        return self._order(pass_)[place]

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """The one request."""
        topic, type_ = self._pair(sample)
        fields = {"话题": topic.text, "任务类型": type_.text, "个数": str(self.most_rows)}
        return [] if rounds else [messages(self._prompt, brief.Brief(brief.TASKS, fields))]

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """A row for each task."""
        ((reply,),), (topic, type_) = rounds, self._pair(sample)
        if is_refused(reply):
            return [Item(1, REFUSED)]
        items = []
        for number, (reason, fields) in enumerate(parse(reply.text, reply.finish_reason), 1):
            named = {"topic": topic.text, "task_type": type_.text, **fields}
            items.append(Item(number, reason, [reply], [topic.id, type_.id], named))
        return items


def parse(reply: str, finish_reason: str) -> list[tuple[str, dict[str, str]]]:
    """The objects of a JSON array, each as a reason ("" for a row) and its ``instruction, input, output``.

    Objects are read one by one, so that a reply that was cut, or in which one is broken, still gives the others.
    """
    decoder, found, place = json.JSONDecoder(strict=False), list[tuple[str, dict[str, str]]](), 0
    while (start := reply.find("{", place)) >= 0:
        try:
            value, place = decoder.raw_decode(reply, start)
        except json.JSONDecodeError:
            after = reply.find("\n{", start + 1)
            place = after if after >= 0 else len(reply)
            found.append(("cut_off" if after < 0 and finish_reason == "length" else "format", {}))
        else:
            found.append(_fields(value))
    if not found and reply.strip():
        found.append(
            ("cut_off" if finish_reason == "length" and reply.lstrip(" `json\n").startswith("[") else "format", {})
        )
    return found


def _fields(value: dict[str, Any]) -> tuple[str, dict[str, str]]:
    texts = [value.get("instruction"), value.get("input", ""), value.get("output")]
    if not all(isinstance(text, str) for text in texts):
        return "format", {}
    instruction, given, output = (str(text).strip() for text in texts)
    fields = {"instruction": instruction, "input": "" if given == "<无输入>" else given, "output": output}
    return ("", fields) if instruction and output else ("empty", {})
