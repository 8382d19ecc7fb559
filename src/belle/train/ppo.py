"""Stage ``ppo``: a language model reinforced by a reward model, by PPO or GRPO, in full or by LoRA."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from belle import jsonl
from belle.errors import InputError, shown
from belle.files import atomic_file, atomic_folder, sha256_of
from belle.prompts import chat_template, prompt
from belle.records import turns
from belle.train import folder, lora
from belle.train.checkpoints import folder_digest
from belle.train.models import load_base, require_config, write
from belle.train.pairs import padding_of
from belle.train.policy import Policy, Rollout
from belle.train.reinforcing import Recipe, reinforce
from belle.train.reward import is_reward
from belle.train.trainer import prepare

PROBE = "Human: \n“你好”，hello 12。\n\nAssistant: \n"
"""A text that two tokenizers must cut alike."""


def read_prompts(
    data: Path, tokenizer: PreTrainedTokenizerBase, *, prompt_format: str, max_prompt_length: int
) -> tuple[list[list[int]], int]:
    """Encode the prompt of every row: ``text``, as in BELLE's files, or the first question of a training row.

    Returns:
        The prompts within ``max_prompt_length`` tokens, each once, in the order of the file, and how many were longer.

    Raises:
        InputError: a row is neither, or no prompt is left.
    """
    prompts: dict[tuple[int, ...], None] = {}
    count = passed = 0
    for count, row in enumerate(jsonl.read(data, "prompts"), 1):
        where = f"{data}, row {count}"
        if "text" in row and "instruction" not in row:
            text = row["text"]
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"`text` must be text that is not empty, found {shown(text)}",
                    where=where,
                    cause="a row that was filled in part",
                    fix="write one prompt a row, or take the row out",
                )
        else:
            text = turns(row, where)[0].text
        ids = tokenizer.encode(prompt(text, prompt_format), add_special_tokens=False)
        if len(ids) > max_prompt_length:
            passed += 1
        else:
            prompts[tuple(ids)] = None
    if not prompts:
        raise InputError(
            f"none of its {count} rows has a prompt of at most {max_prompt_length} tokens",
            where=str(data),
            cause="an empty file, or max_prompt_length meant for shorter prompts",
            fix="raise max_prompt_length, or rebuild the data",
        )
    return [list(ids) for ids in prompts], passed


class RewardModel:
    """A folder that stage ``reward`` wrote, as a score of answers.

    Raises:
        InputError: it is no reward model with one output, or reads tokens or prompts that are not the policy's.
    """

    def __init__(
        self, path: Path, tokenizer: PreTrainedTokenizerBase, *, prompt_format: str, dtype: torch.dtype, batch_size: int
    ) -> None:
        _check(path, tokenizer, prompt_format)
        self.model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype).eval()
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._batch_size = batch_size

    @torch.no_grad()
    def __call__(self, rollout: Rollout) -> torch.Tensor:
        """The reward of each answer [B], as the model gives it."""
        scores = []
        for start in range(0, len(rollout.sequences), self._batch_size):
            part = rollout.sequences[start : start + self._batch_size]
            ids = torch.full((len(part), max(map(len, part))), self.model.config.pad_token_id)
            for row, sequence in enumerate(part):
                ids[row, : len(sequence)] = torch.tensor(sequence)
            lengths = torch.tensor([len(sequence) for sequence in part])
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            device = self.model.device
            scores.append(self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits[:, 0].float())
        return torch.cat(scores).cpu()


def _check(path: Path, tokenizer: PreTrainedTokenizerBase, prompt_format: str) -> None:
    require_config(path, "a reward model")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if not is_reward(config) or len(config.get("id2label", {0: ""})) != 1:
        raise InputError(
            f"no reward model with one output, found {', '.join(config.get('architectures') or ['nothing'])}",
            where=str(path),
            cause="a language model under the name of a reward model",
            fix="train one with `belle reward`",
        )
    theirs = AutoTokenizer.from_pretrained(path)
    ours, other = tokenizer.get_vocab(), theirs.get_vocab()
    if ours != other or theirs.encode(PROBE) != tokenizer.encode(PROBE):
        apart = sorted(token for token in ours.keys() | other.keys() if ours.get(token) != other.get(token))
        raise InputError(
            f"a tokenizer of {len(other)} tokens where the policy's has {len(ours)}"
            + (f"; {apart[0]!r} is {other.get(apart[0])} here and {ours.get(apart[0])} there" if apart else ""),
            where=str(path),
            cause="a reward model that was trained from another base",
            fix="train the reward model from the policy's base, or from a model with the same tokenizer",
        )
    if theirs.chat_template and theirs.chat_template != chat_template(prompt_format):
        raise InputError(
            f"a reward model of prompts in another format than {prompt_format!r}",
            where=str(path),
            cause="recipes of `reward` and `ppo` with different prompt_format",
            fix="give both the same prompt_format",
        )


def curve_report(curve: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The curve, rounded, and the mean score of its first and last tenth with standard errors over batches."""
    tenth = max(1, len(curve) // 10)

    def part(rows: Sequence[dict[str, float]]) -> dict[str, float | None]:
        scores = [row["score"] for row in rows]
        error = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
        return {"score": round(fmean(scores), 4), "stderr": None if error is None else round(error, 4)}

    rounded = [{key: round(value, 6) for key, value in row.items()} for row in curve]
    return {"first": part(curve[:tenth]), "last": part(curve[-tenth:]), "steps": len(curve), "curve": rounded}


def ppo(
    *,
    base: Path,
    reward: Path,
    data: Path,
    out: Path,
    report: Path,
    checkpoints: Path,
    algorithm: str,
    prompt_format: str,
    max_prompt_length: int,
    max_new_tokens: int,
    temperature: float,
    steps: int,
    batch_size: int,
    mini_batch_size: int,
    samples_per_prompt: int,
    ppo_epochs: int,
    learning_rate: float,
    max_grad_norm: float,
    gamma: float,
    lam: float,
    cliprange: float,
    cliprange_value: float,
    vf_coef: float,
    init_kl_coef: float,
    adap_kl_ctrl: bool,
    kl_target: float,
    kl_horizon: int,
    target_kl: float,
    bf16: bool,
    gradient_checkpointing: bool,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    lora_target_modules: list[str],
    save_steps: int,
    threads: int,
    seed: int,
) -> None:
    """Train ``base`` to answer prompts with a higher reward, and write a plain Hugging Face folder to ``out``.

    In the sense of BELLE's PPO script and of trl before 0.12: answers are drawn from the policy, rewarded at their end
    and charged for every nat away from the base, and each batch of them is learnt from ``ppo_epochs`` times. One
    process, on one GPU or on the CPU. A run that was killed goes on from its last whole checkpoint, and ends with the
    same bytes on a CPU as a run that was not. The value head is not kept.

    Args:
        reward: A folder that stage ``reward`` wrote, with the tokenizer of ``base``.
        data: Rows with a prompt, see ``read_prompts``.
        report: JSON: prompts, and step by step the mean score, the distance from the base and what it costs.
        checkpoints: Where a killed run finds its way back; removed at the end.
        algorithm: ``ppo`` (a value head, generalised advantages) or ``grpo`` (answers to one prompt beside each other).
        steps: Batches of answers.
        batch_size: Answers a step, of ``batch_size / samples_per_prompt`` prompts.
        mini_batch_size: Answers an optimizer step.
        max_grad_norm: Longest gradient; 0 for any.
        adap_kl_ctrl: Whether the coefficient moves from ``init_kl_coef`` towards a distance of ``kl_target`` nats an
            answer, over some ``kl_horizon`` answers.
        target_kl: A step's passes end where its mini-batches are 1.5 times so far from the answers' policy; 0: never.
        lora_r: Rank of the adapters; 0 trains every weight. Adapters are merged, and kept in ``out/adapter``.

    Raises:
        InputError: the base, the reward model or the data cannot be used.
        BelleError: a score or the loss is NaN or infinite, or what came out breaks the contract of a model folder.
    """
    prepare(threads, seed)
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = load_base(base, dtype if lora_r else torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    pad = padding_of(tokenizer)
    score = RewardModel(reward, tokenizer, prompt_format=prompt_format, dtype=dtype, batch_size=batch_size)
    tokenizer.chat_template = chat_template(prompt_format)
    prompts, passed = read_prompts(data, tokenizer, prompt_format=prompt_format, max_prompt_length=max_prompt_length)
    expected = folder.count(model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    adapters = lora.Adapters(lora_r, lora_alpha, lora_dropout, tuple(sorted(lora_target_modules)))
    policy = Policy(
        model, adapters=adapters if lora_r else None, temperature=temperature, pad=pad, eos=tokenizer.eos_token_id,
        bf16=bf16,
    )  # fmt: skip
    recipe = Recipe(
        algorithm=algorithm,
        max_new_tokens=max_new_tokens,
        steps=steps,
        batch_size=batch_size,
        mini_batch_size=mini_batch_size,
        samples_per_prompt=samples_per_prompt,
        ppo_epochs=ppo_epochs,
        learning_rate=learning_rate,
        max_grad_norm=max_grad_norm,
        gamma=gamma,
        lam=lam,
        cliprange=cliprange,
        cliprange_value=cliprange_value,
        vf_coef=vf_coef,
        init_kl_coef=init_kl_coef,
        adap_kl_ctrl=adap_kl_ctrl,
        kl_target=kl_target,
        kl_horizon=kl_horizon,
        target_kl=target_kl,
        seed=seed,
    )
    identity = {
        "stage": "ppo",
        "data": [sha256_of(data), prompt_format, max_prompt_length],
        "base": folder_digest(base),
        "reward": folder_digest(reward),
        "lora": adapters.as_dict(),
        "numbers": [temperature, bf16, gradient_checkpointing, threads],
    }
    curve = reinforce(policy, prompts, score, recipe, checkpoints=checkpoints, identity=identity, save_steps=save_steps)
    trained = policy.adapted if policy.adapted is not None else model
    with atomic_folder(out) as unfinished:
        write(unfinished, trained, trained.state_dict(), tokenizer, base=base, dtype=dtype, expected=expected)
    with atomic_file(report) as file:
        summary = {"prompts": len(prompts), "passed_over": passed, **curve_report(curve)}
        file.write(json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
    shutil.rmtree(checkpoints, ignore_errors=True)
