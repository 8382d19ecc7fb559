"""What the stages of weights can be told: bases, conversion, merging, vocabularies and quantisation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from belle.settings.section import Count, Fraction, PositiveFloat, PositiveInt, Section


class Base(Section):
    """A tiny LLaMA-shaped model and its pretraining."""

    vocab_size: Annotated[int, Field(ge=300)]
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    context_length: PositiveInt
    steps: PositiveInt
    per_device_train_batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_ratio: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    adam_beta2: Annotated[float, Field(gt=0, lt=1)]
    threads: PositiveInt
    seed: Count


class Convert(Section):
    """Meta's shards as Hugging Face's: what params.json does not say, and how large a file may be."""

    context_length: PositiveInt
    max_shard_gb: PositiveFloat


class Unconvert(Section):
    """Hugging Face's layout as Meta's: into how many shards its matrices are cut."""

    shards: PositiveInt


class Merge(Section):
    """Adapters added to a base; ``dtype`` is that of the result, ``base`` the base's own."""

    dtype: Literal["base", "float16", "bfloat16", "float32"]
    max_shard_gb: PositiveFloat
    threads: PositiveInt


class Vocabulary(Section):
    """Pieces trained on a corpus and put behind a base's; ``sentences`` 0 is all lines, ``pad_token`` "" none."""

    pieces: Annotated[int, Field(ge=10)]
    character_coverage: Annotated[float, Field(gt=0.9, le=1)]
    max_piece_chars: Annotated[int, Field(ge=1, le=64)]
    sentences: Count
    held_out: PositiveInt
    pad_token: Annotated[str, Field(pattern=r"^[^\s▁]*$", max_length=40)]
    max_shard_gb: PositiveFloat
    seed: Count


class Gptq(Section):
    """GPTQ and its calibration."""

    bits: Literal[2, 3, 4, 8]
    group_size: Literal[-1, 16, 32, 64, 128, 256, 512, 1024]
    desc_act: bool
    damp_percent: Annotated[float, Field(gt=0, lt=1)]
    calibration_rows: PositiveInt
    calibration_max_length: PositiveInt
    threads: PositiveInt
    seed: Count
