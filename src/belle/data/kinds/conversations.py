"""Conversations as in BELLE's 3.5M set: questions of users, answered and asked on by the API, one turn a request."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from belle.api import brief
from belle.api.client import Reply
from belle.data.kinds import dialogue, numbered
from belle.data.kinds.prompt import load_prompts, messages
from belle.data.kinds.subjects import TOPIC, Subject, load_subjects
from belle.data.threads import REFUSED, Drawn, Item, Messages, Rounds, is_refused

SHOWN = 3
"""How many topics a request for questions names."""


@dataclass
class _Talk:
    """One conversation as it grows. ``asked`` is a question that waits for its answer, "" between exchanges."""

    number: int
    wanted: int
    asked: str = ""
    pairs: dialogue.Pairs = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    reason: str = ""

    @property
    def goes_on(self) -> bool:
        return not self.reason and (bool(self.asked) or len(self.pairs) < self.wanted)

    def hear(self, reply: Reply) -> None:
        """Take in the answer, or the user's next question."""
        if is_refused(reply):
            self.reason, self.asked = REFUSED, ""
            return
        text, whole = reply.text.strip(), reply.finish_reason != "length"
        if not self.asked:
            text = text.removeprefix(dialogue.USER).lstrip(":：").strip()
        if not text or not whole:
            # What was said before stands; a conversation without any answer is none.
            self.reason, self.asked = "empty" if whole else "cut_off", ""
            return
        self.replies.append(reply)
        if self.asked:
            self.pairs.append((self.asked, text))
            self.asked = ""
        else:
            self.asked = text


class Conversations(Drawn):
    """A thread is a list of users' questions, and a conversation for each."""

    reasons = (*numbered.REASONS, "too_many")

    def __init__(self, seeds: Path, prompts: Path, *, tasks: int, exchanges: int, seed: int) -> None:
        self._topics = load_subjects(seeds, TOPIC)[TOPIC]
        self._prompts = load_prompts(prompts, "questions", "follow_up")
        self._exchanges, self._seed = exchanges, seed
        self.most_rows = tasks

    def _shown(self, sample: int) -> list[Subject]:
        return Random(f"{self._seed}-{sample}").choices(self._topics, k=SHOWN)

    def _talks(self, sample: int, rounds: Rounds) -> list[_Talk]:
        """The conversations as they stand, and the items that became none."""
        ((first,),) = rounds[:1]
        talks = []
        for place, item in enumerate(numbered.parse(first.text, ["问题"], first.finish_reason)):
            wanted = Random(f"{self._seed}-{sample}-{item.number}").randint(1, self._exchanges)
            reason = item.reason or ("too_many" if place >= self.most_rows else "")
            talks.append(_Talk(item.number, wanted, "".join(item.fields), replies=[first], reason=reason))
        for replies in rounds[1:]:
            for talk, reply in zip(_going(talks), replies, strict=True):
                talk.hear(reply)
        return talks

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """First the questions, then for each conversation its next answer, or how the user asks on."""
        if rounds and is_refused(rounds[0][0]):
            return []
        if not rounds:
            fields = {"主题": "、".join(topic.text for topic in self._shown(sample)), "个数": str(self.most_rows)}
            return [messages(self._prompts["questions"], brief.Brief(brief.QUESTIONS, fields))]
        return [self._turn(talk) for talk in _going(self._talks(sample, rounds))]

    def _turn(self, talk: _Talk) -> Messages:
        if not talk.asked:
            text = dialogue.render(talk.pairs)
            return messages(self._prompts["follow_up"], brief.Brief(brief.FOLLOW_UP, {}, text))
        said = [text for pair in talk.pairs for text in pair] + [talk.asked]
        return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """A row for each conversation with an answer."""
        if is_refused(rounds[0][0]):
            return [Item(1, REFUSED)]
        shown = [topic.id for topic in self._shown(sample)]
        return [
            Item(talk.number, "", talk.replies, shown, {"conversations": dialogue.conversations(talk.pairs)})
            if talk.pairs
            else Item(talk.number, talk.reason)
            for talk in self._talks(sample, rounds)
        ]


def _going(talks: list[_Talk]) -> Iterator[_Talk]:
    return iter([talk for talk in talks if talk.goes_on])
