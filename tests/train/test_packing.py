import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, BloomForCausalLM

from belle import jsonl
from belle.errors import InputError
from belle.prompts import IGNORE
from belle.train import attention
from belle.train.attention import BY_ROW
from belle.train.batches import Example, stack
from belle.train.packing import Block, Packed, best_fit, lay
from belle.train.sft import read_examples, sft
from conftest import SFT, contents


def rows(count=12, seed=1, shortest=4, longest=40):
    """Rows as fine-tuning has them: a prompt without labels, then an answer."""
    rng = np.random.default_rng(seed)
    found = []
    for length in rng.integers(shortest, longest, count).tolist():
        ids = rng.integers(4, 60, length).tolist()
        prompt = int(rng.integers(1, length - 1))
        found.append(Example.of(ids, [IGNORE] * prompt + ids[prompt:]))
    return found


@pytest.fixture
def models(tiny_base):
    """The same model twice: rows one by one, and packed."""
    return AutoModelForCausalLM.from_pretrained(tiny_base), AutoModelForCausalLM.from_pretrained(
        tiny_base, attn_implementation=BY_ROW
    )


def all_logits(model, batch):
    """The logits of every position [N, V]."""
    left_out = ("labels", "shift_labels", "logits_to_keep")
    return model(**{key: value for key, value in batch.items() if key not in left_out}).logits[0]


# --- what a block is -------------------------------------------------------------------------------------------


def test_a_block_by_hand():
    first = Example.of([11, 12, 13, 2], [IGNORE, IGNORE, 13, 2])
    second = Example.of([21, 22, 2], [21, 22, 2])  # trained from its first token on, as a text is
    third = Example.of([31, 2], [IGNORE, 2])
    batch = lay([Block((first, second)), Block((third,))])
    assert batch["input_ids"].tolist() == [[11, 12, 13, 2, 21, 22, 2, 31, 2]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 1]]
    i = IGNORE
    # 21 stands first in its row: nothing may learn to predict it from the 2 before.
    assert batch["labels"].tolist() == [[i, i, 13, 2, i, 22, 2, i, 2]]
    assert batch["logits_to_keep"].tolist() == [1, 2, 4, 5, 7]
    assert batch["shift_labels"].tolist() == [[13, 2, 22, 2, 2]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 4, 7, 9]
    assert batch["max_length_q"] == batch["max_length_k"] == 4


@given(st.lists(st.integers(1, 32), min_size=1, max_size=200), st.integers(0, 3))
def test_every_row_is_in_one_block_and_no_block_overflows(lengths, seed):
    found = best_fit(np.array(lengths), 32, seed)
    assert sorted(row for block in found for row in block) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in block) <= 32 for block in found)
    half_full = [block for block in found if sum(lengths[row] for row in block) <= 16]
    assert len(half_full) <= 1, "two such blocks would have been one"


def realistic(count=20000, cutoff=1024, seed=5):
    """Lengths of instruction rows: most are short, a few reach the cutoff (log-normal, median 110)."""
    drawn = np.random.default_rng(seed).lognormal(np.log(110), 0.9, count)
    return np.clip(drawn, 8, cutoff).astype(np.int64)


def test_realistic_rows_fill_their_blocks():
    lengths = realistic()
    found = best_fit(lengths, 1024, 1)
    assert 1 - lengths.sum() / (1024 * len(found)) <= 0.005


def test_blocks_differ_by_epoch_and_a_part_of_an_epoch_is_a_part_of_its_blocks():
    examples = rows(400)
    twice = Packed(examples, capacity=64, epochs=2, seed=3)
    assert len(twice) % 2 == 0
    half = len(twice) // 2
    once, again = ([tuple(block) for block in part] for part in (twice.blocks[:half], twice.blocks[half:]))
    for epoch in (once, again):
        assert sorted(row for block in epoch for row in block) == list(range(400))
    assert set(once) != set(again)
    assert Packed(examples, capacity=64, epochs=2, seed=3).blocks == twice.blocks
    assert Packed(examples, capacity=64, epochs=1.5, seed=3).blocks == twice.blocks[: half + round(half / 2)]
    assert twice.lengths.tolist() == [len(block) for block in twice]


# --- the same as rows one by one -------------------------------------------------------------------------------


def test_each_row_has_the_loss_that_it_has_alone(models):
    plain, packed = models
    examples = rows()
    batch = lay([Block(tuple(examples))])
    logits = packed(**{key: value for key, value in batch.items() if key != "labels"}).logits[0]
    losses = torch.nn.functional.cross_entropy(logits, batch["shift_labels"][0], reduction="none")
    owner = torch.bucketize(batch["logits_to_keep"], batch["cu_seq_lens_q"][1:], right=True)
    for number, example in enumerate(examples):
        alone = plain(**stack([example])).loss
        torch.testing.assert_close(losses[owner == number].mean(), alone, rtol=2e-5, atol=2e-5)


def test_gradients_are_those_of_rows_one_by_one(models):
    plain, packed = models
    examples = rows()
    trained = sum(example.trained for example in examples)
    for example in examples:
        plain(**stack([example]), num_items_in_batch=trained).loss.backward()
    packed(**lay([Block(tuple(examples[:7])), Block(tuple(examples[7:]))]), num_items_in_batch=trained).loss.backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in packed.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=2e-6, msg=name)


def test_a_row_sees_nothing_of_its_neighbours(models):
    """Another neighbour changes no bit of a row's logits; the same test fails where attention runs over the block."""
    packed = models[1]
    row, one, other = rows(3, seed=2, shortest=12, longest=13)
    tail = [all_logits(packed, lay([Block((first, row))]))[len(first) :] for first in (one, other)]
    assert torch.equal(*tail)
    blurred = []
    for first in (one, other):
        batch = lay([Block((first, row))])
        batch["cu_seq_lens_q"] = batch["cu_seq_lens_q"][[0, 2]]
        blurred.append(all_logits(packed, batch)[len(first) :])
    assert not torch.allclose(*blurred)


def test_agrees_with_the_block_diagonal_mask_of_transformers(models):
    """transformers makes that mask from position_ids where a batch is one sequence without a padding mask."""
    plain, packed = models
    batch = lay([Block(tuple(rows()))])
    inputs = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"]}
    masked = plain(**inputs, use_cache=False).logits[0]
    torch.testing.assert_close(all_logits(packed, batch), masked, rtol=1e-4, atol=1e-4)


# --- as a setting ----------------------------------------------------------------------------------------------


@pytest.fixture
def run(world, tiny_base, tmp_path):
    def go(name="out", data=world / "train.jsonl", **changes):
        out = tmp_path / name
        sft(base=tiny_base, data=data, out=out, checkpoints=tmp_path / "checkpoints", **{**SFT, **changes})
        return out

    return go


def test_one_step_packed_is_one_step_of_the_same_rows(run, tiny_base, tmp_path):
    """All rows in one step: in blocks of 64 tokens, and as one padded batch."""
    data = tmp_path / "few.jsonl"
    jsonl.write(
        data, [{"id": n, "instruction": "猫" * (1 + n % 5), "output": "狗马牛" * (1 + n % 4)} for n in range(8)]
    )
    once = {"data": data, "num_train_epochs": 1.0, "warmup_ratio": 0.0, "learning_rate": 1e-3}
    once |= {"per_device_train_batch_size": 8}
    curves = []
    for name, packing in (("rows", False), ("blocks", True)):
        run(name, packing=packing, curve=tmp_path / f"{name}.csv", **once)
        curves.append((tmp_path / f"{name}.csv").read_text().splitlines())
    assert [len(curve) for curve in curves] == [2, 2]
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    found = read_examples(data, tokenizer, data_fraction=1.0, prompt_format="belle", cutoff_len=64)
    assert len(Packed(found, capacity=64, epochs=1, seed=7)) < 8
    one, other = (float(curve[1].partition(",")[2]) for curve in curves)
    assert one == pytest.approx(other, rel=1e-5)


def test_packed_training_repeats_itself(run):
    assert contents(run("one", packing=True)) == contents(run("two", packing=True))


def test_gradient_checkpointing_changes_no_byte_of_packed_training(run):
    few = {"packing": True, "num_train_epochs": 0.5}
    assert contents(run("plain", **few)) == contents(run("saving", gradient_checkpointing=True, **few))


def test_eager_attention_and_packing_are_refused_together(run, tmp_path):
    with pytest.raises(InputError, match="look from one row into the next"):
        run(packing=True, attention="eager")
    assert not (tmp_path / "out").exists()


def test_flash_attention_without_its_package_is_refused(run, monkeypatch):
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="flash_attn is not installed") as caught:
        run(attention="flash_attention_2")
    assert "write sdpa" in str(caught.value)


def test_an_architecture_that_cannot_be_packed_is_refused():
    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="BloomForCausalLM has no attention that can be told where rows begin"):
        attention.check_packable(bloom)
