"""Chat for a given role, as BELLE's generated_chat: a role is described, then a dialogue with it is written."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from belle.api import brief
from belle.data.kinds import dialogue, numbered
from belle.data.kinds.prompt import load_prompts, messages
from belle.data.kinds.subjects import ROLE, Subject, load_subjects
from belle.data.threads import REFUSED, Drawn, Item, Messages, Rounds, is_refused


class Roles(Drawn):
    """A thread is a list of roles, and then one dialogue for each of them."""

    reasons: Sequence[str] = tuple(dict.fromkeys((*numbered.REASONS, *dialogue.REASONS, "too_many")))

    def __init__(self, seeds: Path, prompts: Path, *, tasks: int, exchanges: int, seed: int) -> None:
        self._roles = load_subjects(seeds, ROLE)[ROLE]
        self._prompts = load_prompts(prompts, "roles", "role_dialogue")
        self._exchanges, self._seed = exchanges, seed
        self.most_rows = tasks

    def _shown(self, sample: int) -> list[Subject]:
        """The occupations that a thread is about."""
        return Random(f"{self._seed}-{sample}").choices(self._roles, k=self.most_rows)

    def _described(self, rounds: Rounds) -> list[numbered.Numbered]:
        ((reply,),) = rounds[:1]
        described = numbered.parse(reply.text, ["角色"], reply.finish_reason)
        # More than were asked for would be paid for again, each with a dialogue.
        return [
            item if place < self.most_rows or item.reason else numbered.Numbered(item.number, "too_many")
            for place, item in enumerate(described)
        ]

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """First the roles, then a dialogue of each."""
        if rounds and is_refused(rounds[0][0]):
            return []
        if not rounds:
            shown = self._shown(sample)
            fields = {"身份": "、".join(role.text for role in shown), "个数": str(len(shown))}
            return [messages(self._prompts["roles"], brief.Brief(brief.ROLES, fields))]
        if len(rounds) > 1:
            return []
        prompt = self._prompts["role_dialogue"]
        wanted = [(item, self._wanted(sample, item.number)) for item in self._described(rounds) if not item.reason]
        return [
            messages(prompt, brief.Brief(brief.ROLE_DIALOGUE, {"轮数": str(count)}, item.fields[0]))
            for item, count in wanted
        ]

    def _wanted(self, sample: int, number: int) -> int:
        return Random(f"{self._seed}-{sample}-{number}").randint(min(2, self._exchanges), self._exchanges)

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """A row for each role with a dialogue: the role opens the first human turn, as it is given to the assistant."""
        if is_refused(rounds[0][0]):
            return [Item(1, REFUSED)]
        shown = [role.id for role in self._shown(sample)]
        replies, items = iter(rounds[1] if len(rounds) > 1 else ()), []
        for item in self._described(rounds):
            if item.reason:
                items.append(Item(item.number, item.reason))
                continue
            (role,), reply = item.fields, next(replies)
            pairs, reason = ([], REFUSED) if is_refused(reply) else dialogue.parse(reply.text, reply.finish_reason)
            if reason:
                items.append(Item(item.number, reason))
                continue
            (asked, told), *rest = pairs
            talk = dialogue.conversations([(f"{role}\n{asked}", told), *rest])
            items.append(Item(item.number, "", [*rounds[0], reply], shown, {"role": role, "conversations": talk}))
        return items
