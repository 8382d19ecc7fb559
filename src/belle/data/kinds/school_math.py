"""School mathematics, as BELLE's school_math: problems of one point of the curriculum, each with its solution."""

from pathlib import Path
from random import Random

from belle.api import brief
from belle.data.kinds import numbered
from belle.data.kinds.prompt import load_prompts, messages
from belle.data.kinds.subjects import POINT, TOPIC, Subject, load_subjects
from belle.data.threads import REFUSED, Drawn, Item, Messages, Rounds, is_refused


class SchoolMath(Drawn):
    """A thread is one request for ``tasks`` problems."""

    reasons = numbered.REASONS

    def __init__(self, seeds: Path, prompts: Path, *, tasks: int, exchanges: int, seed: int) -> None:
        subjects = load_subjects(seeds, POINT, TOPIC)
        self._points, self._topics = subjects[POINT], subjects[TOPIC]
        self._prompt = load_prompts(prompts, "school_math")["school_math"]
        self._seed = seed
        self.most_rows = tasks

    def _about(self, sample: int) -> list[Subject]:
        """What a request's problems practise, and two topics for the situations that they are set in."""
        rng = Random(f"{self._seed}-{sample}")
        return [rng.choice(self._points), rng.choice(self._topics), rng.choice(self._topics)]

    def ask(self, sample: int, rounds: Rounds) -> list[Messages]:
        """The one request."""
        point, one, other = self._about(sample)
        fields = {"知识点": point.text, "情境": f"{one.text}、{other.text}", "个数": str(self.most_rows)}
        return [] if rounds else [messages(self._prompt, brief.Brief(brief.PROBLEMS, fields))]

    def items(self, sample: int, rounds: Rounds) -> list[Item]:
        """A row for each problem: ``input`` is empty, as in BELLE's set."""
        ((reply,),), about = rounds, self._about(sample)
        if is_refused(reply):
            return [Item(1, REFUSED)]
        items = []
        for item in numbered.parse(reply.text, ["题目", "解答"], reply.finish_reason):
            problem, solution = item.fields or ("", "")
            fields = {"topic": about[0].text, "instruction": problem, "input": "", "output": solution}
            items.append(Item(item.number, item.reason, [reply], [subject.id for subject in about], fields))
        return items
