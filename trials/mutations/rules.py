"""Changes of rules: a command, and what is no part of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from trials.mutations.mutation import Mutation
from trials.mutations.truth import Truth
from trials.worlds import World


def rules(jobs: Truth) -> Iterator[Mutation]:
    """Each rule: its command, and what is no part of its command."""
    roots: dict[str, set[str]] = {}
    for job in jobs.jobs:
        roots.setdefault(job.command.split()[1], set()).add(job.name)

    def edited(rule: str, change: Callable[[str], str]) -> Callable[[World], None]:
        def apply(world: World) -> None:
            for path in (world.folder / "rules").glob("*.smk"):
                text = path.read_text(encoding="utf-8")
                body = re.search(rf"^rule {rule}:\n(?:    .*\n|\n)+", text, re.M)
                if body:
                    changed = change(body[0])
                    assert changed != body[0], f"the rule {rule} was not changed"
                    path.write_text(text.replace(body[0], changed), encoding="utf-8")
                    return
            raise AssertionError(f"there is no rule {rule}")

        return apply

    def command(body: str) -> str:
        return (
            re.sub(r"(belle \w+ [^\"']*(?:\n?.*?))([\"'])(\s*\)\s*)$", r"\1 2>\&1\2\3", body.rstrip(), flags=re.S)
            + "\n\n\n"
        )

    def comment(body: str) -> str:
        return body.replace("    shell:", "    # only a comment\n    shell:", 1)

    def resources(body: str) -> str:
        return body.replace("    shell:", "    priority: 3\n    localrule: True\n    shell:", 1)

    for rule, stages in sorted(roots.items()):
        yield Mutation("rule", f"{rule}: another command", edited(rule, command), frozenset(stages))
        yield Mutation("rule, cosmetic", f"{rule}: a comment", edited(rule, comment))
        yield Mutation("rule, cosmetic", f"{rule}: priority, where it runs", edited(rule, resources))
    for rule in ("fetch_dataset", "decrypt"):
        yield Mutation("rule", f"{rule} (no default target): another command", edited(rule, command))
