"""Answers drawn to training prompts, and the pairs that a judge's scores make of them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from belle import jsonl
from belle.api.ledger import Ledger
from belle.errors import BelleError, InputError
from belle.evaluate.prefer import Scored, pair_of, prefer
from belle.evaluate.sample import chosen, sample
from belle.records import turns
from belle.train.pairs import load_pairs

PROMPTS = Path("src/belle/prompts/judge").resolve()

SAMPLE: dict[str, Any] = {
    "rows": 12, "answers": 3, "max_new_tokens": 12, "batch_size": 8, "temperature": 1.0, "top_p": 1.0,
    "prompt_format": "belle", "threads": 1, "seed": 7,
}  # fmt: skip
JUDGE: dict[str, Any] = {
    "base_url": "offline", "model": "offline-teacher", "api_key": "", "temperature": 0.0, "max_tokens": 300,
    "judge_class": "generation", "margin": 0.1, "in_flight": 8, "timeout_s": 30.0,
}  # fmt: skip


def drawn(answers: dict[str, list[str]], reference: str = "广州", **changes) -> list[jsonl.Row]:
    return [
        {
            "id": f"{row}#{number}", "row": row, "question": f"{row}是哪里？", "class": "", "std_answer": reference,
            "split": "", "model": "m", "answer": text, "stopped": True, **changes,
        }
        for row, texts in answers.items()
        for number, text in enumerate(texts)
    ]  # fmt: skip


def run(tmp_path: Path, rows: list[jsonl.Row], **changes: Any) -> tuple[list[jsonl.Row], dict[str, Any]]:
    jsonl.write(tmp_path / "samples.jsonl", rows)
    prefer(
        samples=tmp_path / "samples.jsonl", prompts=PROMPTS, out=tmp_path / "pairs.jsonl",
        report=tmp_path / "report.json", ledger=tmp_path / "ledger", **{**JUDGE, **changes},
    )  # fmt: skip
    return list(jsonl.read(tmp_path / "pairs.jsonl")), json.loads((tmp_path / "report.json").read_text())


# --- drawing -------------------------------------------------------------------------------------------------------


def test_answers_are_drawn_to_the_prompts_of_the_rows(world, tiny_model, tmp_path):
    out, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path in (out, again):
        sample(
            model=tiny_model, data=world / "train.jsonl", out=path, checkpoints=tmp_path / "kept", name="m",
            **{**SAMPLE, "temperature": 2.0},
        )  # fmt: skip
        assert not (tmp_path / "kept").exists()
    assert out.read_bytes() == again.read_bytes()
    rows = list(jsonl.read(out))
    known = {row["id"]: row for row in jsonl.read(world / "train.jsonl")}
    assert len(rows) == 36
    assert len({row["row"] for row in rows}) == 12
    for number, row in enumerate(rows):
        assert row["id"] == f"{row['row']}#{number % 3}"
        assert row["question"] == turns(known[row["row"]], "")[0].text
        assert row["std_answer"] == known[row["row"]]["output"]
        assert isinstance(row["stopped"], bool)
    by_row = [{row["answer"] for row in rows[at : at + 3]} for at in range(0, 36, 3)]
    assert sum(len(answers) > 1 for answers in by_row) >= 6, "at this temperature answers to one prompt differ"


CHILD = """
import json, sys
from pathlib import Path
from belle.evaluate.sample import sample
settings = json.loads(sys.argv[1])
sample(**{key: Path(value) for key, value in settings.pop("paths").items()}, **settings)
"""


def test_drawing_goes_on_after_a_kill_with_the_same_answers(world, tiny_model, tmp_path):
    settings = {**SAMPLE, "rows": 48, "answers": 4, "batch_size": 2, "name": "m"}
    paths = {"model": tiny_model, "data": world / "train.jsonl"}
    killed = {**paths, "out": tmp_path / "killed.jsonl", "checkpoints": tmp_path / "kept"}
    words = json.dumps({"paths": {key: str(value) for key, value in killed.items()}, **settings})
    child = subprocess.Popen([sys.executable, "-c", CHILD, words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "kept").rglob("*.json"))) < 5:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.json")}
    assert 5 <= len(kept) < 96
    assert not (tmp_path / "killed.jsonl").exists()
    sample(**killed, **settings)
    sample(**paths, out=tmp_path / "straight.jsonl", checkpoints=tmp_path / "other", **settings)
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "straight.jsonl").read_bytes()


def test_prompts_are_chosen_by_their_text_so_that_more_rows_move_few(tmp_path):
    def written(count):
        rows = [{"id": f"r{n}", "instruction": f"问{n}", "output": "答"} for n in range(count)]
        path = tmp_path / f"{count}.jsonl"
        jsonl.write(path, [*rows, {**rows[0], "id": "twin"}])
        return path

    few = {row["row"] for row in chosen(written(400), 50, 1)}
    more = {row["row"] for row in chosen(written(440), 50, 1)}
    assert len(few) == 50
    assert len(few & more) >= 38
    assert "twin" not in {row["row"] for row in chosen(written(10), 50, 1)}, "the first row of a question stands for it"
    assert len(chosen(written(10), 50, 1)) == 10


def test_conversations_give_their_first_exchange_and_categories_their_class(tmp_path):
    talk = [("human", "一"), ("assistant", "二"), ("human", "三"), ("assistant", "四")]
    jsonl.write(tmp_path / "r.jsonl", [
        {"id": "a", "category": "Open QA", "conversations": [{"from": who, "value": text} for who, text in talk]},
    ])  # fmt: skip
    assert chosen(tmp_path / "r.jsonl", 5, 1) == [
        {"row": "a", "question": "一", "class": "open qa", "std_answer": "二"}
    ]
    jsonl.write(tmp_path / "r.jsonl", [{"instruction": "一", "output": "二"}])
    with pytest.raises(InputError, match="row 1: `id` must be text"):
        chosen(tmp_path / "r.jsonl", 5, 1)
    (tmp_path / "r.jsonl").write_text("")
    with pytest.raises(InputError, match="no rows in it"):
        chosen(tmp_path / "r.jsonl", 5, 1)


# --- preferring ----------------------------------------------------------------------------------------------------


def scored(*scores: float) -> list[Scored]:
    rows = drawn({"r": [f"answer {number}" for number in range(len(scores))]})
    return [Scored(row, score, f"d{number}") for number, (row, score) in enumerate(zip(rows, scores, strict=True))]


def test_the_best_and_the_worst_are_a_pair_and_the_first_of_equals():
    pair = pair_of(scored(0.5, 0.9, 0.2, 0.9, 0.2), 0.1)
    assert pair is not None
    assert (pair["chosen"], pair["rejected"]) == ("answer 1", "answer 2")
    assert (pair["chosen_score"], pair["rejected_score"]) == (0.9, 0.2)
    assert (pair["samples"], pair["requests"]) == (["r#1", "r#2"], ["d1", "d2"])
    assert pair_of(scored(0.5, 0.5), 0.1) is None
    assert pair_of(scored(0.5, 0.45), 0.1) is None
    assert pair_of(scored(0.5, 0.6), 0.1) is not None, "a difference of just the margin"
    assert pair_of(scored(0.5), 0.1) is None


def test_pairs_can_be_walked_back_to_rows_answers_and_verdicts(tmp_path):
    rows = drawn({"r-1": ["广州", "水", "广州"], "r-2": ["山", "火"], "r-3": ["", "广州"]})
    pairs, report = run(tmp_path, rows)
    (pair,) = pairs
    assert (pair["id"], pair["row"], pair["prompt"]) == ("p-r-1", "r-1", "r-1是哪里？")
    assert (pair["chosen"], pair["rejected"], pair["samples"]) == ("广州", "水", ["r-1#0", "r-1#1"])
    ledger = Ledger(tmp_path / "ledger")
    for request, answer in zip(pair["requests"], ("广州", "水"), strict=True):
        line = ledger.get(request)
        assert line is not None
        assert line["request"]["messages"][0]["content"].endswith(f"模型回答:{answer}")
        assert line["stage"] == "prefer"
    assert report["answers"] == 7
    assert report["passed_over"] == {"cut": 0, "empty": 1, "refused": 0, "unparsed": 0}
    assert (report["judged"], report["pairs"], report["prompts_without_a_pair"]) == (6, 1, 2)
    assert (report["mean_chosen"], report["mean_rejected"]) == (1.0, 0.0)
    assert load_pairs(tmp_path / "pairs.jsonl")[0].id == "p-r-1"


def test_no_verdict_is_paid_twice(tmp_path):
    rows = drawn({"r-1": ["广州", "水", "广州", "水"]})
    run(tmp_path, rows)
    before = sum(1 for _ in Ledger(tmp_path / "ledger"))
    assert before == 2, "two different answers among four"
    run(tmp_path, rows, margin=0.5)
    assert sum(1 for _ in Ledger(tmp_path / "ledger")) == before


def test_answers_that_were_cut_take_no_part(tmp_path):
    rows = [*drawn({"r-1": ["广州", "水"]}), *drawn({"r-2": ["广州", "水"]}, stopped=False)]
    pairs, report = run(tmp_path, rows)
    assert [pair["row"] for pair in pairs] == ["r-1"]
    assert report["passed_over"]["cut"] == 2


def test_what_cannot_be_judged_is_refused_by_name(tmp_path):
    rows = drawn({"r-1": ["广州", "水"]})
    with pytest.raises(InputError, match=r"prefer\.judge_class: the class 'poems' has no judge prompt"):
        run(tmp_path, rows, judge_class="poems")
    with pytest.raises(InputError, match="row 2: `stopped` must be true or false, found 'yes'"):
        run(tmp_path, [rows[0], {**rows[1], "stopped": "yes"}])
    with pytest.raises(InputError, match="row 2: `answer` must be text, found 3"):
        run(tmp_path, [rows[0], {**rows[1], "answer": 3}])
    with pytest.raises(InputError, match="row 2: the id 'r-1#0' comes twice"):
        run(tmp_path, [rows[0], rows[0]])
    with pytest.raises(InputError, match="no answers in it"):
        run(tmp_path, [])
    with pytest.raises(BelleError, match=r"none of 1 prompts has answers whose scores differ by 0\.1"):
        run(tmp_path, drawn({"r-1": ["广州", "广州"]}))
    assert not (tmp_path / "pairs.jsonl").exists()
