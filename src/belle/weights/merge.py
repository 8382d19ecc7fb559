"""Stage ``merge``: a base and LoRA adapters, in order, become one model; tensor by tensor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from belle.errors import InputError
from belle.files import atomic_folder
from belle.weights import hf
from belle.weights.adapter import Adapter
from belle.weights.hf import EMBEDDINGS, HEAD, HFModel
from belle.weights.memory import PROCESS, check_memory
from belle.weights.shards import Planned, write_shards
from belle.weights.target import check_space, check_target
from belle.weights.tensors import Spec
from belle.weights.tokenizer import FILE, fast_tokenizer, read_model, special, tokens_of, write_model, write_tokenizer

WIDE = 4
"""Bytes of a value while it is summed: float32."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class Merge:
    """What a merge will write, checked against the base before any of it is made."""

    def __init__(self, base: HFModel, adapters: list[Adapter], dtype: str) -> None:
        self.base, self.adapters = base, adapters
        self.dtype = DTYPES.get(dtype)
        self.changes: dict[str, list[Adapter]] = {}
        self.replaced: dict[str, Adapter] = {}
        for adapter in adapters:
            self._place(adapter)
        self.tied = base.tied and not self._changed(HEAD) and not self._changed(EMBEDDINGS)
        self.names = [name for name in base.tensors if name != HEAD or not base.tied]
        if base.tied and not self.tied:
            self.names.append(HEAD)  # the head stays what it was, or has become a matrix of its own
        self._check_vocabulary()

    def _changed(self, name: str) -> bool:
        return name in self.changes or name in self.replaced

    def _place(self, adapter: Adapter) -> None:
        """Find the base's name for everything that an adapter changes; a later one goes on from an earlier one."""
        for name in adapter.whole:
            found = self._placed(name, adapter)
            self.replaced[found] = adapter
            self.changes.pop(found, None)
        for name in adapter.pairs:
            self.changes.setdefault(self._placed(name, adapter), []).append(adapter)

    def _placed(self, name: str, adapter: Adapter) -> str:
        found = self._find(name)
        if found is None:
            near = ", ".join(sorted({key.split(".")[-2] for key in self.base.tensors if key.count(".") > 2})[:12])
            raise InputError(
                f"the base has no {name}",
                where=adapter.name,
                cause=f"an adapter of another architecture or depth (this base has {near})",
                fix=f"merge it into {adapter.config.get('base_model_name_or_path') or 'the base of its training'}",
            )
        return found

    def _find(self, target: str) -> str | None:
        return HEAD if target == HEAD and self.base.tied else self.base.find(target)

    def source(self, name: str) -> Spec:
        """Type and shape of a tensor as it comes in: the base's, or that of the adapter that replaces it."""
        if name in self.replaced:
            adapter = self.replaced[name]
            return adapter.tensors.specs[self._own(adapter, name)]
        return self.base.tensors.specs[EMBEDDINGS if name == HEAD and self.base.tied else name]

    def _own(self, adapter: Adapter, name: str) -> str:
        return next(own for target, own in adapter.whole.items() if self._find(target) == name)

    def spec(self, name: str) -> Spec:
        """Type and shape of a tensor as it is written."""
        base = self.base.tensors.specs.get(name) or self.base.tensors.specs[EMBEDDINGS]
        dtype = self.dtype if self.dtype and base.dtype.is_floating_point else base.dtype
        return Spec(dtype, self.source(name).shape)

    def make(self, name: str) -> torch.Tensor:
        """One merged tensor: summed in float32 over all adapters, rounded once."""
        if name in self.replaced:
            adapter = self.replaced[name]
            value = adapter.tensors.get(self._own(adapter, name))
        else:
            value = self.base.tensors.get(EMBEDDINGS if name == HEAD and self.base.tied else name)
        if name in self.changes:
            value = value.to(torch.float32, copy=True)
            for adapter in self.changes[name]:
                target = next(own for own in adapter.pairs if self._find(own) == name)
                adapter.add_to(value, target)
        return value.to(self.spec(name).dtype)

    @property
    def memory(self) -> int:
        """Bytes that are in memory at most, above the process itself: a tensor as it is, wide, and rounded."""

        def of(name: str) -> int:
            source, made = self.source(name), self.spec(name)
            wide = WIDE * source.numel if name in self.changes else 0
            return source.bytes + wide + made.bytes

        return max(of(name) for name in self.names)

    @property
    def tokenizer_folder(self) -> Path:
        """Where the merged model's tokenizer comes from: the last adapter that has one, or the base."""
        with_one = [adapter.tokenizer_folder for adapter in self.adapters if adapter.tokenizer_folder]
        return with_one[-1] if with_one else self.base.folder

    def _check_vocabulary(self) -> None:
        if EMBEDDINGS not in self.base.tensors:
            return
        rows, head = self.source(EMBEDDINGS).shape[0], self.source(HEAD).shape[0]
        base_rows = self.base.tensors.specs[EMBEDDINGS].shape[0]
        folder = self.tokenizer_folder
        tokens = tokens_of(folder)
        kept = EMBEDDINGS not in self.replaced
        if rows != head:
            raise InputError(
                f"the embeddings would have {rows:,} rows, the head {head:,}",
                where=self.replaced.get(EMBEDDINGS, self.replaced.get(HEAD, self.adapters[-1])).name,
                cause="an adapter that holds one of the two for a larger vocabulary",
                fix="merge an adapter whose modules_to_save are both embed_tokens and lm_head",
            )
        for name in (EMBEDDINGS, HEAD):
            if self.source(name).shape[1] != self.base.tensors.specs[EMBEDDINGS].shape[1]:
                raise InputError(
                    f"{name} is {self.source(name)} in the adapter, the base is "
                    f"{self.base.tensors.specs[EMBEDDINGS].shape[1]} wide",
                    where=self.replaced[name].name, cause="an adapter of a model of another size",
                    fix="merge it into the base that it was trained on",
                )  # fmt: skip
        if tokens is None or tokens == rows or (kept and tokens < rows):
            return
        said = f"the tokenizer in {folder} has {tokens:,} tokens, the merged embeddings would have {rows:,} rows"
        if kept:
            raise InputError(
                f"{said} (those of the base, {base_rows:,})",
                where=self.base.tensors.path.as_posix(),
                cause="an adapter of a model with a larger vocabulary (Chinese-LLaMA has 49,953 tokens, Chinese-Alpaca "
                "49,954 with its pad, LLaMA 32,000), merged into the smaller base",
                fix="name the base that has that vocabulary, or merge the adapter that brings the embeddings before it",
            )
        raise InputError(
            said,
            where=self.replaced[EMBEDDINGS].name,
            cause="the tokenizer of another release (Chinese-LLaMA has 49,953 tokens, Chinese-Alpaca 49,954 with its "
            "pad)",
            fix="put the tokenizer that was published with this adapter beside it",
        )


def merge(*, base: Path, adapters: list[Path], out: Path, dtype: str, max_shard_gb: float, threads: int) -> None:
    """Write the model that ``base`` becomes with all ``adapters``, the first first, as a Hugging Face folder.

    Sums are float32 whatever the types, over all adapters, and rounded once: as peft's ``merge_and_unload`` in float32.
    Modules that an adapter holds whole replace what was there; the tokenizer is the last that an adapter brings.

    Args:
        adapters: Folders of LoRA adapters, or of models that keep theirs in ``adapter/``.
        dtype: ``base`` (that of each tensor), ``float16``, ``bfloat16`` or ``float32``.
        max_shard_gb: Size of a safetensors file at most, 10⁹ bytes.

    Raises:
        InputError: an adapter that is empty, changes nothing, is of another base or of another kind; vocabularies that
            do not fit each other.
        BelleError: too little memory or disk, or merged values that are NaN or infinite.
    """
    if not adapters:
        raise InputError("no adapter is named", where="merge", fix="name at least one under `adapters:`")
    torch.set_num_threads(threads)
    model = HFModel(base)
    merged = Merge(model, [Adapter(path) for path in adapters], dtype)
    planned = [Planned(name, merged.spec(name), partial(merged.make, name)) for name in merged.names]
    check_target(out, sources=[base, *adapters])
    check_memory(PROCESS + merged.memory, "merge")
    check_space(out, sum(item.spec.bytes for item in planned))
    with atomic_folder(out) as folder:
        hf.write_config(folder, _config(merged))
        hf.copy_generation_config(base, folder)
        _tokenizer(merged, folder)
        write_shards(folder, planned, max_shard_gb, "merge")


def _config(merged: Merge) -> dict[str, Any]:
    config = dict(merged.base.config)
    config["tie_word_embeddings"] = merged.tied
    if EMBEDDINGS in merged.base.tensors:
        config["vocab_size"] = merged.source(EMBEDDINGS).shape[0]
    if merged.dtype:
        config["torch_dtype" if "torch_dtype" in config else "dtype"] = str(merged.dtype).removeprefix("torch.")
    return config


def _tokenizer(merged: Merge, folder: Path) -> None:
    """Copy the tokenizer; one that is a sentencepiece model alone (as Chinese-LLaMA-Alpaca's) gets its fast form."""
    source = merged.tokenizer_folder
    hf.copy_tokenizer(source, folder)
    if (source / "tokenizer.json").is_file() or not (source / FILE).is_file():
        return
    model = read_model(source / FILE)
    extra = hf.added_tokens(source)
    names = special(model) | hf.special_tokens(source)
    write_model(model, folder)
    tokenizer = fast_tokenizer(model, add_bos_token=True, extra=extra)
    write_tokenizer(tokenizer, names, folder, longest=merged.base.longest)
