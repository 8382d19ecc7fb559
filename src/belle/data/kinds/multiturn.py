"""Multi-turn chat, as BELLE's multiturn_chat: dialogues on a topic, a few exchanges a request."""

from pathlib import Path
from random import Random

from belle.api import brief
from belle.api.client import Reply
from belle.data.kinds import dialogue
from belle.data.kinds.prompt import load_prompts, messages
from belle.data.kinds.subjects import ROLE, TOPIC, Subject, load_subjects
from belle.data.threads import REFUSED, Drawn, Item, Messages, Rounds, is_refused

STEP = 2
"""The most exchanges that one request asks for."""


class Multiturn(Drawn):
    """A thread is one dialogue: each request shows it as it stands and asks how it goes on."""

    reasons = dialogue.REASONS
    most_rows = 1

    def __init__(self, seeds: Path, prompts: Path, *, tasks: int, exchanges: int, seed: int) -> None:
        subjects = load_subjects(seeds, TOPIC, ROLE)
        self._topics, self._roles = subjects[TOPIC], subjects[ROLE]
        self._prompt = load_prompts(prompts, "multiturn")["multiturn"]
        self._exchanges, self._seed = exchanges, seed

    def _plan(self, sample: int) -> tuple[list[Subject], int]:
        """What a dialogue is about (a topic, another beside it, and who asks), and how many exchanges it is to have."""
        rng = Random(f"{self._seed}-{sample}")
        about = [rng.choice(self._topics), rng.choice(self._topics), rng.choice(self._roles)]
        return about, rng.randint(min(2, self._exchanges), self._exchanges)

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """A request for up to ``STEP`` more exchanges; none where the dialogue is as long as planned, or broken off."""
        (topic, other, user), wanted = self._plan(sample)
        pairs, _, reason, whole = _said(rounds)
        if reason or not whole or len(pairs) >= wanted:
            return []
        more = min(STEP, wanted - len(pairs))
        fields = {"主题": topic.text, "也可谈到": other.text, "用户身份": user.text, "轮数": str(more)}
        return [messages(self._prompt, brief.Brief(brief.DIALOGUE, fields, dialogue.render(pairs)))]

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """The one dialogue; a faulty continuation leaves it as it was before."""
        about, wanted = self._plan(sample)
        pairs, replies, reason, _ = _said(rounds)
        if not pairs:
            return [Item(1, reason)]
        fields = {"topic": about[0].text, "conversations": dialogue.conversations(pairs[:wanted])}
        return [Item(1, "", replies, [subject.id for subject in about], fields)]


def _said(rounds: Rounds) -> tuple[dialogue.Pairs, list[Reply], str, bool]:
    """The exchanges so far, the replies that hold them, what is wrong with the last reply, and whether it was whole."""
    pairs: dialogue.Pairs = []
    replies: list[Reply] = []
    for (reply,) in rounds:
        if is_refused(reply):
            return pairs, replies, REFUSED, False
        more, reason = dialogue.parse(reply.text, reply.finish_reason)
        pairs += more
        replies += [reply] if more else []
        if reason or reply.finish_reason == "length":
            return pairs, replies, reason, False
    return pairs, replies, "", True
