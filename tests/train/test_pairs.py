"""Pairs of answers: what is refused with its row, what is passed over, and how two sequences become a batch."""

import hashlib
import json
from collections import Counter

import pytest
import torch
from preferences import pairs, write_pairs
from transformers import AutoTokenizer

from belle.errors import InputError
from belle.prompts import IGNORE
from belle.train.blocks import Blocks
from belle.train.pairs import (
    PROMPT_TOO_LONG,
    SAME_WHEN_CUT,
    Preference,
    by_length,
    encode_pairs,
    is_held_out,
    load_pairs,
    padding_of,
    stack_pairs,
)  # fmt: skip

GOOD = {"prompt": "猫在哪里？", "chosen": "山里", "rejected": "水里"}


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({**GOOD, "rejected": "山里 "}, "`chosen` and `rejected` are the same: '山里'"),
        ({**GOOD, "chosen": ""}, "`chosen` must be text that is not empty, found ''"),
        ({**GOOD, "rejected": " \n"}, "`rejected` must be text that is not empty"),
        ({**GOOD, "prompt": ""}, "`prompt` must be text that is not empty"),
        ({**GOOD, "prompt": None}, "`prompt` must be text that is not empty, found nothing"),
        ({"chosen": "a", "rejected": "b"}, "`prompt` must be text that is not empty, found nothing"),
        ({**GOOD, "chosen": ["山里"]}, "`chosen` must be text that is not empty, found ['山里']"),
        ({**GOOD, "answer": "x"}, "unknown field 'answer'"),
        ({**GOOD, "id": 3}, "`id` must be text, found 3"),
    ],
)
def test_a_row_that_says_nothing_is_refused_with_its_place(tmp_path, row, what):
    path = write_pairs(tmp_path / "pairs.jsonl", [GOOD, row])
    with pytest.raises(InputError) as caught:
        load_pairs(path)
    assert str(caught.value).startswith(f"{path}, row 2: {what}")
    assert "what to do:" in str(caught.value)


def test_an_id_that_comes_twice_and_an_empty_file_are_refused(tmp_path):
    path = write_pairs(tmp_path / "pairs.jsonl", [{**GOOD, "id": "a"}, {**GOOD, "id": "a", "chosen": "林里"}])
    with pytest.raises(InputError, match="row 2: `id`: 'a' comes twice, first in row 1"):
        load_pairs(path)
    with pytest.raises(InputError, match="no pairs in it"):
        load_pairs(write_pairs(tmp_path / "none.jsonl", []))


def test_whole_texts_need_no_prompt_where_none_is_asked_for(tmp_path):
    (found,) = load_pairs(write_pairs(tmp_path / "p.jsonl", [{"chosen": "a", "rejected": "b"}]), prompts=False)
    assert (found.prompt, found.chosen, found.rejected) == ("", "a", "b")
    assert found.id.startswith("p-")


def encode(tokenizer, rows, **changes):
    preferences = [Preference("", row["prompt"], row["chosen"], row["rejected"], "f, row 1") for row in rows]
    settings = {"prompt_format": "belle-gptq", "max_length": 64, "max_prompt_length": 40, **changes}
    return encode_pairs(preferences, tokenizer, **settings)


def test_sequences_are_prompt_answer_and_eos(tokenizer):
    _, (pair,), _ = encode(tokenizer, [GOOD])
    asked = tokenizer.encode("Human: 猫在哪里？\n\nAssistant:", add_special_tokens=False)
    assert pair.prompt == len(asked) == len(pair.chosen) - 3
    assert pair.chosen.tolist() == [*asked, *tokenizer.encode("山里"), tokenizer.eos_token_id]
    assert pair.rejected.tolist() == [*asked, *tokenizer.encode("水里"), tokenizer.eos_token_id]


def test_what_would_teach_what_nobody_said_is_passed_over_and_counted(tokenizer):
    long = {**GOOD, "prompt": "猫" * 50}
    late = {**GOOD, "chosen": "山" * 50 + "里", "rejected": "山" * 50 + "外"}
    kept, found, passed = encode(tokenizer, [long, late, GOOD], max_length=40)
    assert [item.chosen for item in kept] == ["山里"]
    assert len(found) == 1
    assert passed == Counter({PROMPT_TOO_LONG: 1, SAME_WHEN_CUT: 1})
    with pytest.raises(InputError, match=r"none of its 2 pairs .*: 1 prompts have over 40 tokens, 1 pairs"):
        encode(tokenizer, [long, late], max_length=40)


def test_one_prompt_is_on_one_side_and_the_share_is_kept():
    many = [Preference(str(n), f"问{n // 2}", f"a{n}", "b", "") for n in range(4000)]
    out = is_held_out(many, 0.2, 7)
    assert out[::2] == out[1::2]
    assert sum(out) == pytest.approx(800, abs=80)
    assert out == is_held_out(many, 0.2, 7) != is_held_out(many, 0.2, 8)
    assert not any(is_held_out(many, 0.0, 7))


def test_held_out_prompts_are_not_those_that_were_chosen_first():
    """Prompts are chosen by the lowest values of a hash; the share held out of them must not follow from it."""

    texts = sorted((f"问{n}" for n in range(6000)), key=lambda text: hashlib.sha256(f"7\0{text}".encode()).digest())
    first = [Preference(text, text, "a", "b", "") for text in texts[:2000]]
    assert sum(is_held_out(first, 0.1, 7)) == pytest.approx(200, abs=45)


def test_a_batch_holds_all_chosen_then_all_rejected_and_labels_answers_only(tokenizer):
    _, found, _ = encode(tokenizer, pairs()[:3])
    batch = stack_pairs(found, pad=3)
    assert batch["input_ids"].shape == batch["labels"].shape == (6, max(len(p.chosen) for p in found))
    for row, (sequence, pair) in enumerate([(p.chosen, p) for p in found] + [(p.rejected, p) for p in found]):
        length = len(sequence)
        assert batch["input_ids"][row, :length].tolist() == sequence.tolist()
        assert set(batch["input_ids"][row, length:].tolist()) <= {3}
        assert batch["attention_mask"][row].sum() == length
        expected = [IGNORE] * pair.prompt + sequence[pair.prompt :].tolist()
        assert batch["labels"][row, :length].tolist() == expected
    kept = batch["logits_to_keep"]
    assert torch.equal(batch["shift_labels"], batch["labels"][:, 1:][:, kept])
    assert (batch["shift_labels"] != IGNORE).sum() == (batch["labels"][:, 1:] != IGNORE).sum()


def test_every_pair_is_in_one_batch_the_longest_first(tokenizer):
    _, found, _ = encode(tokenizer, [{**GOOD, "chosen": "山" * n} for n in (1, 9, 4, 7, 2)])
    batches = by_length(found, 2)
    assert [[len(found[index].chosen) for index in batch] for batch in batches] == sorted(
        [[len(found[index].chosen) for index in batch] for batch in batches], reverse=True
    )
    assert sorted(index for batch in batches for index in batch) == [0, 1, 2, 3, 4]


def test_padding_is_never_the_token_that_ends_a_text_where_there_is_another(tokenizer):
    class Named:
        def __init__(self, pad, unk, eos):
            self.pad_token_id, self.unk_token_id, self.eos_token_id = pad, unk, eos

    assert padding_of(tokenizer) == 3
    assert padding_of(Named(None, 0, 2)) == 0
    assert padding_of(Named(None, None, 2)) == 2
    with pytest.raises(InputError, match="no token to pad with"):
        padding_of(Named(None, None, None))


def test_parts_are_made_once_and_of_another_identity_thrown_away(tmp_path):
    made = []

    def make(part):
        made.append(part)
        if part == "c" and len(made) < 4:
            raise KeyboardInterrupt
        return [part, 0.1]

    with pytest.raises(KeyboardInterrupt):
        Blocks(tmp_path / "kept", {"a": 1}).all("abcd", make, "x")
    assert made == ["a", "b", "c"]
    found = Blocks(tmp_path / "kept", {"a": 1}).all("abcd", make, "x")
    assert made == ["a", "b", "c", "c", "d"], "a and b were kept"
    assert found == [[part, 0.1] for part in "abcd"]
    assert len(list((tmp_path / "kept").rglob("*.json"))) == 4
    again = Blocks(tmp_path / "kept", {"a": 2})
    assert not list((tmp_path / "kept").rglob("*.json"))
    again.discard()
    assert not (tmp_path / "kept").exists()


def test_numbers_come_back_from_a_kept_part_as_they_were(tmp_path):
    values = torch.randn(64, generator=torch.Generator().manual_seed(3)).mul(1e3).tolist()
    blocks = Blocks(tmp_path / "kept", {})
    assert blocks.all([values], lambda part: part, "x") == [values]
    assert json.loads(next((tmp_path / "kept").rglob("0.json")).read_text()) == values
