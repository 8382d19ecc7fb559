"""What a sampled answer was worth, token by token: rewards, generalised advantages, and comparison within a group."""

import torch

EPSILON = 1e-8


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the places where ``mask`` is 1."""
    return (values * mask).sum() / mask.sum()


def whiten(values: torch.Tensor, mask: torch.Tensor, *, shift_mean: bool = True) -> torch.Tensor:
    """Scale to variance 1 over the masked places, and shift to mean 0 unless the mean is to stay."""
    mean = masked_mean(values, mask)
    count = mask.sum()
    variance = ((values - mean) ** 2 * mask).sum() / (count - 1).clamp(min=1)
    whitened = (values - mean) / (variance + EPSILON).sqrt()
    return (whitened if shift_mean else whitened + mean) * mask


def token_rewards(
    scores: torch.Tensor, logprobs: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, kl_coef: float
) -> torch.Tensor:
    """Rewards [B, A] of tokens: minus ``kl_coef`` times log π/π_base at each, and the score [B] at the last one.

    Follows arXiv 1909.08593, equation 2.
    """
    rewards = -kl_coef * (logprobs - reference) * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores)), last] += scores
    return rewards


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantages and returns, both [B, A] (arXiv 1506.02438, equation 16); an answer ends with its mask."""
    advantages = torch.zeros_like(rewards)
    following = torch.zeros(len(rewards), dtype=rewards.dtype)
    for place in reversed(range(rewards.shape[1])):
        inside = mask[:, place + 1] if place + 1 < rewards.shape[1] else torch.zeros(len(rewards))
        next_value = values[:, place + 1] * inside if place + 1 < rewards.shape[1] else torch.zeros(len(rewards))
        delta = rewards[:, place] + gamma * next_value - values[:, place]
        following = (delta + gamma * lam * following * inside) * mask[:, place]
        advantages[:, place] = following
    return advantages, (advantages + values) * mask


def group_advantages(scores: torch.Tensor, size: int) -> torch.Tensor:
    """Scores [B] beside those of the other answers to their prompt, ``size`` in a row: (r − mean) / deviation.

    Follows arXiv 2402.03300, section 4.1.2. Where all answers of a prompt score alike, none is better: 0.
    """
    groups = scores.view(-1, size)
    deviation = groups.std(dim=1, keepdim=True)
    return ((groups - groups.mean(dim=1, keepdim=True)) / (deviation + 1e-4)).flatten()
