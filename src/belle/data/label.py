"""Ask for the categories of a sample of rows, for a classifier to learn from."""

import hashlib
import heapq
import math
from collections.abc import Iterator
from pathlib import Path

from belle import jsonl
from belle.api import brief
from belle.api.budget import Budget
from belle.api.client import Mode
from belle.api.teacher.identity import identity_for_sets
from belle.data.categories import CATEGORIES, REASONS, WORDS, parse, text_of
from belle.data.kinds.prompt import load_prompts, messages
from belle.data.threads import REFUSED, Item, Messages, Rounds, Source, collect, is_refused, sampling
from belle.errors import InputError


def label(
    *,
    rows_of: Path,
    prompts: Path,
    out: Path,
    report: Path,
    ledger: Path,
    base_url: str,
    model: str,
    api_key: str,
    rows: int,
    temperature: float,
    max_tokens: int,
    in_flight: int,
    timeout_s: float,
    seed: int,
    budget: Budget | None = None,
    mode: Mode = "chat",
) -> None:
    """Write the categories of up to ``rows`` rows, and a report of the verdicts that named none.

    Rows are chosen by a hash of their ids, so that adding rows changes few of the chosen. A verdict is asked for by
    the text alone: one text is paid for once, whichever rows hold it.

    Args:
        rows_of: The rows to choose from, of either shape.
        prompts: The folder that holds ``category.txt``.
        out: JSON Lines of ``id`` (the row's), ``request, text, category``.
        report: As for ``belle.data.threads.collect``.

    Raises:
        InputError: a row without an id or of another schema, no rows, or the key is missing.
        BelleError: the API fails, the budget is reached, or ``PATIENCE`` verdicts in a row name no category.
    """
    kind = Labels(chosen(rows_of, rows, seed), load_prompts(prompts, "category")["category"])
    source = Source(
        base_url, model, sampling(temperature, 1.0, max_tokens), identity_for_sets(), ledger, api_key, in_flight,
        timeout_s, budget, mode,
    )  # fmt: skip
    collect(kind, source, rows=rows, out=out, report=report, describe="label")


class Labels:
    """A thread is the verdict on one text."""

    reasons = REASONS
    most_rows = 1
    draws = False

    def __init__(self, texts: list[tuple[str, str]], prompt: str) -> None:
        self._texts, self._prompt = texts, prompt
        self.most_threads: float = len(texts)

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """The one request."""
        fields = {"可选类别": "、".join(WORDS[name] for name in CATEGORIES)}
        text = f"用户：{self._texts[sample][1]}"
        return [] if rounds else [messages(self._prompt, brief.Brief(brief.CATEGORY, fields, text))]

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """The one verdict."""
        ((reply,),), (id_, text) = rounds, self._texts[sample]
        category, reason = ("", REFUSED) if is_refused(reply) else parse(reply.text, reply.finish_reason)
        return [Item(1, reason, [reply], [], {"id": id_, "text": text, "category": category})]


def chosen(rows_of: Path, rows: int, seed: int) -> list[tuple[str, str]]:
    """Ids and texts of ``rows`` rows, in the order of their hashes; each text once.

    Raises:
        InputError: a row without an id or of another schema, or no rows.
    """

    def hashed() -> Iterator[tuple[bytes, str, str]]:
        for number, row in enumerate(jsonl.read(rows_of, "rows"), 1):
            where = f"{rows_of}, row {number}"
            if not isinstance(row.get("id"), str):
                raise InputError(f"`id` must be text, found {row.get('id')!r}", where=where, fix="give every row an id")
            text = text_of(row, where)
            # Rows with one text are neighbours in this order, so that the first of them stands for all.
            digest = hashlib.sha256(f"{seed}\0{text}".encode()).digest()
            yield digest, row["id"], text

    found, spare = list[tuple[bytes, str, str]](), rows
    while True:
        found = heapq.nsmallest(spare, hashed())
        distinct = {digest: (id_, text) for digest, id_, text in reversed(found)}
        if len(distinct) >= rows or len(found) < spare:
            break
        spare = math.ceil(2 * spare * rows / max(1, len(distinct)))
    if not found:
        raise InputError("no rows in it", where=str(rows_of))
    return [distinct[digest] for digest in sorted(distinct)][:rows]
