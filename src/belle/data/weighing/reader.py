"""A base model that reads rows, one at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle.data.weighing.parts import Part
from belle.errors import BelleError, InputError
from belle.files import sha256_of

States = npt.NDArray[np.float64]

_POSITIONS = 128
"""Positions whose chances over the vocabulary are held in full precision at a time."""
_PARTS_OF_A_MODEL = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt")


@dataclass(frozen=True)
class Read:
    """What reading a row gives.

    Attributes:
        losses: Sums of the negative log-likelihood in nats, of all tokens and of the answer's [2].
        counts: How many tokens each is the sum of [2].
        states: The mean hidden state of the question's tokens and of the answer's [2, hidden]; zeros for no token.
        windows: In how many pieces the row was read.
    """

    losses: tuple[float, float]
    counts: tuple[int, int]
    states: States
    windows: int


class Reader:
    """Reads rows with a causal language model, on the GPU where there is one.

    Each row is read by itself, never in a batch with others: sums of floating-point numbers are split by a batch's
    shape, so a row's numbers would depend on its neighbours in the last bits, and a set with one row more would differ
    everywhere. A row longer than ``max_length`` tokens is read in consecutive pieces that know nothing of each other.

    Args:
        base: A Hugging Face model folder.
        layer: Whose states are given; 0 are the embeddings.
        bf16: Read in bfloat16, as far as the device can; log-likelihoods are taken in float32 in any case.

    Raises:
        InputError: it is no such folder, or has fewer layers or a shorter context.
    """

    def __init__(self, base: Path, *, max_length: int, layer: int, bf16: bool, threads: int) -> None:
        config = _config(base)
        _check(base, config, max_length, layer)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        # a row may be longer than a piece of it; the tokenizer's warning about that would be for nothing
        self._tokenizer.model_max_length = 1 << 60
        self._model = (
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if bf16 else torch.float32)
            .eval()
            .to(self._device)
        )
        self._length, self._layer = max_length, layer
        opening = self._tokenizer.encode("", add_special_tokens=True)[:1]
        self._opening = opening if opening == [self._tokenizer.bos_token_id] else []
        embeddings = self._model.get_input_embeddings().weight
        self.hidden = int(embeddings.shape[1] if layer == 0 else self._model.config.hidden_size)

    def device(self) -> str:
        """What it reads on, and with which libraries: what its numbers depend on besides the model and the settings."""
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        return f"{self._device.type} {name} torch {torch.__version__} transformers {transformers.__version__}"

    def read(self, parts: Sequence[Part], where: str) -> Read:
        """Read a row.

        Raises:
            BelleError: the model gives no number for it.
        """
        ids, answers = list[int](), list[bool]()
        for part in parts:
            found = self._tokenizer.encode(part.text, add_special_tokens=False)
            ids += found
            answers += [part.answer] * len(found)
        losses, counts, sums, tokens = [0.0, 0.0], [0, 0], np.zeros((2, self.hidden)), [0, 0]
        room = self._length - len(self._opening)
        windows = range(0, len(ids), room)
        for start in windows:
            piece, of_answer = ids[start : start + room], np.array(answers[start : start + room], np.bool_)
            each, states = self._forward(piece)
            first = len(piece) - len(each)  # without an opening token the first is not predicted
            for kind, chosen in ((0, slice(None)), (1, of_answer[first:])):
                losses[kind] += math.fsum(each[chosen].tolist())
                counts[kind] += len(each[chosen])
            for kind, which in ((0, ~of_answer), (1, of_answer)):
                sums[kind] += states[which].sum(axis=0)
                tokens[kind] += int(which.sum())
        if not (math.isfinite(losses[0]) and np.isfinite(sums).all()):
            raise BelleError(
                f"the model gives {losses[0]} as the loss of this row",
                where=where,
                cause="weights that hold NaN, or a model that is too large for its precision",
                fix="read in bfloat16 or float32 (`bf16`), or look at the model",
            )
        means = sums / np.maximum(np.array(tokens), 1)[:, None]
        return Read((losses[0], losses[1]), (counts[0], counts[1]), means, len(windows))

    @torch.inference_mode()
    def _forward(self, piece: list[int]) -> tuple[npt.NDArray[np.float64], States]:
        """The loss of each token that is predicted, and the states of all tokens [L, hidden]."""
        ids = torch.tensor([self._opening + piece], device=self._device)
        out = self._model(input_ids=ids, use_cache=False, output_hidden_states=True)
        logits, following = out.logits[0, :-1], ids[0, 1:]
        losses = [np.zeros(0)]
        for start in range(0, len(following), _POSITIONS):
            chances = torch.log_softmax(logits[start : start + _POSITIONS].float(), dim=-1)
            chosen = chances.gather(1, following[start : start + _POSITIONS, None])[:, 0]
            losses.append(-chosen.double().cpu().numpy())
        states = out.hidden_states[self._layer][0, len(self._opening) :]
        return np.concatenate(losses), states.float().cpu().numpy().astype(np.float64)


def digest_of(base: Path) -> dict[str, str]:
    """The SHA-256 of each file of a model folder that a reading depends on."""
    names = sorted({path for pattern in _PARTS_OF_A_MODEL for path in base.glob(pattern)})
    return {path.name: sha256_of(path) for path in names}


def _config(base: Path) -> dict[str, Any]:
    path = base / "config.json"
    if not path.is_file():
        raise InputError(
            "no config.json in it",
            where=str(base),
            cause="a wrong path, or a base that is not built or fetched yet",
            fix="build it with `snakemake`, or check its path",
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(
            "no JSON object", where=str(path), cause="a damaged copy", fix="build or fetch the model again"
        )
    return found


def _first(config: dict[str, Any], *names: str) -> int | None:
    """The first of some keys that is there: BLOOM, GPT-2 and LLaMA call the same things by different names."""
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), None)


def _check(base: Path, config: dict[str, Any], max_length: int, layer: int) -> None:
    context = _first(config, "max_position_embeddings", "n_positions", "seq_length")
    if context is not None and max_length > context:
        raise InputError(
            f"weigh.max_length is {max_length}, its context {context} tokens",
            where=str(base),
            fix=f"lower max_length to {context}; longer rows are read in pieces",
        )
    layers = _first(config, "num_hidden_layers", "n_layer", "num_layers")
    if layers is not None and layer > layers:
        raise InputError(
            f"weigh.layer is {layer}, it has {layers} layers",
            where=str(base),
            fix=f"choose 0 (the embeddings) to {layers}",
        )
