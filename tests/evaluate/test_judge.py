"""judge against a real server, and the reading of scores as judges write them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from stub_api import StubApi

from belle.errors import InputError
from belle.evaluate.judge import judge, parse_score
from belle.records import INSTRUCTION_CLASSES

PROMPTS = Path(sys.modules["belle"].__path__[0]) / "prompts" / "judge"


def answers(folder: Path, rows: list[dict[str, Any]]) -> Path:
    common = {
        "question": "问",
        "class": "math",
        "std_answer": "4",
        "split": "held",
        "model": "belle-tiny",
        "stopped": True,
    }
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps({**common, "id": f"e-{n}", **row}) + "\n" for n, row in enumerate(rows)))
    return path


def verdicts(folder: Path, url: str, rows: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    judge(
        **{
            "answers": answers(folder, rows), "prompts": PROMPTS, "out": folder / "verdicts.jsonl",
            "ledger": folder / "ledger", "base_url": url, "model": "judge", "api_key": "k", "temperature": 0.0,
            "max_tokens": 300, "in_flight": 4, "timeout_s": 5.0, **changes,
        }
    )  # fmt: skip
    return [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]


def test_one_verdict_per_answer_in_order(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        given = body["messages"][0]["content"].rpartition("模型回答:")[2]
        return "我不知道怎么评" if given == "空" else f"得分: {given}\n理由: 略"

    rows = [{"answer": "0.5"}, {"answer": "空", "class": "open\xa0QA"}, {"answer": "1"}, {"answer": "0.5", "id": "e-x"}]
    with StubApi(answer) as stub:
        found = verdicts(tmp_path, stub.url, rows)
        assert len(stub.bodies) == 3
        assert verdicts(tmp_path, stub.url, rows, api_key="") == found
        assert len(stub.bodies) == 3
    assert [(row["id"], row["class"], row["score"]) for row in found] == [
        ("e-0", "math", 0.5), ("e-1", "open qa", None), ("e-2", "math", 1.0), ("e-x", "math", 0.5),
    ]  # fmt: skip
    assert list(found[0]) == ["id", "class", "split", "model", "request", "verdict", "score"]
    assert found[0]["request"] in stub.answered
    assert found[0]["verdict"] == "得分: 0.5\n理由: 略"
    assert {body["temperature"] for body in stub.bodies} == {0.0}


def test_the_message_names_question_reference_and_answer(tmp_path: Path) -> None:
    with StubApi() as stub:
        verdicts(tmp_path, stub.url, [{"answer": "我答"}, {"answer": "我答", "std_answer": ""}], in_flight=1)
    first, second = sorted((body["messages"][0]["content"] for body in stub.bodies), key=len, reverse=True)
    prompt = (PROMPTS / "math.txt").read_text(encoding="utf-8").strip()
    assert first == f"{prompt}\n问题:问\n标准回答:4\n模型回答:我答"
    assert second == f"{prompt}\n问题:问\n模型回答:我答"


def test_every_class_has_its_own_prompt() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in PROMPTS.iterdir()}
    assert texts.keys() == {name.replace(" ", "_") for name in INSTRUCTION_CLASSES}
    assert len(set(texts.values())) == 12
    for text in texts.values():
        assert "得分:" in text
        assert "理由" in text
        assert "0到1" in text


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"answer": "x", "class": "poetry"},
            r"answers\.jsonl, row 2: the class 'poetry' has no judge prompt.*brainstorming",
        ),
        ({"answer": None}, r"row 2: `answer` must be text, found None"),
    ],
)
def test_faults_are_told_before_anything_is_sent(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    with StubApi() as stub:
        with pytest.raises(InputError, match=told):
            verdicts(tmp_path, stub.url, [{"answer": "x"}, row])
        with pytest.raises(InputError, match="OPENAI_API_KEY"):
            verdicts(tmp_path, "http://api.invalid/v1", [{"answer": "x"}], api_key="")
        assert not stub.bodies


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("得分: 0.8", 0.8), ("得分：0.8分", 0.8), ("得分:1", 1.0), ("得分: 1.", 1.0), ("得分: .5", 0.5),
        ("得分: ０．３", 0.3),
        ("**得分：** 0.8\n\n理由", 0.8), ("理由：好\n得分:0.5/1", 0.5), ("得分: 1.0 / 1.0", 1.0),
        ("最终得分为0.6。", 0.6),
        ("得分: 0,因为错了", 0.0), ("得分:\n\n0.25", 0.25), ("得分：0.9（满分1分）", 0.9), ("得分: 0.8-", 0.8),
        ("得分: 0.5\n理由：因此得分: 0.8 才对", 0.5), ("步骤得分: 0.5\n得分: 0.7", 0.7), ("得分: 0.7\n得分: 0.7", 0.7),
        ("分数在0到1之间", None), ("0.8", None), ("", None), ("得分:", None), ("得分: 零点八", None),
        ("得分: 0-1之间", None),
        ("得分: 0到1", None), ("得分: 8", None), ("得分: 1.01", None), ("得分: -0.5", None), ("得分: 80%", None),
        ("得分: 1/10", None), ("得分: 0,8", None), ("得分: 1.0.2", None), ("得分: 1分(满分10分)", None),
        ("得分: 0.5\n得分: 0.7", None), ("得分: 8\n得分: 0.8", None),
    ],
)  # fmt: skip
def test_scores_as_judges_write_them(text: str, score: float | None) -> None:
    assert parse_score(text) == score
