"""A language model that acts: what it says, how likely it finds that, what it expects of it, and its base beside it."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel

from belle.train import lora
from belle.train.logprobs import token_logprobs


@dataclass(frozen=True)
class Rollout:
    """A batch of B answers, on the CPU.

    Args:
        sequences: Token ids of each prompt with its answer.
        prompts: How many of them are the prompt's.
        ended: Whether the answer ended with EOS.
    """

    sequences: list[list[int]]
    prompts: list[int]
    ended: list[bool]

    def answers(self) -> list[int]:
        """How many tokens each answer has, EOS included."""
        return [len(sequence) - prompt for sequence, prompt in zip(self.sequences, self.prompts, strict=True)]


class Policy:
    """A causal language model with a value head, and the model that it was before.

    Args:
        model: The model to train; its weights are changed in place.
        adapters: Low-rank adapters to train instead of every weight, or None. Under adapters the base is the same
            model with them switched off; otherwise it is a copy.
        temperature: What answers are drawn at, and how likely they are taken to be.
        bf16: Compute in bfloat16 where there is a GPU.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        adapters: lora.Adapters | None,
        temperature: float,
        pad: int,
        eos: int,
        bf16: bool,
    ) -> None:
        self.model, self.temperature, self.pad, self.eos = model, temperature, pad, eos
        self.device = model.device
        self._autocast = bf16 and self.device.type == "cuda"
        self.adapted = lora.attach(model, adapters) if adapters else None
        self._base = None if adapters else copy.deepcopy(model).eval().requires_grad_(False)
        # Zeros: the first values are 0 and the first advantages the rewards themselves, whatever the seed.
        self.value_head = torch.nn.Linear(model.config.hidden_size, 1, device=self.device)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)

    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [*(item for item in self.model.parameters() if item.requires_grad), *self.value_head.parameters()]

    def train(self, on: bool = True) -> None:
        """Switch dropout on for learning, off for acting."""
        self.model.train(on)

    def act(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> Rollout:
        """Draw an answer to each prompt from the whole distribution at the policy's temperature."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=True, temperature=self.temperature, top_k=0, top_p=1.0,
            eos_token_id=self.eos, pad_token_id=self.pad,
        )  # fmt: skip
        with torch.no_grad(), self._precision():
            tokens = self.model.generate(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), generation_config=settings
            )
        sequences, ended = list[list[int]](), list[bool]()
        for prompt, row in zip(prompts, tokens[:, width:].tolist(), strict=True):
            stopped = self.eos in row
            sequences.append([*prompt, *(row[: row.index(self.eos) + 1] if stopped else row)])
            ended.append(stopped)
        return Rollout(sequences, [len(prompt) for prompt in prompts], ended)

    def evaluate(self, rollout: Rollout, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-probabilities and values of the answers' tokens, and their mask, each [rows, A] in 32 bits."""
        return self._forward(self.model, rollout, rows)

    @torch.no_grad()
    def reference(self, rollout: Rollout, rows: Sequence[int]) -> torch.Tensor:
        """Log-probabilities of the answers' tokens under the base [rows, A]."""
        if self.adapted is None:
            assert self._base is not None
            return self._forward(self._base, rollout, rows)[0]
        with self.adapted.disable_adapter():
            return self._forward(self.model, rollout, rows)[0]

    def _forward(
        self, model: PreTrainedModel, rollout: Rollout, rows: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        sequences = [rollout.sequences[row] for row in rows]
        prompts = torch.tensor([rollout.prompts[row] for row in rows])
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        ids = torch.full((len(rows), int(lengths.max())), self.pad)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        attention = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        answers = lengths - prompts
        places = torch.arange(int(answers.max()))
        mask = (places < answers[:, None]).float()
        at = torch.minimum(prompts[:, None] + places, lengths[:, None] - 1)  # where each answer's tokens stand
        tokens = ids.gather(1, at).to(self.device)
        at = (at - 1).to(self.device)  # and where each is predicted
        with self._precision():
            backbone = getattr(model, model.base_model_prefix)
            hidden = backbone(
                input_ids=ids.to(self.device), attention_mask=attention.to(self.device), use_cache=False
            ).last_hidden_state
            hidden = hidden.gather(1, at.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
            logits = model.get_output_embeddings()(hidden)
        logprobs = token_logprobs(logits.float() / self.temperature, tokens)
        values = self.value_head(hidden.float()).squeeze(-1)
        return logprobs, values, mask.to(self.device)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        if not self._autocast:
            yield
            return
        with torch.autocast("cuda", dtype=torch.bfloat16):
            yield
