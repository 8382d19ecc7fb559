"""What every training by the Hugging Face Trainer is told, under the same names whatever the stage.

A stage takes these as keywords (PEP 692), so that they stand once and are still checked by type. Like keywords of a
function, one that is missing or unknown is a TypeError.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast


class Settings(TypedDict):
    """How a training runs, whatever it trains.

    The batch and its accumulation are meant for ``devices``, and run on ``processes``; ``cpu`` leaves GPUs alone.
    ``adam_beta2`` is the decay of AdamW's second moment (upstream leaves it at 0.999), ``deepspeed`` the path of a
    DeepSpeed settings file, or "", ``save_steps`` the optimizer steps between checkpoints; ``bf16`` and ``fp16`` say
    what to compute and write in, float32 where both are false. Without ``group_by_length`` a batch holds any rows.
    """

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    lr_scheduler_type: str
    warmup_ratio: float
    weight_decay: float
    adam_beta2: float
    bf16: bool
    gradient_checkpointing: bool
    deepspeed: str
    save_steps: int
    threads: int
    seed: int
    fp16: NotRequired[bool]
    group_by_length: NotRequired[bool]
    devices: NotRequired[int]
    processes: NotRequired[int]
    cpu: NotRequired[bool]


class AdapterSettings(TypedDict):
    """LoRA: rank 0 trains every weight; ``lora_modules_to_save`` are trained as they are beside the adapters."""

    lora_r: int
    lora_alpha: int
    lora_dropout: float
    lora_target_modules: list[str]
    lora_modules_to_save: NotRequired[list[str]]


class AdaptedSettings(Settings, AdapterSettings):
    """Those of a training that may put adapters on."""


class PairSettings(Settings):
    """Those of a training on pairs of answers.

    ``max_length`` is the longest prompt with an answer in tokens, ``max_prompt_length`` the longest prompt with its
    format: pairs with longer ones are passed over. The pairs of a share ``held_out`` of the prompts are not trained on.
    """

    prompt_format: str
    max_length: int
    max_prompt_length: int
    num_train_epochs: float
    held_out: float


class AdaptedPairSettings(PairSettings, AdapterSettings):
    """Those of a training on pairs that may put adapters on."""


DEFAULTS: Settings = cast(
    Settings, {"fp16": False, "group_by_length": True, "devices": 1, "processes": 1, "cpu": False}
)
"""What need not be said."""


def own_settings(given: Mapping[str, Any], kind: Any) -> Settings:
    """Take the settings of the Trainer's run out of a stage's keywords.

    Args:
        kind: The class of the keywords, which must all be there and no others.

    Raises:
        TypeError: one is missing or unknown, as with any function's.
    """
    missing, unknown = kind.__required_keys__ - given.keys(), given.keys() - kind.__annotations__.keys()
    if missing or unknown:
        word = "missing" if missing else "unexpected"
        raise TypeError(f"{word} keyword argument(s): {', '.join(sorted(missing or unknown))}")
    own = {name: given[name] for name in Settings.__annotations__ if name in given}
    return cast(Settings, {**DEFAULTS, **own})
