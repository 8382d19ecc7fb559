"""PPO and GRPO: every formula by hand, a reward that can be checked rises, the same bytes after a kill."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from preferences import PPO, PREFERENCE, start_and_kill, write_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.prompts import prompt
from belle.train.advantages import gae, group_advantages, token_rewards, whiten
from belle.train.checkpoints import COMPLETE
from belle.train.lora import Adapters
from belle.train.objectives import (
    KlController,
    clipped_policy_loss,
    clipped_value_loss,
    kl_estimate,
    mean_of_answers,
)
from belle.train.policy import Policy, Rollout
from belle.train.ppo import RewardModel, curve_report, ppo, read_prompts
from belle.train.reinforcing import Recipe, Reinforcing, experience, loss_of, prompts_of, reinforce
from belle.train.reward import reward
from conftest import contents, rows

ONES = torch.ones(1, 3)


def recipe(**changes) -> Recipe:
    return Recipe(**{key: value for key, value in {**PPO, **changes}.items() if key in Recipe.__annotations__})


# --- the formulas by hand ----------------------------------------------------------------------------------------


def test_advantages_and_returns_by_hand():
    """γ 0.9, λ 0.5: A₃ = 1 − 2; A₂ = 0.9·2 − 1 + 0.45·(−1) = 0.35; A₁ = 0.9·1 − 0.5 + 0.45·0.35 = 0.5575."""
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 1.0, 2.0]])
    advantages, returns = gae(rewards, values, ONES, gamma=0.9, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[0.5575, 0.35, -1.0]]))
    torch.testing.assert_close(returns, torch.tensor([[1.0575, 1.35, 1.0]]))


def test_an_answer_ends_where_its_mask_does():
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    rewards, values = torch.tensor([[0.0, 1.0, 77.0]]), torch.tensor([[0.5, 1.0, 55.0]])
    short, returns = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    alone, alone_returns = gae(rewards[:, :2], values[:, :2], mask[:, :2], gamma=1.0, lam=0.95)
    torch.testing.assert_close(short[:, :2], alone)
    torch.testing.assert_close(returns[:, :2], alone_returns)
    assert short[0, 2] == returns[0, 2] == 0


def test_with_lambda_one_advantages_are_what_came_less_what_was_expected():
    rewards, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[3.0, 1.0, 5.0]])
    advantages, returns = gae(rewards, values, ONES, gamma=1.0, lam=1.0)
    torch.testing.assert_close(returns, torch.tensor([[7.0, 6.0, 4.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[4.0, 5.0, -1.0]]))


def test_tokens_pay_for_their_distance_and_the_last_one_gets_the_score():
    logprobs, reference = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, 9.0]]), torch.tensor([[-2.0, -2.0, -1.0]] * 2)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    found = token_rewards(torch.tensor([5.0, -5.0]), logprobs, reference, mask, 0.2)
    torch.testing.assert_close(found, torch.tensor([[-0.2, 0.0, 5.4], [-0.2, -5.2, 0.0]]))


def test_whitening_by_hand():
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    found = whiten(torch.tensor([[1.0, 2.0, 3.0, 100.0]]), mask)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0, 1.0, 0.0]]))
    kept = whiten(torch.tensor([[1.0, 2.0, 3.0, 100.0]]), mask, shift_mean=False)
    torch.testing.assert_close(kept, torch.tensor([[1.0, 2.0, 3.0, 0.0]]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [(1.5, 1.0, -1.2), (0.5, 1.0, -0.5), (1.5, -1.0, 1.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2)],
)
def test_the_clipped_ratio_by_hand(ratio, advantage, loss):
    """A ratio over 1.2 earns no more, one under 0.8 costs no less; a ratio on the bad side costs in full."""
    new, old = torch.tensor([[math.log(ratio)]]), torch.zeros(1, 1)
    assert clipped_policy_loss(new, old, torch.tensor([[advantage]]), 0.2).item() == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(("value", "loss"), [(1.5, 0.32), (1.1, 0.405), (3.0, 0.5), (0.0, 2.0)])
def test_the_clipped_value_by_hand(value, loss):
    """Old value 1, return 2, range 0.2: 1.5 counts as 1.2, whose error of 0.8 is worse than 0.5."""
    found = clipped_value_loss(torch.tensor([[value]]), torch.ones(1, 1), torch.tensor([[2.0]]), 0.2)
    assert found.item() == pytest.approx(loss, rel=1e-6)


def test_the_controller_by_hand():
    control = KlController(0.2, True, 6.0, 10000)
    control.update(6.6, 32)
    assert control.value == pytest.approx(0.2 * (1 + 0.1 * 32 / 10000))
    control = KlController(0.2, True, 6.0, 10000)
    control.update(600.0, 32)
    assert control.value == pytest.approx(0.2 * (1 + 0.2 * 32 / 10000)), "at most a fifth off"
    control.update(0.0, 32)
    assert control.value == pytest.approx(0.2 * (1 + 0.2 * 32 / 10000) * (1 - 0.2 * 32 / 10000))
    fixed = KlController(0.2, False, 6.0, 10000)
    fixed.update(600.0, 32)
    assert fixed.value == 0.2


def test_a_group_s_advantages_by_hand():
    found = group_advantages(torch.tensor([1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), 3)
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]), atol=2e-4, rtol=0)


def test_the_distance_of_grpo_by_hand():
    found = kl_estimate(torch.tensor([math.log(0.5), 0.0]), torch.tensor([math.log(0.25), 0.0]))
    torch.testing.assert_close(found, torch.tensor([0.5 + math.log(2) - 1, 0.0]))


def test_a_long_answer_counts_as_a_short_one():
    values, mask = torch.tensor([[1.0, 3.0], [10.0, 99.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert mean_of_answers(values, mask).item() == 6.0


def test_every_prompt_comes_once_an_epoch_in_another_order():
    settings = recipe(batch_size=6, samples_per_prompt=2)
    taken = [index for step in range(20) for index in prompts_of(step, 10, settings)[::2]]
    epochs = [taken[at : at + 10] for at in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert prompts_of(3, 10, settings)[::2] == prompts_of(3, 10, settings)[1::2]


# --- the policy --------------------------------------------------------------------------------------------------


def questions(count=12):
    return [prompt(row["instruction"]) for row in rows()[:count]]


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def prompts(tokenizer):
    return [tokenizer.encode(text, add_special_tokens=False) for text in questions()]


def policy_of(tiny_model, adapters=None, temperature=1.0):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    return Policy(model, adapters=adapters, temperature=temperature, pad=3, eos=2, bf16=False)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_in_a_batch_are_those_of_each_answer_alone(tiny_model, prompts, temperature):
    policy = policy_of(tiny_model, temperature=temperature)
    policy.train(False)
    rollout = policy.act(prompts[:5], 6)
    found, values, mask = policy.evaluate(rollout, [4, 2, 0])
    assert values.abs().max() == 0, "the value head starts at nothing"
    for place, row in enumerate([4, 2, 0]):
        ids, start = rollout.sequences[row], rollout.prompts[row]
        assert mask[place].sum() == len(ids) - start
        table = (policy.model(torch.tensor([ids])).logits[0] / temperature).log_softmax(-1)
        for at in range(start, len(ids)):
            assert found[place, at - start].item() == pytest.approx(table[at - 1, ids[at]].item(), abs=2e-4)
    torch.testing.assert_close(policy.reference(rollout, [4, 2, 0]) * mask, found.detach() * mask)


def test_answers_begin_with_their_prompts_and_end_with_eos(tiny_model, prompts):
    policy = policy_of(tiny_model)
    policy.train(False)
    torch.manual_seed(2)
    rollout = policy.act(prompts, 6)
    for ids, start, ended, asked in zip(rollout.sequences, rollout.prompts, rollout.ended, prompts, strict=True):
        assert ids[:start] == asked
        assert 1 <= len(ids) - start <= 6
        assert ended == (ids[-1] == 2)
        assert 2 not in ids[start:-1]
    torch.manual_seed(2)
    assert policy.act(prompts, 6) == rollout


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_base_stays_where_the_policy_moves(tiny_model, prompts, kind):
    adapters = Adapters(4, 16, 0.0, ("q_proj", "v_proj")) if kind == "lora" else None
    policy = policy_of(tiny_model, adapters)
    policy.train(False)
    torch.manual_seed(2)
    rollout = policy.act(prompts, 6)
    before = policy.reference(rollout, range(12))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05)
    torch.testing.assert_close(policy.reference(rollout, range(12)), before)
    assert (policy.evaluate(rollout, range(12))[0] - before).abs().max() > 0.01


def test_the_first_loss_is_the_one_by_hand(tiny_model, prompts):
    """Before any step all ratios are 1 and advantages sum to 0: half the squared returns are left, times vf_coef."""
    policy = policy_of(tiny_model)
    policy.train(False)
    settings = recipe(batch_size=8, mini_batch_size=8)
    rollout = policy.act(prompts[:8], 6)
    scores = torch.arange(8.0)
    seen = experience(policy, rollout, scores, settings, 0.1)
    loss, ahead, clipped = loss_of(policy, seen, range(8), settings, 0.1)
    by_token = seen.returns[seen.mask.bool()]
    expected = 0.1 * 0.5 * (by_token**2).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
    assert (abs(ahead), clipped) == (pytest.approx(0, abs=1e-6), 0)
    # Values are 0 and the base is the policy: what a token's answer returns is its score, discounted by λ only.
    last = [length - 1 for length in rollout.answers()]
    assert seen.returns[range(8), last].tolist() == pytest.approx(scores.tolist(), abs=1e-5)
    assert seen.returns[7, 0].item() == pytest.approx(7 * 0.95 ** last[7], rel=1e-4)


def test_grpo_has_no_use_for_values(tiny_model, prompts):
    policy = policy_of(tiny_model)
    policy.train(False)
    settings = recipe(algorithm="grpo", batch_size=8, mini_batch_size=8, samples_per_prompt=4)
    asked = [prompts[0]] * 4 + [prompts[1]] * 4
    torch.manual_seed(5)
    seen = experience(policy, policy.act(asked, 6), torch.tensor([0.0, 0, 0, 1, 2, 2, 2, 2]), settings, 0.1)
    loss, _, _ = loss_of(policy, seen, range(8), settings, 0.1)
    loss.backward()
    assert seen.advantages[4:].abs().max() == 0, "answers that score alike teach nothing"
    assert seen.advantages[3].max() > 1
    assert policy.value_head.weight.grad is None
    assert loss.item() == pytest.approx(0, abs=1e-3), "advantages of a group sum to 0, and the base is where it was"


# --- the whole loop ------------------------------------------------------------------------------------------------


def says(token: int):
    """A reward that can be checked: the share of an answer's tokens that are this one."""

    def score(rollout: Rollout) -> torch.Tensor:
        shares = []
        for ids, start in zip(rollout.sequences, rollout.prompts, strict=True):
            answer = ids[start:]
            shares.append(sum(one == token for one in answer) / len(answer))
        return torch.tensor(shares)

    return score


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("ppo", {"learning_rate": 1e-3}),
        ("grpo", {"samples_per_prompt": 4, "learning_rate": 1e-3}),
    ],
)
def test_a_reward_that_can_be_checked_rises(tiny_model, prompts, tokenizer, tmp_path, algorithm, changes):
    torch.set_num_threads(1)
    (token,) = tokenizer.encode("水", add_special_tokens=False)
    settings = recipe(algorithm=algorithm, steps=25, batch_size=16, mini_batch_size=8, init_kl_coef=0.01, **changes)
    curve = reinforce(
        policy_of(tiny_model), prompts, says(token), settings, checkpoints=tmp_path, identity={}, save_steps=10000
    )
    first, last = (sum(row["score"] for row in part) / 5 for part in (curve[:5], curve[-5:]))
    assert last > first + 0.2, (first, last)
    assert curve[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert curve[-1]["kl"] > 0.5, "it had to leave its base for that"


def test_a_dear_distance_keeps_the_policy_near(tiny_model, prompts, tokenizer, tmp_path):
    (token,) = tokenizer.encode("水", add_special_tokens=False)
    ends = []
    for cost in (0.0, 2.0):
        settings = recipe(steps=12, batch_size=16, mini_batch_size=8, init_kl_coef=cost, adap_kl_ctrl=False,
                          learning_rate=1e-3)  # fmt: skip
        curve = reinforce(
            policy_of(tiny_model), prompts, says(token), settings, checkpoints=tmp_path / str(cost), identity={},
            save_steps=10000,
        )  # fmt: skip
        ends.append(sum(row["kl"] for row in curve[-4:]) / 4)
    assert ends[1] < ends[0] / 2, ends


def test_passes_end_where_the_policy_has_gone_too_far(tiny_model, prompts, tokenizer):
    (token,) = tokenizer.encode("水", add_special_tokens=False)
    run = Reinforcing(policy_of(tiny_model), recipe(ppo_epochs=20, target_kl=0.01, learning_rate=3e-3))
    run.advance(prompts, says(token))
    assert run.curve[0]["passes"] < 20


def test_scores_that_are_no_numbers_stop_the_run(tiny_model, prompts):
    run = Reinforcing(policy_of(tiny_model), recipe())
    with pytest.raises(BelleError, match="a score is no number at step 1 of 4"):
        run.advance(prompts, lambda rollout: torch.full((len(rollout.sequences),), math.nan))


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tiny_model, prompts, tokenizer, tmp_path):
    (token,) = tokenizer.encode("水", add_special_tokens=False)
    settings = recipe(steps=6)
    straight = policy_of(tiny_model)
    curve = reinforce(straight, prompts, says(token), settings, checkpoints=tmp_path / "a", identity={}, save_steps=1)

    calls = []

    def stops(rollout):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return says(token)(rollout)

    with pytest.raises(KeyboardInterrupt):
        reinforce(
            policy_of(tiny_model), prompts, stops, settings, checkpoints=tmp_path / "b", identity={}, save_steps=1
        )
    assert [path.name for path in (tmp_path / "b").glob("checkpoint-*")] == ["checkpoint-3"]
    resumed = policy_of(tiny_model)
    torch.manual_seed(99)
    again = reinforce(resumed, prompts, says(token), settings, checkpoints=tmp_path / "b", identity={}, save_steps=1)
    assert again == curve
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


# --- the stage -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_reward(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    reward(
        base=tiny_model, pairs=write_pairs(folder / "pairs.jsonl"), out=folder / "reward",
        report=folder / "report.json", checkpoints=folder / "checkpoints",
        **{**PREFERENCE, "num_train_epochs": 6.0, "learning_rate": 1e-3},
    )  # fmt: skip
    return folder / "reward"


@pytest.fixture
def paths(world, tiny_model, trained_reward, tmp_path):
    return {
        "base": tiny_model, "reward": trained_reward, "data": world / "train.jsonl", "out": tmp_path / "out",
        "report": tmp_path / "report.json", "checkpoints": tmp_path / "checkpoints",
    }  # fmt: skip


def test_the_stage_writes_a_model_folder_and_its_curve(paths, tiny_model):
    ppo(**paths, **PPO)
    assert set(contents(paths["out"])) == set(contents(tiny_model))
    found = json.loads(paths["report"].read_text())
    assert (found["prompts"], found["passed_over"], found["steps"], len(found["curve"])) == (48, 0, 4, 4)
    assert found["curve"][0]["kl"] == pytest.approx(0, abs=1e-4)
    assert not paths["checkpoints"].exists()
    assert not any(str(paths["out"].parent).encode() in value for value in contents(paths["out"]).values())


def test_lora_is_merged_and_kept_apart(paths):
    ppo(**paths, **{**PPO, "lora_r": 4, "algorithm": "grpo", "samples_per_prompt": 4, "gradient_checkpointing": True})
    assert (paths["out"] / "adapter" / "adapter_model.safetensors").is_file()
    AutoModelForCausalLM.from_pretrained(paths["out"])


@pytest.mark.parametrize(
    ("kind", "kills"), [("ppo", (2,)), ("lora", (2,)), pytest.param("ppo", (2, 5), marks=pytest.mark.thorough)]
)
def test_a_killed_run_resumes_to_the_bytes_of_a_straight_one(paths, tmp_path, kind, kills):
    settings = {**PPO, "steps": 9, "save_steps": 4, **({"lora_r": 4} if kind == "lora" else {})}
    killed = {**paths, "out": tmp_path / "killed", "report": tmp_path / "killed.json", "checkpoints": tmp_path / "k"}

    def reached(at: int) -> bool:
        whole = (path.parent.name for path in killed["checkpoints"].glob(f"*[0-9]/{COMPLETE}"))
        return any(int(name.rpartition("-")[2]) >= at for name in whole)

    for at in kills:
        assert start_and_kill("ppo", killed, settings, lambda at=at: reached(at))
        assert not killed["out"].exists()
    ppo(**killed, **settings)
    ppo(**paths, **settings)
    assert contents(killed["out"]) == contents(paths["out"])
    assert killed["report"].read_bytes() == paths["report"].read_bytes()


def test_rewards_are_those_of_the_folder(trained_reward, tokenizer, prompts):
    score = RewardModel(trained_reward, tokenizer, prompt_format="belle", dtype=torch.float32, batch_size=2)
    rollout = Rollout([[*ids, 7, 8, 2] for ids in prompts[:3]], [len(ids) for ids in prompts[:3]], [True] * 3)
    found = score(rollout)
    for row, ids in enumerate(rollout.sequences):
        alone = score.model(input_ids=torch.tensor([ids])).logits[0, 0]
        assert found[row].item() == pytest.approx(alone.item(), abs=1e-5)


def test_a_reward_model_that_does_not_fit_is_refused(paths, tiny_model, trained_reward, tokenizer, tmp_path):
    with pytest.raises(InputError, match="no reward model with one output, found LlamaForCausalLM"):
        ppo(**{**paths, "reward": tiny_model}, **PPO)
    with pytest.raises(InputError, match=r"no config\.json"):
        ppo(**{**paths, "reward": tmp_path}, **PPO)
    with pytest.raises(InputError, match="prompts in another format than 'belle-gptq'"):
        ppo(**paths, **{**PPO, "prompt_format": "belle-gptq"})
    other = tmp_path / "other"
    shutil.copytree(trained_reward, other)
    theirs = AutoTokenizer.from_pretrained(other)
    theirs.add_tokens(["猫在"])
    theirs.save_pretrained(other)
    with pytest.raises(
        InputError, match=f"a tokenizer of {len(tokenizer) + 1} tokens where the policy's has"
    ) as caught:
        ppo(**{**paths, "reward": other}, **PPO)
    assert "'猫在'" in str(caught.value)
    assert not paths["out"].exists()


def test_prompts_are_texts_or_training_rows_each_once(tokenizer, tmp_path):
    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [{"text": "猫"}, {"instruction": "猫", "output": "x"}, {"text": "猫" * 60}, {"text": "狗"}])
    found, passed = read_prompts(data, tokenizer, prompt_format="none", max_prompt_length=40)
    assert [tokenizer.decode(ids) for ids in found] == ["猫", "狗"]
    assert passed == 1
    with pytest.raises(InputError, match="none of its 4 rows has a prompt of at most 0 tokens"):
        read_prompts(data, tokenizer, prompt_format="none", max_prompt_length=0)
    jsonl.write(data, [{"text": " "}])
    with pytest.raises(InputError, match="row 1: `text` must be text"):
        read_prompts(data, tokenizer, prompt_format="none", max_prompt_length=40)


def test_a_curve_is_told_by_its_ends():
    curve = [{"score": float(number)} for number in range(40)]
    found = curve_report(curve)
    assert (found["first"]["score"], found["last"]["score"]) == (1.5, 37.5)
    assert found["first"]["stderr"] == pytest.approx(0.6455, abs=1e-4)
    assert curve_report(curve[:1])["last"] == {"score": 0.0, "stderr": None}


def test_recipes_say_how_many_steps_they_take():
    assert recipe(batch_size=32, mini_batch_size=2, ppo_epochs=2).updates == 32
    assert replace(recipe(), batch_size=10, mini_batch_size=4, ppo_epochs=1).updates == 3


def test_a_model_with_tied_embeddings_is_written_in_half_precision(tiny_model, tmp_path):
    """Rounding must not make two tensors of one."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from belle.train.models import write

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    before = load_file(tiny_model / "model.safetensors")
    assert len(model.state_dict()) == len(before) + 1, "the output embeddings are the input's"
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", model, model.state_dict(), tokenizer, base=tiny_model, dtype=torch.bfloat16,
          expected=len(before))  # fmt: skip
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert after.keys() == before.keys()
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
