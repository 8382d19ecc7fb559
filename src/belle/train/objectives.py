"""The losses of PPO and GRPO, and the controller of the distance from the base."""

from dataclasses import dataclass

import torch


def clipped_policy_loss(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, cliprange: float
) -> torch.Tensor:
    """PPO's loss of each token [B, A] (arXiv 1707.06347, equation 7, its sign turned)."""
    ratio = (logprobs - old).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - cliprange, 1 + cliprange))


def clipped_value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, cliprange: float
) -> torch.Tensor:
    """Half the squared error of each value [B, A], the worse of the value and the value clipped around its old one."""
    clipped = old + (values - old).clamp(-cliprange, cliprange)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def kl_estimate(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The estimate of KL(π ‖ π_base) at each token that is never negative (arXiv 2402.03300, equation 4)."""
    behind = reference - logprobs
    return behind.exp() - behind - 1


def mean_of_answers(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over answers of each one's mean over its tokens, so that a long answer counts as a short one."""
    return ((values * mask).sum(1) / mask.sum(1)).mean()


@dataclass
class KlController:
    """The coefficient of the distance from the base.

    Where it is adaptive it moves until an answer is ``target`` nats from the base (arXiv 1909.08593, section 2.2).
    """

    value: float
    adaptive: bool
    target: float
    horizon: int

    def update(self, distance: float, answers: int) -> None:
        """Take note of the mean distance of so many answers."""
        if self.adaptive:
            error = min(0.2, max(-0.2, distance / self.target - 1))
            self.value *= 1 + error * answers / self.horizon
