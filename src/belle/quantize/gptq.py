"""Stage ``gptq``: the weights of a model in a few bits, by GPTQ (arXiv 2210.17323) through gptqmodel."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from gptqmodel import GPTQModel, QuantizeConfig
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.files import atomic_folder, require_file
from belle.records import Turn, turns

MIN_TOKENS = 10
"""Shorter rows tell too little about the activations; gptqmodel passes them over."""

CALIBRATION_BATCH = 16
"""Rows a forward pass of the calibration."""

ROLES = {"human": "user", "assistant": "assistant"}


def render(tokenizer: PreTrainedTokenizerBase, conversation: list[Turn], max_length: int) -> list[int]:
    """Token ids of a conversation in the model's own chat template, cut off on the right at ``max_length``."""
    messages = [{"role": ROLES[turn.role], "content": turn.text} for turn in conversation]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)[:max_length]


def calibration(
    data: Path, tokenizer: PreTrainedTokenizerBase, *, rows: int, max_length: int, seed: int
) -> list[dict[str, list[int]]]:
    """Draw ``rows`` training rows by ``seed`` (all, if there are fewer) and encode them for gptqmodel.

    Raises:
        InputError: no row has at least ``MIN_TOKENS`` tokens.
    """
    conversations = [
        turns(row, f"{data}, row {number}") for number, row in enumerate(jsonl.read(data, "calibration rows"), 1)
    ]
    order = np.random.default_rng(seed).permutation(len(conversations)).tolist()
    drawn: list[dict[str, list[int]]] = []
    for index in order:
        if len(drawn) == rows:
            break
        ids = render(tokenizer, conversations[index], max_length)
        if len(ids) >= MIN_TOKENS:
            drawn.append({"input_ids": ids, "attention_mask": [1] * len(ids)})
    if not drawn:
        raise InputError(
            f"none of its {len(conversations)} rows has {MIN_TOKENS} tokens to calibrate on",
            where=str(data),
            cause="an empty file, or gptq.calibration_max_length is too small",
            fix="give the clean training data, and a calibration_max_length of at least a few dozen",
        )
    return drawn


def check_source(model: Path, group_size: int) -> None:
    """Refuse what GPTQ cannot take, before any work.

    Raises:
        InputError: no config.json, weights that are quantised already, or a width that does not
            part into groups.
    """
    config = json.loads(require_file(model / "config.json", "model to quantise").read_text(encoding="utf-8"))
    if "quantization_config" in config:
        raise InputError("the model is quantised already", where=str(model), fix="give the model it was made from")
    for key in ("hidden_size", "intermediate_size"):
        width = config.get(key)
        if group_size > 0 and isinstance(width, int) and width % group_size:
            raise InputError(
                f"{key} {width} does not part into groups of {group_size}",
                where="gptq.group_size",
                fix="choose a group_size that divides it, or -1 for one group a row",
            )


def check(folder: Path) -> None:
    """Hold a quantised folder to its contract: packed weights in it, and no matrix of a layer left as it was.

    Raises:
        BelleError: a layer was not quantised.
    """
    packed, left = 0, []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                packed += name.endswith(".qweight")
                in_layer = any(part.isdecimal() for part in name.split("."))
                if in_layer and name.endswith(".weight") and len(file.get_slice(name).get_shape()) == 2:
                    left.append(name)
    if left or not packed:
        raise BelleError(
            f"not quantised: {', '.join(left[:3])}" if left else "no packed weight was written",
            where="gptq",
            cause="an architecture that gptqmodel quantises only in part",
            fix="look at the stage's log for the modules that gptqmodel skipped",
        )


def gptq(
    *,
    model: Path,
    data: Path,
    out: Path,
    bits: int,
    group_size: int,
    desc_act: bool,
    damp_percent: float,
    calibration_rows: int,
    calibration_max_length: int,
    seed: int,
    threads: int,
) -> None:
    """Quantise the linear layers of ``model`` and write to ``out`` what transformers and gptqmodel load.

    Bits and group size go into ``config.json`` and ``quantize_config.json`` with the weights; the
    chat template is kept.

    Args:
        data: Training rows, JSON Lines; a sample of them, in the model's own chat template, is the calibration.
        bits: 2, 3, 4 or 8.
        group_size: Input channels that share a scale; -1 for all.
        desc_act: Quantise channels in falling order of activation (slower to serve).
        damp_percent: Share of the Hessian's mean diagonal that is added to it, in (0, 1).
        calibration_max_length: Longest calibration row in tokens.

    Raises:
        InputError: the model or the data cannot be used.
        BelleError: a layer was not quantised.
    """
    check_source(model, group_size)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    if not tokenizer.chat_template:
        raise InputError(
            "its tokenizer has no chat template",
            where=str(model),
            cause="a base model, which was trained on no prompts",
            fix="quantise a fine-tuned model",
        )
    rows = calibration(data, tokenizer, rows=calibration_rows, max_length=calibration_max_length, seed=seed)
    settings = QuantizeConfig(
        bits=bits,
        group_size=group_size,
        desc_act=desc_act,
        damp_percent=damp_percent,
        offload_to_disk=False,  # else a random path of this machine lands in the config files
        pack_impl="original",  # the default compiles C++ for most of a minute, and packs the same bytes
    )
    quantised = GPTQModel.load(
        str(model),
        settings,
        device="cuda:0" if torch.cuda.is_available() else "cpu",
        dtype=torch.float16 if torch.cuda.is_available() else torch.float32,
    )
    quantised.quantize(rows, batch_size=CALIBRATION_BATCH, calibration_data_min_length=MIN_TOKENS)
    with atomic_folder(out) as unfinished:
        quantised.save(str(unfinished))
        (unfinished / "quant_log.csv").unlink(missing_ok=True)  # holds times
        tokenizer.save_pretrained(unfinished)
        for name in ("generation_config.json", "tokenizer.model", "chat_template.jinja", "tokenizer_config.json"):
            if (model / name).is_file():
                shutil.copyfile(model / name, unfinished / name)
        check(unfinished)
