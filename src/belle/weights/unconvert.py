"""Stage ``unconvert``: a LLaMA of Hugging Face's becomes Meta's shards, as the tiny world's source for ``convert``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from belle.errors import InputError
from belle.files import atomic_file, atomic_folder
from belle.weights import hf
from belle.weights.meta import EMBEDDINGS, HEAD, NORM, OF_LAYER, PARAMS, interleaved, intermediate_size
from belle.weights.target import check_space, check_target
from belle.weights.tokenizer import FILE


def unconvert(*, model: Path, out: Path, shards: int) -> None:
    """Write ``consolidated.NN.pth``, ``params.json`` and ``tokenizer.model`` as Meta lays them out.

    Embeddings are cut by columns, as in LLaMA's first release. One shard is in memory at a time.

    Args:
        model: A LLaMA folder; one with tied embeddings gets them written twice, for Meta's layout ties none.
        shards: How many parts its matrices are cut into.

    Raises:
        InputError: another architecture, no tokenizer.model, or sizes that do not part into so many shards.
    """
    source = hf.HFModel(model)
    config = source.config
    if config.get("model_type") != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
        raise InputError(
            f"a model of type {config.get('model_type')!r} (biases: {bool(config.get('attention_bias'))})",
            where=str(model), cause="another architecture than LLaMA", fix="name a LLaMA without biases",
        )  # fmt: skip
    if not (model / FILE).is_file():
        raise InputError(f"no {FILE} in it", where=str(model), cause="a tokenizer of another kind", fix="add it")
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads") or heads
    sizes = {name: config[name] for name in ("hidden_size", "intermediate_size", "vocab_size")}
    for name, size in {"heads": heads, "heads for keys and values": kv, **sizes}.items():
        if size % shards:
            raise InputError(
                f"{size} {name} do not part into {shards} shards",
                where="unconvert.shards", cause="more shards than the model's sizes allow",
                fix="choose a number that divides the heads, the widths and the vocabulary",
            )  # fmt: skip
    check_target(out, sources=[model])
    check_space(out, source.tensors.bytes)
    places = {EMBEDDINGS: hf.EMBEDDINGS, NORM: "model.norm.weight", HEAD: hf.EMBEDDINGS if source.tied else hf.HEAD}
    for layer in range(config["num_hidden_layers"]):
        places |= {
            f"layers.{layer}.{key}.weight": f"model.layers.{layer}.{name}.weight" for key, (name, _) in OF_LAYER.items()
        }
    with atomic_folder(out) as folder:
        for shard in range(shards):
            part = {}
            for key, name in places.items():
                value = source.tensors.get(name)
                if key.endswith(("wq.weight", "wk.weight")):
                    value = interleaved(value, heads if key.endswith("wq.weight") else kv)
                cut = {EMBEDDINGS: 1, HEAD: 0, NORM: None}.get(key, 0)
                if key.startswith("layers."):
                    cut = OF_LAYER[key.split(".", 2)[2].removesuffix(".weight")][1]
                part[key] = (value if cut is None else value.chunk(shards, dim=cut)[shard]).clone()
            part["rope.freqs"] = _frequencies(config)
            torch.save(part, folder / f"consolidated.{shard:02d}.pth")
        with atomic_file(folder / PARAMS) as file:
            file.write(json.dumps(_params(config)) + "\n")
        shutil.copyfile(model / FILE, folder / FILE)


def _frequencies(config: dict) -> torch.Tensor:
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    return 1.0 / (_theta(config) ** (torch.arange(half).float() / half))


def _theta(config: dict) -> float:
    parameters = config.get("rope_parameters") or {}
    return float(parameters.get("rope_theta") or config.get("rope_theta") or 10000.0)


def _params(config: dict) -> dict:
    dim, intermediate = config["hidden_size"], config["intermediate_size"]
    params = {
        "dim": dim, "multiple_of": 256, "n_heads": config["num_attention_heads"],
        "n_layers": config["num_hidden_layers"], "norm_eps": config["rms_norm_eps"], "vocab_size": -1,
    }  # fmt: skip
    if config.get("num_key_value_heads", params["n_heads"]) != params["n_heads"]:
        params["n_kv_heads"] = config["num_key_value_heads"]
    if _theta(config) != 10000.0:
        params["rope_theta"] = _theta(config)
    if intermediate_size(dim, 256, None) != intermediate:
        params["multiple_of"] = intermediate
        if intermediate_size(dim, intermediate, None) != intermediate:
            params["ffn_dim_multiplier"] = intermediate / int(2 * (4 * dim) / 3)
    return params
