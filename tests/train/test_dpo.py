"""DPO: its loss by hand and as trl's, the base's log-probabilities once, the same bytes after a kill."""

import json
import math

import pytest
import torch
from preferences import DPO, pairs, start_and_kill, write_pairs
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle.errors import BelleError, InputError
from belle.prompts import prompt
from belle.train import logprobs
from belle.train.blocks import Blocks
from belle.train.checkpoints import COMPLETE
from belle.train.dpo import dpo, dpo_loss
from belle.train.logprobs import answer_logprobs, pair_logprobs, token_logprobs, with_reference
from belle.train.pairs import encode_pairs, load_pairs, stack_pairs
from conftest import contents

LORA = {**DPO, "lora_r": 4, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl")


@pytest.fixture(scope="module")
def encoded(tiny_model, data):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return encode_pairs(load_pairs(data), tokenizer, prompt_format="belle", max_length=64, max_prompt_length=40)[1]


def paths_in(folder, tiny_model, data):
    return {
        "base": tiny_model, "pairs": data, "out": folder / "out", "report": folder / "report.json",
        "checkpoints": folder / "checkpoints",
    }  # fmt: skip


# --- the formulas ------------------------------------------------------------------------------------------------


def test_the_loss_by_hand():
    # Log-ratios: chosen −1 − (−1.5) = 0.5, rejected −2 − (−1.5) = −0.5; second pair the other way round, twice as far.
    policy = torch.tensor([[-1.0, -4.0], [-2.0, -2.0]])
    reference = torch.tensor([[-1.5, -3.0], [-1.5, -3.0]])
    first, second = math.log(1 + math.exp(-0.1)), math.log(1 + math.exp(0.2))
    assert dpo_loss(policy, reference, 0.1).item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert dpo_loss(reference, reference, 0.1).item() == pytest.approx(math.log(2), rel=1e-6), "at the start"


def test_the_gradient_by_hand():
    """Equation 7's gradient: −β σ(−margin) towards the chosen answer, the same away from the rejected one."""
    policy = torch.tensor([[-1.0], [-2.0]], requires_grad=True)
    dpo_loss(policy, torch.tensor([[-1.5], [-1.5]]), 0.1).backward()
    pull = 0.1 / (1 + math.exp(0.1))
    torch.testing.assert_close(policy.grad, torch.tensor([[-pull], [pull]]))


def test_a_log_probability_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    expected = torch.tensor([math.log(0.75), math.log(0.8)])
    torch.testing.assert_close(token_logprobs(logits, torch.tensor([1, 0])), expected)


def test_answers_in_a_batch_have_the_log_probabilities_that_they_have_alone(tiny_model, encoded):
    """Against an independent sum over log-softmax, one sequence at a time, without padding or kept logits."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    found = answer_logprobs(model, stack_pairs(encoded[:6], 3))
    for row, (sequence, start) in enumerate(
        [(pair.chosen, pair.prompt) for pair in encoded[:6]] + [(pair.rejected, pair.prompt) for pair in encoded[:6]]
    ):
        ids = sequence.tolist()
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        alone = sum(table[place - 1, ids[place]].item() for place in range(start, len(ids)))
        assert found[row].item() == pytest.approx(alone, abs=2e-4)


def test_the_loss_is_trl_s(tiny_model, tiny_base, data, encoded, tmp_path):
    """The same batch, the same two models, in trl's own DPOTrainer."""
    pytest.importorskip("trl", reason="trl is not installed; it is no dependency, only a peer")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    base, policy = (AutoModelForCausalLM.from_pretrained(tiny_model) for _ in range(2))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    referred = with_reference(encoded[:8], base, Blocks(tmp_path / "kept", {}), batch_size=4, pad=3)
    batch = stack_pairs(referred, 3)
    ours = dpo_loss(answer_logprobs(policy, batch).view(2, -1), batch["reference"], 0.1)
    ours.backward()
    slope = {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}
    policy.zero_grad()
    rows = [
        {"prompt": prompt(row["prompt"]), "chosen": row["chosen"], "rejected": row["rejected"]} for row in pairs()[:8]
    ]
    trainer = DPOTrainer(
        model=policy, ref_model=base, processing_class=AutoTokenizer.from_pretrained(tiny_model),
        train_dataset=Dataset.from_list(rows),
        args=DPOConfig(output_dir=str(tmp_path / "trl"), beta=0.1, use_cpu=True, report_to="none", bf16=False,
                       per_device_train_batch_size=8, max_length=64, gradient_checkpointing=False),
    )  # fmt: skip
    theirs_batch = trainer.data_collator([trainer.train_dataset[index] for index in range(8)])
    assert theirs_batch["input_ids"].tolist() == batch["input_ids"].tolist(), "both encode alike"
    theirs = trainer.compute_loss(trainer.model, theirs_batch)
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert ours.item() != pytest.approx(math.log(2), abs=1e-3), "the policy is not its base"
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.grad, slope[name], rtol=1e-3, atol=1e-5)


# --- what comes out ------------------------------------------------------------------------------------------------


def test_the_chosen_answers_become_likelier_than_they_were(tiny_model, data, encoded, tmp_path):
    paths = paths_in(tmp_path, tiny_model, data)
    dpo(**paths, **{**DPO, "num_train_epochs": 6.0})
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (tiny_model, paths["out"]))
    margins = [
        [chosen - rejected for chosen, rejected in pair_logprobs(model, encoded, range(len(encoded)), 3)]
        for model in (before, after)
    ]
    moved = [new - old for old, new in zip(*margins, strict=True)]
    assert sum(value > 0 for value in moved) / len(moved) > 0.9
    found = json.loads(paths["report"].read_text())
    assert found["trained_on"] + found["held_out"] == 48
    assert found["accuracy"] > 0.7
    assert found["accuracy_95"][0] <= found["accuracy"] <= found["accuracy_95"][1]
    assert set(contents(paths["out"])) == set(contents(tiny_model))
    assert not any(str(tmp_path).encode() in value for value in contents(paths["out"]).values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "report.json"]


def test_the_base_is_asked_once_for_each_batch_and_not_while_training(tiny_model, data, tmp_path, monkeypatch):
    passes = []
    true = logprobs.pair_logprobs
    monkeypatch.setattr(logprobs, "pair_logprobs", lambda *args: passes.append(len(args[2])) or true(*args))
    dpo(**paths_in(tmp_path, tiny_model, data), **{**DPO, "num_train_epochs": 2.0})
    assert passes == [4] * 12, "48 pairs in batches of 4; two epochs ask for no more"


def test_lora_is_merged_kept_apart_and_starts_at_the_base(tiny_model, data, tmp_path):
    paths = paths_in(tmp_path, tiny_model, data)
    dpo(**paths, **LORA)
    adapter = load_file(paths["out"] / "adapter" / "adapter_model.safetensors")
    assert all(value.abs().sum() > 0 for value in adapter.values())
    before, after = (load_file(path / "model.safetensors") for path in (tiny_model, paths["out"]))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if any(part in name for part in LORA["lora_target_modules"])}
    assert json.loads(paths["report"].read_text())["accuracy"] > 0.6


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_run_killed_twice_resumes_to_the_bytes_of_a_straight_one(tiny_model, data, tmp_path, kind):
    """Killed once while the base's log-probabilities are computed, and once while it trains."""
    settings = {**(LORA if kind == "lora" else DPO), "num_train_epochs": 8.0, "save_steps": 10}
    paths = paths_in(tmp_path / "killed", tiny_model, data)
    kept = paths["checkpoints"].with_name("checkpoints-reference")
    assert start_and_kill("dpo", paths, settings, lambda: len(list(kept.rglob("*.json"))) >= 3)
    assert not paths["out"].exists()
    assert start_and_kill("dpo", paths, settings, lambda: (paths["checkpoints"] / "checkpoint-30" / COMPLETE).exists())
    assert not paths["out"].exists()
    assert len(list(kept.rglob("*.json"))) == 12
    dpo(**paths, **settings)
    straight = paths_in(tmp_path / "straight", tiny_model, data)
    dpo(**straight, **settings)
    assert contents(paths["out"]) == contents(straight["out"])
    assert paths["report"].read_bytes() == straight["report"].read_bytes()
    assert not kept.exists()
    assert not paths["checkpoints"].exists()


def test_gradient_checkpointing_changes_no_byte(tiny_model, data, tmp_path):
    plain, saving = (paths_in(tmp_path / name, tiny_model, data) for name in ("plain", "saving"))
    dpo(**plain, **{**DPO, "num_train_epochs": 1.0})
    dpo(**saving, **{**DPO, "num_train_epochs": 1.0, "gradient_checkpointing": True})
    assert contents(plain["out"]) == contents(saving["out"])


def test_what_cannot_be_used_is_refused_and_leaves_nothing(tiny_model, data, tmp_path):
    paths = paths_in(tmp_path, tiny_model, data)
    with pytest.raises(InputError, match=r"no config\.json"):
        dpo(**{**paths, "base": tmp_path}, **DPO)
    with pytest.raises(InputError, match="none of its 48 pairs"):
        dpo(**paths, **{**DPO, "max_prompt_length": 3})
    with pytest.raises(InputError, match="no prompt format 'vicuna'"):
        dpo(**paths, **{**DPO, "prompt_format": "vicuna"})
    with pytest.raises(InputError, match="no module named query_key_value"):
        dpo(**paths, **{**LORA, "lora_target_modules": ["query_key_value"]})
    with pytest.raises(BelleError, match="the loss is nan"):
        dpo(**paths, **{**DPO, "learning_rate": 1e30})
    assert not paths["out"].exists()
    assert not paths["report"].exists()
