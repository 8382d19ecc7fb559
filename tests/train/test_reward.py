"""A reward model: its loss by hand, what it learns, what it refuses, and the same bytes after a kill."""

import json
import math

import pytest
import torch
from preferences import PREFERENCE, start_and_kill, write_pairs
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from belle.errors import InputError
from belle.train.checkpoints import COMPLETE
from belle.train.pairs import encode_pairs, load_pairs, stack_pairs
from belle.train.reward import accuracy, load_reward, pairwise_loss, reward, rewards_of, summary_of
from belle.train.shares import share_of
from conftest import contents


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl")


def paths_in(folder, tiny_model, data):
    return {
        "base": tiny_model, "pairs": data, "out": folder / "out", "report": folder / "report.json",
        "checkpoints": folder / "checkpoints",
    }  # fmt: skip


def test_the_loss_by_hand():
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    by_hand = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert pairwise_loss(chosen, rejected).item() == pytest.approx(by_hand, rel=1e-6)


def test_an_accuracy_by_hand():
    found = summary_of([1.0, -1.0, 3.0, 0.0])
    assert (found["held_out"], found["accuracy"], found["margin"]) == (4, 0.625, 0.75)
    assert share_of(8, 10) == (0.8, [0.4902, 0.9433])  # Wilson's interval, worked by hand
    assert share_of(0, 0) == (None, None)


def test_a_reward_is_read_at_the_last_token_whatever_the_padding(tiny_model, data):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(3)
    model = load_reward(tiny_model, torch.float32, tokenizer).eval()
    _, pairs, _ = encode_pairs(
        load_pairs(data)[:5], tokenizer, prompt_format="belle", max_length=64, max_prompt_length=40
    )
    for pair in pairs:
        alone = stack_pairs([pair], 3)
        padded = {key: torch.nn.functional.pad(alone[key], (0, 5), value=value) for key, value in
                  (("input_ids", 3), ("attention_mask", 0))}  # fmt: skip
        hidden = model.model(input_ids=torch.tensor([pair.chosen.tolist()])).last_hidden_state[0, -1]
        by_hand = (hidden @ model.score.weight[0]).item()
        assert rewards_of(model, alone)[0].item() == pytest.approx(by_hand, abs=1e-5)
        assert rewards_of(model, padded)[0].item() == pytest.approx(by_hand, abs=1e-5)


def test_it_learns_which_answer_is_better_and_says_how_well(tiny_model, data, tmp_path):
    paths = paths_in(tmp_path, tiny_model, data)
    reward(**paths, **{**PREFERENCE, "num_train_epochs": 12.0, "learning_rate": 1e-3})
    found = json.loads(paths["report"].read_text())
    assert found["trained_on"] + found["held_out"] == 48
    assert found["passed_over"] == {"prompt_too_long": 0, "same_when_cut": 0}
    assert found["accuracy"] > 0.9, "which place is right hangs on the animal, which was seen with other places"
    assert found["accuracy_95"][0] > 0.5
    model = AutoModelForSequenceClassification.from_pretrained(paths["out"])
    assert (model.num_labels, model.config.pad_token_id) == (1, 3)
    assert AutoTokenizer.from_pretrained(paths["out"]).chat_template
    assert not paths["checkpoints"].exists()
    assert not any(str(tiny_model).encode() in value for value in contents(paths["out"]).values())
    tokenizer = AutoTokenizer.from_pretrained(paths["out"])
    _, pairs, _ = encode_pairs(load_pairs(data), tokenizer, prompt_format="belle", max_length=64, max_prompt_length=40)
    assert accuracy(model, pairs, batch_size=8, pad=3)["accuracy"] > 0.95


def test_a_killed_run_resumes_to_the_bytes_of_a_straight_one(tiny_model, data, tmp_path):
    settings = {**PREFERENCE, "num_train_epochs": 8.0, "save_steps": 10}
    paths = paths_in(tmp_path / "killed", tiny_model, data)
    assert start_and_kill(
        "reward", paths, settings, lambda: (paths["checkpoints"] / "checkpoint-20" / COMPLETE).exists()
    )
    assert not paths["out"].exists()
    reward(**paths, **settings)
    straight = paths_in(tmp_path / "straight", tiny_model, data)
    reward(**straight, **settings)
    assert contents(paths["out"]) == contents(straight["out"])
    assert paths["report"].read_bytes() == straight["report"].read_bytes()


def test_whole_texts_are_taken_where_the_format_is_none(tiny_model, tmp_path):
    rows = [{"chosen": f"问{n}答：好", "rejected": f"问{n}答：坏"} for n in range(12)]
    paths = paths_in(tmp_path, tiny_model, write_pairs(tmp_path / "p.jsonl", rows))
    with pytest.raises(InputError, match="`prompt` must be text"):
        reward(**paths, **PREFERENCE)
    reward(**paths, **{**PREFERENCE, "prompt_format": "none", "num_train_epochs": 1.0})
    assert json.loads(paths["report"].read_text())["trained_on"] > 0


def test_what_cannot_be_used_is_refused_before_any_work(tiny_model, data, tmp_path):
    paths = paths_in(tmp_path, tiny_model, data)
    with pytest.raises(InputError, match=r"no config\.json"):
        reward(**{**paths, "base": tmp_path}, **PREFERENCE)
    with pytest.raises(InputError, match="pairs to train on and 0 held out") as caught:
        reward(**paths, **{**PREFERENCE, "held_out": 1e-9})
    assert "held_out 1e-09" in str(caught.value)
    with pytest.raises(InputError, match="none of its 48 pairs"):
        reward(**paths, **{**PREFERENCE, "max_prompt_length": 3})
    assert not list(tmp_path.iterdir())
