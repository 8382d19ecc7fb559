"""Tasks for a topic and a task type, as one JSON array."""

import json
from random import Random

from belle.api.teacher.family import draw_task
from belle.api.teacher.lexicon import PEOPLE, PLACES, TIMES
from belle.api.teacher.sets import faults, reasoning
from belle.api.teacher.tasks import draw_taught, families_of
from belle.jsonl import dumps

_CLASS_OF = {
    "翻译": "translation", "分类": "classification", "抽取": "extract", "改写": "rewrite", "摘要": "summarization",
    "阅读": "closed qa", "问答": "open qa", "头脑风暴": "brainstorming", "编程": "code",
    "数学": "math", "造句": "generation",
}  # fmt: skip
"""Words of a task type, and the class of the families that it is drawn from."""

_ON_TOPIC = (
    ("写一句话，说说{person}和{topic}。", "{time}{person}在{place}和大家谈起了{topic}。"),
    ("以“{topic}”为题，写一个有{person}的开头。", "{time}，{person}来到{place}，心里想着{topic}。"),
    ("用“{topic}”和“{place}”写一句话。", "{time}我们在{place}说起了{topic}，{person}也来了。"),
)


def _task(topic: str, task_type: str, rng: Random) -> tuple[str, str, str]:
    cls = next((cls for word, cls in _CLASS_OF.items() if word in task_type), "")
    if "推理" in task_type:
        question, answer = reasoning.chain(rng)
        return question, "", answer
    if cls and cls != "generation":
        task = draw_task(rng.choice(families_of(cls)), rng)
        return task.instruction, task.input, task.output
    if rng.random() < 0.8:
        asked, told = rng.choice(_ON_TOPIC)
        slots = {"topic": topic, "person": rng.choice(PEOPLE), "place": rng.choice(PLACES), "time": rng.choice(TIMES)}
        return asked.format_map(slots), "", told.format_map(slots)
    task = draw_taught(rng)
    return task.instruction, task.input, task.output


def tasks_reply(topic: str, task_type: str, count: int, rng: Random) -> tuple[str, str]:
    """``count`` tasks as a JSON array, now and then fenced, and the ``finish_reason``."""
    if refusal := faults.refuses(rng):
        return refusal, "stop"
    rows: list[object] = []
    for _ in range(count):
        instruction, given, output = _task(topic, task_type, rng)
        fault = faults.fault_of_item(rng)
        if fault == "claimed":
            output = faults.CLAIM + output
        elif fault == "empty":
            output = ""
        row = {"instruction": instruction, "input": given, "output": output}
        rows.append({"任务": instruction, "答案": output} if fault == "spoilt" else row)
    luck = rng.random()
    if luck < 0.02:  # single quotes, which are no JSON
        return faults.cut(str(rows), rng)
    text = json.dumps(rows, ensure_ascii=False, indent=2) if luck < 0.7 else "[" + ",\n".join(map(dumps, rows)) + "]"
    return faults.cut(f"```json\n{text}\n```" if luck > 0.9 else text, rng)
