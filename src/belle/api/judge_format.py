"""The user message of a judge request: the class prompt, then question, reference and answer under markers.

One module renders it and reads it, so that the asker and the offline judge cannot drift apart.
"""

QUESTION = "\n问题:"
STD_ANSWER = "\n标准回答:"
ANSWER = "\n模型回答:"


def render(prompt: str, question: str, std_answer: str, answer: str) -> str:
    """Render a judge request; the reference's line is left out where ``std_answer`` is empty."""
    reference = f"{STD_ANSWER}{std_answer}" if std_answer else ""
    return f"{prompt}{QUESTION}{question}{reference}{ANSWER}{answer}"


def parse(text: str) -> tuple[str, str, str, str] | None:
    """Read ``(prompt, question, std_answer, answer)`` back, or ``None`` if ``text`` is no judge request.

    The first marker of each kind counts, in order; an answer may hold any of them.
    """
    prompt, marker, rest = text.partition(QUESTION)
    before, answer_marker, answer = rest.partition(ANSWER)
    if not marker or not answer_marker:
        return None
    question, _, std_answer = before.partition(STD_ANSWER)
    return prompt, question, std_answer, answer
