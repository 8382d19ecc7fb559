import shutil

import pytest
from transformers import AutoTokenizer

from belle import jsonl
from belle.errors import InputError
from belle.evaluate.answer import answer, load

ANSWER = {
    "name": "tiny",
    "max_new_tokens": 12,
    "batch_size": 7,
    "do_sample": False,
    "temperature": 1.0,
    "top_p": 1.0,
    "prompt_format": "belle",
    "threads": 1,
    "seed": 7,
}


@pytest.fixture
def ask(world, tmp_path):
    """Let a model answer the tiny world's questions."""

    def go(model, **changes):
        out = tmp_path / "answers.jsonl"
        answer(model=model, questions=world / "eval.jsonl", out=out, **{**ANSWER, **changes})
        return list(jsonl.read(out))

    return go


def right(rows):
    return sum(row["answer"] == row["std_answer"] for row in rows) / len(rows)


def test_what_was_learnt_by_heart_is_answered_in_the_order_of_the_set(ask, tiny_model, world):
    rows = ask(tiny_model)
    questions = list(jsonl.read(world / "eval.jsonl"))
    assert [row["question"] for row in rows] == [question["question"] for question in questions]
    assert list(rows[0]) == ["id", "question", "class", "std_answer", "split", "model", "answer", "stopped"]
    assert {(row["class"], row["split"], row["model"], row["stopped"]) for row in rows} == {
        ("open qa", "known", "tiny", True)
    }
    assert right(rows) >= 0.9


def test_the_four_bit_model_answers_too(ask, tiny_gptq):
    assert right(ask(tiny_gptq)) >= 0.8


def test_neither_the_batch_size_nor_the_run_changes_an_answer(ask, tiny_model):
    assert ask(tiny_model, batch_size=1) == ask(tiny_model, batch_size=20) == ask(tiny_model)


def test_an_answer_that_was_cut_off_is_marked(ask, tiny_model):
    rows = ask(tiny_model, max_new_tokens=2)
    assert not any(row["stopped"] for row in rows)
    assert all(len(row["answer"]) == 2 for row in rows)


def test_samples_follow_the_seed(ask, tiny_base):
    first, again, other = (ask(tiny_base, do_sample=True, temperature=1.5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_given_format_is_only_for_folders_without_a_template(tiny_model, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").unlink()
    assert AutoTokenizer.from_pretrained(bare).chat_template is None

    def rendered(model):
        _, tokenizer = load(model, "belle-gptq")
        return tokenizer.apply_chat_template([{"role": "user", "content": "猫"}], tokenize=False)

    assert rendered(bare) == "Human: 猫\n\nAssistant:"
    assert rendered(tiny_model) == "Human: \n猫\n\nAssistant: \n"


def test_a_folder_that_is_no_model_is_refused(ask, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        ask(tmp_path)
