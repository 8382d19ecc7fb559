"""Let a chat model judge answers in BELLE's form: a score between 0 and 1 after ``得分:``, and a reason."""

import re
import unicodedata
from pathlib import Path

from belle import jsonl
from belle.api.budget import Budget
from belle.api.client import Client, Mode, Request
from belle.api.judge_format import render
from belle.api.ledger import Ledger
from belle.api.provider import provider
from belle.errors import InputError
from belle.files import read_text
from belle.records import class_name

_SCORE = re.compile(r"(^[ \t>#*]*)?得分[ \t*]*(?::|为|是)[\s*]*(-?(?:\d+(?:\.\d+)?|\.\d+))", re.MULTILINE)

# What makes the number before it another one: "0-1", "80%", "1/10", "0,8", "1.0.2", "1分(满分10分)".
_NOT_A_SCORE = re.compile(
    r"[ *]*(?:[-~到至—–]+ *\d|%|分之|[.,]?\d|/(?! *1(?:\.0+)?(?!\.?\d))"
    r"|[^\n]*满分(?:为|是)?(?! *1(?:\.0+)?(?!\.?\d)) *\d)"
)


def judge(
    *,
    answers: Path,
    prompts: Path,
    out: Path,
    ledger: Path,
    base_url: str,
    model: str,
    api_key: str,
    temperature: float,
    max_tokens: int,
    in_flight: int,
    timeout_s: float,
    budget: Budget | None = None,
    mode: Mode = "chat",
) -> None:
    """Write one verdict per answer, in order; ``score`` is null where the judge gave none that can be read.

    Args:
        answers: JSON Lines of ``id, question, class, std_answer, split, model, answer``.
        prompts: A folder of ``<class>.txt`` (``_`` for a space), one per instruction class.
        out: JSON Lines of ``id, class, split, model, request, verdict, score``.
        ledger: The ledger's folder.
        base_url: An OpenAI-compatible API, or ``offline`` for the teacher, which is started and stopped here.
        budget: What all that the ledger holds may cost; None sets no limit.

    Raises:
        InputError: a class without a prompt, a field is missing, or the key is missing.
        BelleError: the API fails, or the budget is reached.
    """
    rows = list(jsonl.read(answers, "answers"))
    texts = load_prompts(prompts)
    requests = []
    for number, row in enumerate(rows, 1):
        where = f"{answers}, row {number}"
        for key in ("id", "question", "class", "std_answer", "split", "model", "answer"):
            if not isinstance(row.get(key), str):
                raise InputError(f"`{key}` must be text, found {row.get(key)!r}", where=where)
        name = class_name(row["class"])
        if name not in texts:
            raise InputError(
                f"the class {name!r} has no judge prompt; there are {', '.join(sorted(texts))}",
                where=where,
                cause="a class name of another evaluation set",
                fix=f"write {prompts / (name.replace(' ', '_') + '.txt')}, or name one of these classes",
            )
        requests.append(request_of(texts[name], row, model, temperature, max_tokens))
    with (
        Ledger(ledger) as book,
        provider(base_url, api_key) as api,
        Client(
            ledger=book, base_url=api.base_url, endpoint=api.endpoint, api_key=api.api_key, in_flight=in_flight,
            timeout_s=timeout_s, budget=budget, mode=mode,
        ) as client,
    ):  # fmt: skip
        replies = client.ask(requests, describe="judge")
    jsonl.write(
        out,
        (
            {
                "id": row["id"],
                "class": class_name(row["class"]),
                "split": row["split"],
                "model": row["model"],
                "request": reply.digest,
                "verdict": reply.text,
                "score": parse_score(reply.text),
            }
            for row, reply in zip(rows, replies, strict=True)
        ),
    )


def parse_score(text: str) -> float | None:
    """Read the score (0 to 1) of a verdict; None if there is none, it is out of range, or two disagree.

    Only a number after ``得分`` counts. Scores at the start of a line go before those within a sentence.
    """
    text = unicodedata.normalize("NFKC", text)
    found = list(_SCORE.finditer(text))
    at_line_start = [match for match in found if match[1] is not None]
    values = {_value(match, text[match.end() :]) for match in at_line_start or found}
    return values.pop() if len(values) == 1 else None


def _value(match: re.Match[str], rest: str) -> float | None:
    value = float(match[2])
    return value if 0 <= value <= 1 and not _NOT_A_SCORE.match(rest) else None


def request_of(prompt: str, row: jsonl.Row, model: str, temperature: float, max_tokens: int) -> Request:
    """The request for a verdict on a row of answers, under the prompt of its class."""
    content = render(prompt, row["question"], row["std_answer"], row["answer"])
    params = {"temperature": temperature, "max_tokens": max_tokens}
    return Request(model, [{"role": "user", "content": content}], params)


def load_prompts(folder: Path) -> dict[str, str]:
    """The judge prompts of a folder of ``<class>.txt``, by class name."""
    texts = {
        class_name(path.stem.replace("_", " ")): read_text(path, "judge prompt").strip()
        for path in sorted(Path(folder).glob("*.txt"))
    }
    if not texts:
        raise InputError(
            "no judge prompts (<class>.txt) in it",
            where=str(folder),
            cause="a wrong path, or a file where their folder is meant",
            fix="name the folder that holds them, as src/belle/prompts/judge",
        )
    return texts
