"""LLaMA as Meta publishes it: params.json and model-parallel shards, and how it stands to Hugging Face's layout.

Each ``consolidated.NN.pth`` holds a slice of every matrix, cut by output rows or by input columns, and the norms whole.
Query and key rows stand so that rotary embedding turns neighbouring pairs (0, 1), (2, 3), …; in Hugging Face's it turns
(0, d/2), (1, d/2 + 1), …, so their rows are put in that order. Names follow Meta's ``llama/model.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from belle.errors import InputError
from belle.weights.meta_folder import EMBEDDINGS, NORM, PARAMS, check_layout, open_shards, read_params
from belle.weights.tensors import Spec

HEAD = "output.weight"
OF_LAYER = {
    "attention.wq": ("self_attn.q_proj", 0), "attention.wk": ("self_attn.k_proj", 0),
    "attention.wv": ("self_attn.v_proj", 0), "attention.wo": ("self_attn.o_proj", 1),
    "feed_forward.w1": ("mlp.gate_proj", 0), "feed_forward.w2": ("mlp.down_proj", 1),
    "feed_forward.w3": ("mlp.up_proj", 0),
    "attention_norm": ("input_layernorm", None), "ffn_norm": ("post_attention_layernorm", None),
}  # fmt: skip
"""Meta's name in a layer → Hugging Face's, and the dimension that shards cut: None where each holds the whole."""


@dataclass(frozen=True)
class Shape:
    """A LLaMA's sizes; ``intermediate`` is the width of its feed-forward layers, ``vocabulary`` its tokens."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    intermediate: int
    vocabulary: int
    norm_eps: float
    rope_theta: float

    @property
    def head_dim(self) -> int:
        """The width of a head."""
        return self.dim // self.n_heads

    def rows(self, key: str) -> tuple[int, int]:
        """The whole shape of a layer's matrix, [out, in]."""
        heads, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        return {
            "attention.wq": (heads, self.dim), "attention.wk": (kv, self.dim), "attention.wv": (kv, self.dim),
            "attention.wo": (self.dim, heads), "feed_forward.w1": (self.intermediate, self.dim),
            "feed_forward.w2": (self.dim, self.intermediate), "feed_forward.w3": (self.intermediate, self.dim),
        }[key]  # fmt: skip


def intermediate_size(dim: int, multiple_of: int, multiplier: float | None) -> int:
    """The feed-forward width that params.json stands for: two thirds of 4 × dim, rounded up."""
    hidden = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        hidden = int(multiplier * hidden)
    return multiple_of * ((hidden + multiple_of - 1) // multiple_of)


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key matrix [heads · d, in] from Hugging Face's order to Meta's."""
    rows, width = weight.shape
    return weight.view(heads, 2, rows // heads // 2, width).transpose(1, 2).reshape(rows, width)


def halved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key matrix [heads · d, in] from Meta's order to Hugging Face's."""
    rows, width = weight.shape
    return weight.view(heads, rows // heads // 2, 2, width).transpose(1, 2).reshape(rows, width)


class MetaModel:
    """A folder of Meta's, every claim of which is checked before a value is used.

    Args:
        folder: holds ``params.json`` and ``consolidated.NN.pth``.
        tokens: how many tokens the tokenizer has; params.json says -1 in LLaMA's first release.

    Raises:
        InputError: shards missing or of two models, params.json or tokenizer of another model, a folder of another
            layout, a file that is damaged or would run code.
    """

    def __init__(self, folder: Path, tokens: int) -> None:
        self.folder = Path(folder)
        check_layout(self.folder)
        params = read_params(self.folder / PARAMS)
        self.shards = open_shards(self.folder, params["dim"])
        self._check_alike()
        self.shape = self._shape(params, tokens)
        self._check_split()
        self._check_norms()

    @property
    def dtype(self) -> torch.dtype:
        """The type of its matrices."""
        return self.shards[0].specs[EMBEDDINGS].dtype

    def spec(self, key: str) -> Spec:
        """The whole tensor's type and shape."""
        part = self.shards[0].specs[key]
        cut = self.cut(key)
        shape = list(part.shape)
        if cut is not None:
            shape[cut] *= len(self.shards)
        return Spec(part.dtype, tuple(shape))

    def cut(self, key: str) -> int | None:
        """The dimension that shards cut a tensor along."""
        if key == HEAD:
            return 0
        if key == NORM:
            return None
        if key == EMBEDDINGS:  # by columns in LLaMA 1 and 2, by rows since
            return 0 if self.shards[0].specs[key].shape[1] == self._dim else 1
        return OF_LAYER[key.split(".", 2)[2].removesuffix(".weight")][1]

    def whole(self, key: str) -> torch.Tensor:
        """One tensor put together from all shards; at most twice its size is in memory."""
        cut = self.cut(key)
        parts = [shard.get(key) for shard in (self.shards if cut is not None else self.shards[:1])]
        return torch.cat(parts, dim=cut) if len(parts) > 1 and cut is not None else parts[0]

    def _check_alike(self) -> None:
        first = self.shards[0]
        for shard in self.shards[1:]:
            for name in sorted(first.specs.keys() | shard.specs.keys()):
                here, there = first.specs.get(name), shard.specs.get(name)
                if here != there:
                    raise InputError(
                        f"shards of two models: {name} is {here or 'not there'} in {first.path.name} and "
                        f"{there or 'not there'} in {shard.path.name}",
                        where=str(self.folder),
                        cause="shards of different sizes or releases in one folder",
                        fix="put one model's shards and its params.json into a folder of their own",
                    )

    def _shape(self, params: dict[str, Any], tokens: int) -> Shape:
        specs, where = self.shards[0].specs, str(self.folder)
        layers = {int(name.split(".")[1]) for name in specs if name.startswith("layers.")}
        wanted = {f"layers.{i}.{key}.weight" for i in range(params["n_layers"]) for key in OF_LAYER}
        wanted |= {EMBEDDINGS, HEAD, NORM}
        missing = sorted(wanted - specs.keys())
        strange = sorted(name for name in specs.keys() - wanted if not name.endswith("rope.freqs"))
        if len(layers) != params["n_layers"]:
            raise _wrong_params(where, f"n_layers {params['n_layers']}", f"{len(layers)} layers")
        if missing or strange:
            raise InputError(
                "not a LLaMA of Meta's: "
                + (f"{missing[0]} is missing" if missing else f"{strange[0]} belongs to no LLaMA"),
                where=str(self.shards[0].path),
                cause="another architecture, or a checkpoint that was changed",
                fix="name the folder that Meta published",
            )
        self._dim = specs[NORM].shape[0]
        if params["dim"] != self._dim:
            raise _wrong_params(where, f"dim {params['dim']}", f"norms of {self._dim}")
        heads, kv = params["n_heads"], params.get("n_kv_heads") or params["n_heads"]
        if params["dim"] % (2 * heads) or heads % kv:
            raise _wrong_params(where, f"{heads} heads ({kv} for keys and values)", f"a width of {params['dim']}")
        shape = Shape(
            dim=params["dim"],
            n_layers=params["n_layers"],
            n_heads=heads,
            n_kv_heads=kv,
            intermediate=intermediate_size(params["dim"], params["multiple_of"], params.get("ffn_dim_multiplier")),
            vocabulary=tokens,
            norm_eps=float(params["norm_eps"]),
            rope_theta=float(params.get("rope_theta", 10000.0)),
        )
        turns = [spec.shape[0] for name, spec in specs.items() if name.endswith("rope.freqs")]
        if turns and turns[0] != shape.head_dim // 2:
            raise _wrong_params(
                where, f"{heads} heads of {shape.head_dim}", f"rotary frequencies of heads of {2 * turns[0]}"
            )
        return shape

    def _check_split(self) -> None:
        """Matrices must add up, over the shards that are here, to what params.json says."""
        shape, here = self.shape, len(self.shards)
        rows = self.shards[0].specs["layers.0.attention.wq.weight"].shape[0]
        should = shape.n_heads * shape.head_dim // rows if rows else 0
        if should != here or rows * here != shape.n_heads * shape.head_dim:
            if should > here:
                names = [f"consolidated.{number:02d}.pth" for number in range(should)]
                lost = [name for name in names if not (self.folder / name).is_file()]
                raise InputError(
                    f"{here} shard(s) of {should}: {', '.join(lost)} missing",
                    where=str(self.folder),
                    cause="a download that was stopped, or shards in other folders",
                    fix="download the missing shards beside the others",
                )
            raise InputError(
                f"{here} shards, and each holds {rows} of the {shape.n_heads * shape.head_dim} rows of a query matrix",
                where=str(self.folder),
                cause="a params.json or shards of another model",
                fix="put one model's shards and its params.json into a folder of their own",
            )
        for key in ("attention.wk", "attention.wv", "attention.wo", "feed_forward.w1", "feed_forward.w2"):
            found, meant = self.spec(f"layers.0.{key}.weight").shape, shape.rows(key)
            if found != meant:
                raise _wrong_params(
                    str(self.folder),
                    f"{key} of {meant[0]} × {meant[1]} (multiple_of, ffn_dim_multiplier, n_kv_heads)",
                    f"{key} of {found[0]} × {found[1]}",
                )
        for key in (EMBEDDINGS, HEAD):
            found = self.spec(key).shape
            if found != (shape.vocabulary, shape.dim):
                raise InputError(
                    f"the tokenizer has {shape.vocabulary:,} tokens, {key} has {found[0]:,} rows of {found[1]:,}",
                    where=str(self.folder),
                    cause="a tokenizer of another model (LLaMA has 32,000 tokens, Chinese-LLaMA 49,953)"
                    if found[1] == shape.dim
                    else "a damaged or foreign shard",
                    fix="name the tokenizer.model that was published with these shards",
                )

    def _check_norms(self) -> None:
        """The norms stand whole in every shard, so shards of two models of one size show in them."""
        for shard in self.shards[1:]:
            for key in (NORM, "layers.0.attention_norm.weight"):
                here, there = self.shards[0].get(key).float(), shard.get(key).float()
                if not torch.allclose(here, there, rtol=1e-2, atol=1e-3):
                    raise InputError(
                        f"shards of two models: {key} is the same in all shards of one model, and differs by up to "
                        f"{float((here - there).abs().max()):.3g} between {self.shards[0].path.name} and "
                        f"{shard.path.name}",
                        where=str(self.folder),
                        cause="shards of two releases of one size in one folder",
                        fix="download the shards of one release again",
                    )


def _wrong_params(where: str, said: str, found: str) -> InputError:
    return InputError(
        f"{PARAMS} says {said}, the shards hold {found}",
        where=where,
        cause="the params.json of a model of another size",
        fix="copy the params.json that was published with these shards",
    )
