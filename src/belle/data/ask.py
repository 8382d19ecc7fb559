"""Make the rows of a set of any other kind than single-turn Self-Instruct: dialogues, roles, problems, a crawl."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from belle.api.budget import Budget
from belle.api.client import Mode
from belle.api.teacher.identity import identity_for_sets
from belle.data.kinds.conversations import Conversations
from belle.data.kinds.crawl import Crawl
from belle.data.kinds.multiturn import Multiturn
from belle.data.kinds.roles import Roles
from belle.data.kinds.school_math import SchoolMath
from belle.data.threads import Kind, Source, collect, sampling

Name = Literal["multiturn", "roles", "school_math", "conversations", "crawl"]
"""The kinds by name."""

KINDS: dict[str, Callable[..., Kind]] = {
    "multiturn": Multiturn, "roles": Roles, "school_math": SchoolMath, "conversations": Conversations, "crawl": Crawl,
}  # fmt: skip


def ask(
    *,
    seeds: Path,
    prompts: Path,
    out: Path,
    report: Path,
    ledger: Path,
    kind: Name,
    base_url: str,
    model: str,
    api_key: str,
    rows: int,
    tasks: int,
    exchanges: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    stop: list[str],
    in_flight: int,
    timeout_s: float,
    seed: int,
    budget: Budget | None = None,
    mode: Mode = "chat",
) -> None:
    """Write ``rows`` raw rows of a kind and a report of what became of every item of the replies that were needed.

    Args:
        seeds: Subjects (``belle.data.kinds.subjects``): what requests are about.
        prompts: The folder of the kinds' prompts.
        out, report: As for ``belle.data.threads.collect``. Rows of ``school_math`` and ``crawl`` hold
            ``instruction, input, output``, those of the others ``conversations``; besides, ``topic``, ``role`` and
            ``task_type`` where the kind has them.
        ledger: The ledger's folder.
        kind: The kind of set.
        tasks: How many items a request asks for.
        exchanges: The most exchanges (a question and its answer) of a conversation.
        seed: Decides which subjects each request is about, and how long each conversation becomes.

    Raises:
        InputError: the seeds or a prompt are at fault, or the key is missing.
        BelleError: the API fails, the budget is reached, or ``PATIENCE`` threads in a row give no row.
    """
    source = Source(
        base_url, model, sampling(temperature, top_p, max_tokens, stop), identity_for_sets(), ledger, api_key,
        in_flight, timeout_s, budget, mode,
    )  # fmt: skip
    how = kind_of(kind, seeds, prompts, tasks=tasks, exchanges=exchanges, seed=seed)
    collect(how, source, rows=rows, out=out, report=report, describe=described(kind))


def kind_of(name: str, seeds: Path, prompts: Path, *, tasks: int, exchanges: int, seed: int) -> Kind:
    """The kind of this name, with its seeds and prompts."""
    return KINDS[name](seeds, prompts, tasks=tasks, exchanges=exchanges, seed=seed)


def described(name: str) -> str:
    """What a kind's requests are called in the ledger."""
    return f"ask {name}"
