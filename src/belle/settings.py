"""What each stage can be told, as typed, frozen records: a section of params.yaml for each stage that has settings.

A field of a section is a flag of the stage's subcommand and a keyword of its function, under one name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from belle.filter_names import checked, no_name_twice

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
OneLine = Annotated[str, Field(pattern=r"^[^\n]*$")]
"""Text that can stand in a command; a line end is written as ``\\n``."""
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
FilterName = Annotated[str, AfterValidator(checked)]
"""A filter, with its value where it takes one: see ``belle.filter_names``."""
Attention = Literal["sdpa", "flash_attention_2", "eager"]
"""Which attention a model is trained with."""
BaseUrl = Annotated[str, Field(pattern=r"^(offline|https?://\S+)$")]


class Section(BaseModel):
    """A mapping of params.yaml: strict types, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --- one section per stage ------------------------------------------------------------------------------------


class Corpus(Section):
    """How much of the tiny world's text is written."""

    sentences: PositiveInt
    seed: Count


class Evalset(Section):
    """Which questions an evaluation set of the tiny world has, and how many in each split; no classes: all."""

    rows_per_split: PositiveInt
    splits: Annotated[list[Literal["entities", "phrasings", "reworded"]], Field(min_length=1)]
    classes: list[OneLine]
    seed: Count


class Sampling(Section):
    """Whom to ask for rows, how many, and how replies are drawn."""

    base_url: BaseUrl
    model: str
    rows: PositiveInt
    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: PositiveInt
    stop: Annotated[list[OneLine], Field(max_length=4)]
    seed: Count


class Generate(Sampling):
    """Self-Instruct: a request shows ``shots`` seed tasks and asks for ``tasks`` in all."""

    shots: PositiveInt
    tasks: Annotated[int, Field(ge=2, le=40)]


class Ask(Sampling):
    """Any other kind of set: a request asks for ``tasks`` items, a conversation has at most so many ``exchanges``."""

    kind: Literal["multiturn", "roles", "school_math", "conversations", "crawl"]
    tasks: Annotated[int, Field(ge=1, le=40)]
    exchanges: Annotated[int, Field(ge=1, le=20)]


class Label(Section):
    """Whom to ask for the categories of rows that a classifier learns from, and of how many."""

    base_url: BaseUrl
    model: str
    rows: PositiveInt
    temperature: Annotated[float, Field(ge=0, le=2)]
    max_tokens: PositiveInt
    seed: Count


class Classifier(Section):
    """A linear classifier of texts over hashed runs of 1 to ``ngrams`` characters, in 2 to the ``bits`` places.

    A text is learnt from until its category is ahead by ``margin`` for each of its runs; learning once gives 2.
    """

    ngrams: Annotated[int, Field(ge=1, le=5)]
    bits: Annotated[int, Field(ge=8, le=22)]
    margin: Count
    epochs: PositiveInt
    held_out: Annotated[float, Field(gt=0, lt=1)]
    seed: Count


class Clean(Section):
    """Which filters a raw row must pass, what it must not overlap with, how new it must be, and how it must weigh.

    ``weigher`` names an entry of the registry, or is empty: then nothing that asks a model is asked for.
    """

    filters: Annotated[list[FilterName], AfterValidator(no_name_twice)]
    decontaminate: list[Name]
    contamination_share: Fraction
    contamination_text_share: Fraction
    contamination_run: Count
    compare: Literal["instruction", "instruction+input"]
    near_duplicate_threshold: Annotated[float, Field(gt=0, le=2)]
    novelty_threshold: Annotated[float, Field(gt=0, le=2)]
    min_output_chars: Count
    max_output_chars: PositiveInt
    weigher: Annotated[str, Field(pattern=r"^([a-z0-9]+(-[a-z0-9]+)*)?$")]
    max_perplexity: Annotated[float, Field(ge=0)]
    max_answer_perplexity: Annotated[float, Field(ge=0)]
    perplexity_cut: Annotated[float, Field(ge=0, lt=1)]
    semantic_threshold: Annotated[float, Field(gt=0, le=2)]


class Weigh(Section):
    """How a base model weighs rows: how much of one it reads at a time, and what a row's vector is made of.

    Of a row's vector ``answer_weight`` is the answer's share, and ``layer`` the layer whose states it is the mean of
    (0: the embeddings).
    """

    max_length: Annotated[int, Field(ge=2)]
    layer: Count
    answer_weight: Fraction
    dimensions: Annotated[int, Field(ge=8, le=1024)]
    bf16: bool
    threads: PositiveInt


class Webtext(Section):
    """How many raw web documents the tiny world has, and which share has a fault as a whole."""

    documents: PositiveInt
    fault_share: Fraction
    seed: Count


class CleanText(Section):
    """What a document for pretraining must be; a 0 as the least, or where it says so, switches a filter off."""

    languages: Annotated[list[str], Field(min_length=1)]
    line_filters: list[str]
    min_line_chars: Count
    min_letter_share: Fraction
    max_documents_of_line: Count
    min_chars: Count
    max_chars: PositiveInt
    min_ideograph_share: Fraction
    max_symbol_share: Fraction
    max_repetition: Fraction
    min_stop_share: Fraction
    min_sentence_ends: Fraction
    max_perplexity: Annotated[float, Field(ge=0)]
    min_quality: Fraction
    training_documents: PositiveInt
    max_rejects: Count


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


class Answer(Section):
    """How a model answers an evaluation set."""

    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    do_sample: bool
    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    prompt_format: str
    threads: PositiveInt
    seed: Count


class Judge(Section):
    """Whom to ask for verdicts, and how."""

    base_url: BaseUrl
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)]
    max_tokens: PositiveInt


class Sample(Section):
    """How many answers a model draws to each of how many training prompts, for pairs to be made of."""

    rows: PositiveInt
    answers: Annotated[int, Field(ge=2)]
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    temperature: Annotated[float, Field(gt=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    prompt_format: str
    threads: PositiveInt
    seed: Count


class Prefer(Judge):
    """Whom to ask for verdicts on drawn answers, and by which difference of scores one is better than another.

    ``judge_class`` is the judge's prompt for rows that name no class of their own.
    """

    judge_class: str
    margin: Annotated[float, Field(gt=0, le=1)]


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


# --- about the build, not about any result ----------------------------------------------------------------------


class Pace(Section):
    """How a stage goes about its work. No result depends on it, so a change reruns nothing."""

    in_flight: Annotated[int, Field(ge=1, le=2048)]
    timeout_s: PositiveFloat
    mode: Literal["chat", "batch"]
    save_steps: PositiveInt


class Launch(Section):
    """Where a training on several GPUs runs; no result depends on it beyond float error.

    ``hostfile`` is DeepSpeed's (``node1 slots=8`` a line), or empty for this host; ``remote`` starts a command on a
    host; ``master_address`` is how the others reach the first host, or empty for its name.
    """

    hostfile: str
    remote: Annotated[str, Field(pattern=r"^[^\n]*\S[^\n]*\{host\}[^\n]*$")]
    master_address: Annotated[str, Field(pattern=r"^\S*$")]


class Price(Section):
    """USD per million tokens."""

    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]


class Budget(Section):
    """What all that the ledger holds may cost, and prices that the price table lacks or that differ from it."""

    max_cost_usd: Annotated[float, Field(ge=0)]
    prices: dict[str, Price]


SECTIONS: dict[str, type[Section]] = {
    "corpus": Corpus,
    "evalset": Evalset,
    "generate": Generate,
    "ask": Ask,
    "label": Label,
    "classifier": Classifier,
    "clean": Clean,
    "weigh": Weigh,
    "webtext": Webtext,
    "clean_text": CleanText,
    "base": Base,
    "convert": Convert,
    "unconvert": Unconvert,
    "merge": Merge,
    "vocabulary": Vocabulary,
    "sft": Sft,
    "pretrain": Pretrain,
    "gptq": Gptq,
    "answer": Answer,
    "judge": Judge,
    "sample": Sample,
    "prefer": Prefer,
    "reward": Reward,
    "dpo": Dpo,
    "ppo": Ppo,
}
"""The stages that read settings, and the type of a recipe of theirs."""
