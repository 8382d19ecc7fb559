"""What the trainings can be told: fine-tuning, pretraining, and what learns from preferences."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from belle.settings.section import Attention, Count, Fraction, PositiveFloat, PositiveInt, Section


class Training(Section):
    """What every training by the Hugging Face Trainer takes; ``deepspeed`` is the path of its settings or empty.

    The batch and its accumulation are meant for ``devices``; on another number of GPUs accumulation changes.
    """

    per_device_train_batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt
    learning_rate: PositiveFloat
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    adam_beta2: Annotated[float, Field(gt=0, lt=1)]
    bf16: bool
    gradient_checkpointing: bool
    deepspeed: str
    devices: PositiveInt
    threads: PositiveInt
    seed: Count


class Adapters(Section):
    """LoRA; ``lora_r`` 0 trains every weight."""

    lora_r: Count
    lora_alpha: Count
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    lora_target_modules: list[str]


class Language(Training, Adapters):
    """What training on text takes besides."""

    fp16: bool
    attention: Attention
    quantised_base: Literal[0, 4, 8]
    lora_modules_to_save: list[str]


class Sft(Language):
    """Fine-tuning."""

    prompt_format: str
    cutoff_len: PositiveInt
    num_train_epochs: PositiveFloat
    packing: bool
    group_by_length: bool


class Pretrain(Language):
    """Continued pretraining; ``steps`` 0 trains ``num_train_epochs`` passes, no ``ratios`` take texts as they are."""

    trains: Literal["all", "embeddings", "adapters"]
    block_size: PositiveInt
    ratios: list[PositiveInt]
    steps: Count
    num_train_epochs: Annotated[float, Field(ge=0)]


class Preference(Training):
    """What training on pairs takes, whatever its loss; ``held_out`` is the share of prompts that it is measured on."""

    prompt_format: str
    max_length: PositiveInt
    max_prompt_length: PositiveInt
    num_train_epochs: PositiveFloat
    held_out: Annotated[float, Field(ge=0, lt=1)]


class Reward(Preference):
    """A reward model: a scalar head on a language model."""


class Dpo(Preference, Adapters):
    """Direct preference optimisation; ``beta`` is how dear it is to move away from the base."""

    beta: PositiveFloat


class Ppo(Adapters):
    """Reinforcement from a reward model: PPO with a value head, or GRPO with ``samples_per_prompt`` answers.

    The names are those of trl's PPOConfig; ``target_kl`` ends a batch's epochs early (0: never), ``kl_target`` is where
    the adaptive coefficient steers the distance from the base.
    """

    algorithm: Literal["ppo", "grpo"]
    prompt_format: str
    max_prompt_length: PositiveInt
    max_new_tokens: PositiveInt
    temperature: Annotated[float, Field(gt=0, le=2)]
    steps: PositiveInt
    batch_size: PositiveInt
    mini_batch_size: PositiveInt
    samples_per_prompt: PositiveInt
    ppo_epochs: PositiveInt
    learning_rate: PositiveFloat
    max_grad_norm: Annotated[float, Field(ge=0)]
    gamma: Fraction
    lam: Fraction
    cliprange: PositiveFloat
    cliprange_value: PositiveFloat
    vf_coef: Annotated[float, Field(ge=0)]
    init_kl_coef: Annotated[float, Field(ge=0)]
    adap_kl_ctrl: bool
    kl_target: PositiveFloat
    kl_horizon: PositiveInt
    target_kl: Annotated[float, Field(ge=0)]
    bf16: bool
    gradient_checkpointing: bool
    threads: PositiveInt
    seed: Count
