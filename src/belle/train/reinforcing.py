"""The loop of PPO and GRPO: draw answers, score them, take small steps towards the better ones; resumable."""

import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from belle.errors import BelleError
from belle.files import atomic_file, atomic_folder
from belle.train.advantages import gae, group_advantages, masked_mean, token_rewards, whiten
from belle.train.checkpoints import COMPLETE, latest
from belle.train.objectives import (
    KlController,
    clipped_policy_loss,
    clipped_value_loss,
    kl_estimate,
    mean_of_answers,
)
from belle.train.policy import Policy, Rollout
from belle.train.watching import watches

Score = Callable[[Rollout], torch.Tensor]
"""From a batch of answers to how good each is, [B] on the CPU."""

STATE = "state.pt"


@dataclass(frozen=True)
class Recipe:
    """How a policy is reinforced; the names are those of ``settings.Ppo``."""

    algorithm: str
    max_new_tokens: int
    steps: int
    batch_size: int
    mini_batch_size: int
    samples_per_prompt: int
    ppo_epochs: int
    learning_rate: float
    max_grad_norm: float
    gamma: float
    lam: float
    cliprange: float
    cliprange_value: float
    vf_coef: float
    init_kl_coef: float
    adap_kl_ctrl: bool
    kl_target: float
    kl_horizon: int
    target_kl: float
    seed: int

    @property
    def updates(self) -> int:
        """Optimizer steps that one step takes at most."""
        return self.ppo_epochs * math.ceil(self.batch_size / self.mini_batch_size)


@dataclass(frozen=True)
class Experience:
    """Answers with what was known of them when they were drawn; all but ``scores`` [B] are [B, A], on the CPU."""

    rollout: Rollout
    scores: torch.Tensor
    logprobs: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor
    mask: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


def prompts_of(step: int, count: int, recipe: Recipe) -> list[int]:
    """Which of ``count`` prompts a step takes, each ``samples_per_prompt`` times: shuffled epochs put end to end."""
    distinct = recipe.batch_size // recipe.samples_per_prompt
    places = range(step * distinct, (step + 1) * distinct)
    orders = {epoch: np.random.default_rng([recipe.seed, epoch]).permutation(count) for epoch in
              {place // count for place in places}}  # fmt: skip
    chosen = [int(orders[place // count][place % count]) for place in places]
    return [index for index in chosen for _ in range(recipe.samples_per_prompt)]


def _together(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of mini-batches under each other, [B, A], the shorter filled with 0."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part.cpu(), (0, width - part.shape[1])) for part in parts])


@torch.no_grad()
def experience(policy: Policy, rollout: Rollout, scores: torch.Tensor, recipe: Recipe, kl_coef: float) -> Experience:
    """Work out what every token of a batch of answers was worth."""
    count, size = len(rollout.sequences), recipe.mini_batch_size
    rows = [list(range(start, min(start + size, count))) for start in range(0, count, size)]
    found = [policy.evaluate(rollout, part) for part in rows]
    logprobs, values, mask = (_together([part[place] for part in found]) for place in range(3))
    reference = _together([policy.reference(rollout, part) for part in rows])
    logprobs, values, reference = logprobs * mask, values * mask, reference * mask
    if recipe.algorithm == "grpo":
        advantages = group_advantages(scores, recipe.samples_per_prompt)[:, None] * mask
        return Experience(rollout, scores, logprobs, reference, values, mask, advantages, torch.zeros_like(values))
    rewards = token_rewards(scores, logprobs, reference, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, gamma=recipe.gamma, lam=recipe.lam)
    return Experience(rollout, scores, logprobs, reference, values, mask, whiten(advantages, mask), returns)


def loss_of(
    policy: Policy, seen: Experience, rows: Sequence[int], recipe: Recipe, kl_coef: float
) -> tuple[torch.Tensor, float, float]:
    """The loss of a mini-batch, the mean log-ratio old to new, and the share of tokens whose ratio was clipped."""
    logprobs, values, mask = policy.evaluate(seen.rollout, rows)
    width = mask.shape[1]

    def old(name: str) -> torch.Tensor:
        whole: torch.Tensor = getattr(seen, name)
        return whole[list(rows), :width].to(mask.device)

    losses = clipped_policy_loss(logprobs, old("logprobs"), old("advantages"), recipe.cliprange)
    if recipe.algorithm == "grpo":
        loss = mean_of_answers(losses + kl_coef * kl_estimate(logprobs, old("reference")), mask)
    else:
        value_losses = clipped_value_loss(values, old("values"), old("returns"), recipe.cliprange_value)
        loss = masked_mean(losses, mask) + recipe.vf_coef * masked_mean(value_losses, mask)
    with torch.no_grad():
        moved = logprobs - old("logprobs")
        clipped = (moved.exp() - 1).abs() > recipe.cliprange
        return loss, float(masked_mean(-moved, mask)), float(masked_mean(clipped.float(), mask))


class Reinforcing:
    """A policy on its way: the optimizer, the controller of its distance from the base, and the curve so far."""

    def __init__(self, policy: Policy, recipe: Recipe) -> None:
        self.policy, self.recipe = policy, recipe
        self.optimizer = torch.optim.AdamW(policy.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
        self.kl = KlController(recipe.init_kl_coef, recipe.adap_kl_ctrl, recipe.kl_target, recipe.kl_horizon)
        self.step = 0
        self.curve: list[dict[str, float]] = []

    def advance(self, prompts: Sequence[Sequence[int]], score: Score) -> None:
        """Do one step: a batch of answers, and ``ppo_epochs`` passes over it.

        Raises:
            BelleError: a score or the loss is NaN or infinite.
        """
        recipe, policy = self.recipe, self.policy
        # Every step has a seed of its own, so that a resumed run draws what a straight one would have.
        torch.manual_seed(int(np.random.default_rng([recipe.seed, 1, self.step]).integers(2**62)))
        policy.train(False)
        chosen = prompts_of(self.step, len(prompts), recipe)
        rollout = policy.act([prompts[index] for index in chosen], recipe.max_new_tokens)
        scores = score(rollout)
        self._finite("score", scores)
        seen = experience(policy, rollout, scores, recipe, self.kl.value)
        distance = float((seen.logprobs - seen.reference).sum(1).mean())
        policy.train(True)
        losses, clipped, passes = list[float](), list[float](), 0
        for _ in range(recipe.ppo_epochs):
            order = torch.randperm(recipe.batch_size).tolist()
            moved = list[float]()
            for start in range(0, recipe.batch_size, recipe.mini_batch_size):
                loss, ahead, share = loss_of(
                    policy, seen, order[start : start + recipe.mini_batch_size], recipe, self.kl.value
                )
                self._finite("loss", loss.detach())
                if recipe.target_kl and ahead > 1.5 * recipe.target_kl:
                    break
                moved.append(ahead)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if recipe.max_grad_norm:
                    torch.nn.utils.clip_grad_norm_(policy.parameters(), recipe.max_grad_norm)
                self.optimizer.step()
                losses.append(float(loss.detach()))
                clipped.append(share)
            else:
                passes += 1
                continue
            break
        lengths = rollout.answers()
        self.curve.append({
            "score": float(scores.mean()), "deviation": float(scores.std()) if len(scores) > 1 else 0.0,
            "kl": distance, "kl_coef": self.kl.value, "loss": _mean(losses), "clipped": _mean(clipped),
            "passes": passes, "tokens": sum(lengths) / len(lengths), "ended": sum(rollout.ended) / len(lengths),
        })  # fmt: skip
        self.kl.update(distance, recipe.batch_size)
        self.step += 1

    def _finite(self, what: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value).all():
            raise BelleError(
                f"a {what} is no number at step {self.step + 1} of {self.recipe.steps}",
                where="ppo",
                cause=f"a learning rate of {self.recipe.learning_rate:g} that is too high, or a broken reward model",
                fix="lower learning_rate; the checkpoints before this step are kept",
            )

    def save(self, home: Path) -> None:
        """Write a checkpoint, and remove those before it."""
        made = home / f"checkpoint-{self.step}"
        with atomic_folder(made) as unfinished:
            trained = [parameter.detach() for parameter in self.policy.parameters()]
            torch.save([trained, self.optimizer.state_dict(), self.kl.value, self.step, self.curve], unfinished / STATE)
            with atomic_file(unfinished / COMPLETE) as file:
                json.dump({STATE: (unfinished / STATE).stat().st_size}, file)
        for old in home.glob("checkpoint-*"):
            if old != made:
                shutil.rmtree(old)

    def load(self, checkpoint: Path) -> None:
        """Take on the state of a checkpoint."""
        trained, optimizer, self.kl.value, self.step, self.curve = torch.load(
            checkpoint / STATE, map_location=self.policy.device, weights_only=True
        )
        with torch.no_grad():
            for parameter, value in zip(self.policy.parameters(), trained, strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(optimizer)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def reinforce(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    score: Score,
    recipe: Recipe,
    *,
    checkpoints: Path,
    identity: dict[str, Any],
    save_steps: int,
) -> list[dict[str, float]]:
    """Train ``policy`` in place to answer ``prompts`` (token ids) with higher scores; returns the curve, step by step.

    Goes on from the latest checkpoint of this identity if there is one. The caller removes ``checkpoints``.

    Args:
        save_steps: Optimizer steps between checkpoints, rounded to whole batches of answers.

    Raises:
        BelleError: a score or the loss is NaN or infinite.
    """
    run = Reinforcing(policy, recipe)
    resume = latest(checkpoints, {**identity, "recipe": asdict(recipe)})
    if resume:
        print(f"resuming from {resume}", file=sys.stderr)
        run.load(resume)
    every = max(1, save_steps // recipe.updates)
    seen_by = watches()
    for watch in seen_by:
        watch.begin(run.step, recipe.steps)
    with tqdm(total=recipe.steps, initial=run.step, desc=recipe.algorithm, unit="batch", mininterval=1) as bar:
        while run.step < recipe.steps:
            run.advance(prompts, score)
            last = run.curve[-1]
            bar.set_postfix_str(f"score {last['score']:.3f}, kl {last['kl']:.2f}", refresh=False)
            bar.update()
            for watch in seen_by:
                watch.step(run.step, last, round(last["tokens"] * recipe.batch_size))
            if run.step % every == 0 or run.step == recipe.steps:
                run.save(checkpoints)
                for watch in seen_by:
                    watch.saved(run.step)
    for watch in seen_by:
        watch.end()
    return run.curve
