"""Stage ``convert``: LLaMA as Meta publishes it becomes a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig

from belle.errors import InputError
from belle.files import atomic_folder
from belle.weights.memory import PROCESS, check_memory
from belle.weights.meta import HEAD, OF_LAYER, MetaModel, halved
from belle.weights.meta_folder import EMBEDDINGS, NORM, check_layout
from belle.weights.shards import Planned, write_shards
from belle.weights.target import check_space, check_target
from belle.weights.tensors import Spec
from belle.weights.tokenizer import FILE, fast_tokenizer, read_model, special, write_model, write_tokenizer

COPIES = 3
"""How often the largest tensor is in memory at once: put together, turned, and looked at."""


def convert(*, source: Path, tokenizer: Path | None, out: Path, context_length: int, max_shard_gb: float) -> None:
    """Write Meta's shards as safetensors, with config and tokenizers, tensor by tensor.

    Values and types stay as they are; query and key rows are put into Hugging Face's rotary order. Memory: ``COPIES``
    times the largest tensor above the process itself, whatever the model's size.

    Args:
        source: The folder of ``consolidated.NN.pth`` and ``params.json``.
        tokenizer: ``tokenizer.model``; None for the one in ``source``.
        context_length: Tokens that the model was trained to read; params.json does not say (LLaMA 2048, Llama 2 4096).
        max_shard_gb: Size of a safetensors file at most, 10⁹ bytes.

    Raises:
        InputError: missing shards, shards of two models, a params.json or tokenizer of another model, a folder that is
            Hugging Face's, a damaged file.
        BelleError: too little memory or disk, or values that are NaN or infinite.
    """
    pieces_path = tokenizer or source / FILE
    if not tokenizer and source.is_dir() and not pieces_path.is_file() and (source.parent / FILE).is_file():
        raise InputError(
            f"no {FILE} in it, but one in the folder above",
            where=str(source),
            cause="Meta publishes one tokenizer beside the folders of its models",
            fix=f"name it: `tokenizer: [{source.parent / FILE}]` in the base's entry of params.yaml",
        )
    check_layout(source)  # before the tokenizer: a folder of another kind has another one, or none
    model = read_model(pieces_path)
    meta = MetaModel(source, len(model.pieces))
    planned = list(_planned(meta))
    check_target(out, sources=[source])
    check_memory(PROCESS + COPIES * max(item.spec.bytes for item in planned), "convert")
    check_space(out, sum(item.spec.bytes for item in planned))
    names = special(model)
    ids = {name: [piece.piece for piece in model.pieces].index(text) for name, text in names.items()}
    with atomic_folder(out) as folder:
        config(meta, context_length, ids).save_pretrained(folder)
        GenerationConfig(**{f"{name.split('_')[0]}_token_id": at for name, at in ids.items() if name != "unk_token"}
                         ).save_pretrained(folder)  # fmt: skip
        write_model(model, folder)
        write_tokenizer(fast_tokenizer(model, add_bos_token=True), names, folder, longest=context_length)
        write_shards(folder, planned, max_shard_gb, "convert")


def config(meta: MetaModel, context_length: int, ids: dict[str, int]) -> LlamaConfig:
    """The config of a LLaMA of Meta's."""
    shape = meta.shape
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=shape.vocabulary,
        hidden_size=shape.dim,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        max_position_embeddings=context_length,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        bos_token_id=ids.get("bos_token"),
        eos_token_id=ids.get("eos_token"),
        pad_token_id=ids.get("pad_token"),
        tie_word_embeddings=False,
        dtype=meta.dtype,
    )


def _planned(meta: MetaModel) -> Iterator[Planned]:
    """Every tensor but the rotary frequencies, which follow from the config."""
    shape = meta.shape
    yield _one(meta, EMBEDDINGS, "model.embed_tokens.weight")
    heads = {"attention.wq": shape.n_heads, "attention.wk": shape.n_kv_heads}
    for layer in range(shape.n_layers):
        for key, (name, _) in OF_LAYER.items():
            yield _one(meta, f"layers.{layer}.{key}.weight", f"model.layers.{layer}.{name}.weight", heads.get(key))
    yield _one(meta, NORM, "model.norm.weight")
    yield _one(meta, HEAD, "lm_head.weight")


def _one(meta: MetaModel, key: str, name: str, heads: int | None = None) -> Planned:
    spec: Spec = meta.spec(key)
    return Planned(name, spec, partial(_made, meta, key, heads))


def _made(meta: MetaModel, key: str, heads: int | None) -> torch.Tensor:
    value = meta.whole(key)
    return halved(value, heads) if heads else value
