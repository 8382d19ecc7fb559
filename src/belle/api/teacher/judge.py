"""Judge an answer by rule, and reply as ChatGPT does: ``得分: 0.8`` and a reason.

Where the question is one of the tiny world's, its family says what is right; any other question is judged by
likeness to the reference. A small share of the replies, drawn by content, keeps a parser honest: a refusal
without a score, or the score in another form.
"""

import hashlib
import re
import unicodedata
from math import floor
from random import Random

from belle.api import judge_format
from belle.api.teacher.tasks import find_task

REFUSALS = 0.005
ODD_FORMS = 0.02
LIKE_ENOUGH = 0.6
"""Character F1 below which likeness to the reference earns nothing."""

BEST_LIKENESS = 0.9


def normalise(text: str) -> str:
    """Fold width and case, drop spaces and final punctuation."""
    folded = "".join(unicodedata.normalize("NFKC", text).lower().split())
    return folded.rstrip("。.!?;,、…")


def likeness(answer: str, reference: str) -> float:
    """F1 of the longest common subsequence in characters, in [0, 1] (ROUGE-L, Lin 2004)."""
    if not answer or not reference:
        return 0.0
    row = [0] * (len(reference) + 1)
    for character in answer:
        left_above = 0
        for column, other in enumerate(reference, 1):
            above = row[column]
            row[column] = left_above + 1 if character == other else max(above, row[column - 1])
            left_above = above
    return 2 * row[-1] / (len(answer) + len(reference))


def _last_number(text: str) -> str:
    numbers = re.findall(r"-?\d+(?:\.\d+)?", unicodedata.normalize("NFKC", text))
    return numbers[-1] if numbers else ""


def _mathematical(prompt: str) -> bool:
    return "数学" in prompt


def score_of(prompt: str, question: str, std_answer: str, answer: str) -> float:
    """Score an answer in [0, 1].

    Args:
        prompt: The class prompt; only read for questions of no family.
        question: The question.
        std_answer: The reference, or "".
        answer: The model's answer.
    """
    if not answer.strip():
        return 0.0
    task = find_task(question)
    family, slots = task if task else (None, {})
    if family and family.check:
        return family.check(slots, answer.strip())
    reference = std_answer or (family.answer(slots, Random(0)) if family else "")
    if not reference:
        return 0.5 if len(set(normalise(answer))) >= 4 else 0.0
    if normalise(answer) == normalise(reference):
        return 1.0
    number = _last_number(reference)
    # A number that the question itself ends in would be earned by repeating it.
    if (family.cls == "math" if family else _mathematical(prompt)) and number and number != _last_number(question):
        return float(_last_number(answer) == number)
    if family and family.exact:
        return 0.0
    alike = likeness(normalise(answer), normalise(reference))
    return min(floor(alike * 10 + 1e-9) / 10, BEST_LIKENESS) if alike >= LIKE_ENOUGH else 0.0


def _reason(score: float) -> str:
    if score == 1:
        return "模型回答与要求完全一致。"
    return "模型回答部分符合要求。" if score > 0 else "模型回答不符合要求。"


def judge_reply(message: str) -> str | None:
    """Answer a judge request, or ``None`` if ``message`` is none. The same message gets the same reply."""
    parts = judge_format.parse(message)
    if parts is None:
        return None
    score = score_of(*parts)
    luck = Random(hashlib.sha256(message.encode()).digest()).random()
    if luck < REFUSALS:
        return "很抱歉，我无法对这个回答作出评价。"
    shown = f"{score:.2g}"
    if luck < REFUSALS + ODD_FORMS:
        forms = (
            f"得分：{shown}分",
            f"**得分：** {shown}\n\n{_reason(score)}",
            f"理由：{_reason(score)}\n得分:{shown}/1",
        )
        return forms[len(message) % len(forms)]
    return f"得分: {shown}\n理由: {_reason(score)}"
