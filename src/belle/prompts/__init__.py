"""The prompt formats in use, and how a conversation becomes tokens and labels.

A model must be served with the format it was trained on, so every model folder carries its format as a chat template.
"""

from collections.abc import Sequence
from typing import Protocol

from belle.errors import InputError
from belle.records import Turn

IGNORE = -100
"""The label that the loss passes over."""

PROMPT_FORMATS = {
    "belle": "Human: \n{x}\n\nAssistant: \n",
    "belle-zero-inference": "Human: \n{x}\n\nAssistant:\n",
    "deepspeed-chat": "Human: {x}\n\nAssistant: ",
    "belle-gptq": "Human: {x}\n\nAssistant:",
    "alpaca": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\n{x}\n\n### Response: "
    ),
    "none": "{x}",
}
"""Name → what stands around a human turn ``{x}``. ``belle`` is SFT v2's, ``alpaca`` Chinese-LLaMA-Alpaca's.

``none`` is for texts that hold their markup already, as the files of BELLE's DPO, reward and PPO scripts do."""


class Tokenizer(Protocol):
    """What ``encode`` needs of a Hugging Face tokenizer."""

    eos_token_id: int

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of ``text``."""


def _around(prompt_format: str) -> tuple[str, str]:
    if prompt_format not in PROMPT_FORMATS:
        raise InputError(
            f"there is no prompt format {prompt_format!r}",
            where="prompt_format",
            fix=f"choose one of {', '.join(PROMPT_FORMATS)}",
        )
    before, after = PROMPT_FORMATS[prompt_format].split("{x}")
    return before, after


def _jinja(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def prompt(text: str, prompt_format: str = "belle") -> str:
    """Wrap a human turn as the model sees it, up to where its answer starts."""
    before, after = _around(prompt_format)
    return before + text + after


def chat_template(prompt_format: str = "belle") -> str:
    """Write the Jinja chat template of a format, for a Hugging Face tokenizer.

    It renders exactly what ``encode`` trains: no BOS, EOS after every assistant turn, turns put end to end.
    ``add_generation_prompt`` changes nothing, since a human turn already ends where the answer starts.
    """
    before, after = _around(prompt_format)
    return (
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'user' -%}"
        f"{{{{- {_jinja(before)} + message['content'] + {_jinja(after)} -}}}}"
        "{%- elif message['role'] == 'assistant' -%}"
        "{{- message['content'] + eos_token -}}"
        "{%- else -%}"
        "{{- raise_exception('only the roles user and assistant are known, found ' + message['role']) -}}"
        "{%- endif -%}"
        "{%- endfor -%}"
    )


def encode(
    tokenizer: Tokenizer, turns: Sequence[Turn], cutoff_len: int, prompt_format: str = "belle"
) -> tuple[list[int], list[int]]:
    """Turn a conversation into token ids and labels, as BELLE's SFT v2 does.

    Each turn is encoded apart and without BOS; human tokens get the label ``IGNORE``; every assistant turn ends with a
    trained EOS; what is past ``cutoff_len`` tokens is cut off on the right.

    Returns:
        input_ids and labels, both [T], T ≤ cutoff_len. The labels of a row whose first answer lies past the cut are all
        ``IGNORE``: such a row teaches nothing.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    for turn in turns:
        if turn.role == "human":
            ids = tokenizer.encode(prompt(turn.text, prompt_format), add_special_tokens=False)
            labels += [IGNORE] * len(ids)
        else:
            ids = [*tokenizer.encode(turn.text, add_special_tokens=False), tokenizer.eos_token_id]
            labels += ids
        input_ids += ids
    return input_ids[:cutoff_len], labels[:cutoff_len]
