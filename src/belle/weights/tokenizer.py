"""A sentencepiece model as the fast tokenizer of a model folder, with the same ids for the same text.

Sentencepiece's BPE merges, again and again, the neighbours whose piece scores highest. A fast tokenizer knows pairs
instead of pieces, so every way to cut a piece into two pieces becomes a merge, ranked by the piece's score. Text goes
in as in sentencepiece: spaces become ``▁``, one more in front where the model says so, even before a space.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from belle.errors import InputError
from belle.files import atomic_file, open_input

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE, UNUSED = 1, 2, 3, 4, 6, 5
"""Types of pieces, as sentencepiece's format numbers them."""
BPE_MODEL = 2
SPACE = "▁"
FILE = "tokenizer.model"


def read_model(path: Path) -> ModelProto:
    """Read a sentencepiece model that a LLaMA tokenizer can be made of.

    Raises:
        InputError: it is none, no BPE with byte fallback, or changes text in a way that LLaMA's does not.
    """
    with open_input(path, "tokenizer") as file:
        data = file.read()
    model = ModelProto()
    try:
        if not model.ParseFromString(data) or not model.pieces:
            raise ValueError
        SentencePieceProcessor(model_proto=data)
    except Exception:  # protobuf and sentencepiece have errors of their own
        raise InputError(
            f"not a sentencepiece model ({len(data):,} bytes)",
            where=str(path),
            cause="a Git LFS pointer" if data.startswith(b"version https://git-lfs") else "a damaged or foreign file",
            fix="download tokenizer.model again",
        ) from None
    faults = []
    if model.trainer_spec.model_type != BPE_MODEL:
        faults.append("it is no BPE")
    if not any(piece.type == BYTE for piece in model.pieces):
        faults.append("it has no pieces for bytes")
    normal = model.normalizer_spec
    if normal.precompiled_charsmap or normal.remove_extra_whitespaces or not normal.escape_whitespaces:
        faults.append("it changes characters or spaces (normalisation other than `identity`)")
    if model.trainer_spec.treat_whitespace_as_suffix:
        faults.append("it puts spaces behind words")
    if faults:
        raise InputError(
            "; ".join(faults),
            where=str(path),
            cause="the tokenizer of another family than LLaMA's",
            fix="take a LLaMA-shaped base: BPE, byte fallback, normalization_rule_name=identity",
        )
    return model


def write_model(model: ModelProto, folder: Path) -> None:
    """Write ``tokenizer.model``: the same bytes for the same pieces."""
    (folder / FILE).write_bytes(model.SerializeToString(deterministic=True))


def special(model: ModelProto) -> dict[str, str]:
    """The pieces that open, close, pad and stand for the unknown, by transformers' names."""
    spec = model.trainer_spec
    places = {"unk_token": spec.unk_id, "bos_token": spec.bos_id, "eos_token": spec.eos_id, "pad_token": spec.pad_id}
    return {name: model.pieces[at].piece for name, at in places.items() if 0 <= at < len(model.pieces)}


def merges(model: ModelProto) -> list[tuple[str, str]]:
    """Every pair that merges into a piece, the highest score first."""
    normal = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    pairs = [
        (-score, len(piece[:cut]), piece[:cut], piece[cut:])
        for piece, score in normal.items()
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]
    return [(left, right) for _, _, left, right in sorted(pairs)]


def fast_tokenizer(model: ModelProto, *, add_bos_token: bool = False, extra: dict[str, int] | None = None) -> Tokenizer:
    """The fast tokenizer of a sentencepiece model.

    Args:
        add_bos_token: put BOS in front where special tokens are asked for.
        extra: tokens beyond the model's pieces, with their ids.
    """
    vocabulary = {piece.piece: index for index, piece in enumerate(model.pieces)}
    tokenizer = Tokenizer(
        BPE(vocab=vocabulary, merges=merges(model), fuse_unk=True, byte_fallback=True, unk_token=None)
    )
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    spaces: list[Any] = [normalizers.Replace(" ", SPACE)]
    if model.normalizer_spec.add_dummy_prefix:
        spaces.insert(0, normalizers.Prepend(SPACE))
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(spaces)
    tokenizer.decoder = decoders.Sequence(steps)
    for piece in model.pieces:
        if piece.type in (CONTROL, USER_DEFINED, UNKNOWN):
            token = AddedToken(piece.piece, normalized=False, special=piece.type != USER_DEFINED)
            (tokenizer.add_tokens if piece.type == USER_DEFINED else tokenizer.add_special_tokens)([token])
    for text, _ in sorted((extra or {}).items(), key=lambda item: item[1]):
        tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True)])
    names = special(model)
    if add_bos_token and "bos_token" in names:
        bos = names["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", f"{bos}:1", "$B:1"], special_tokens=[(bos, vocabulary[bos])]
        )
    return tokenizer


def write_tokenizer(
    tokenizer: Tokenizer, special_tokens: dict[str, str], folder: Path, *, longest: int, before: Path | None = None
) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into ``folder``.

    Args:
        longest: the most tokens that the model can read.
        before: a folder whose tokenizer this one takes over: its post-processor and chat template are kept.
    """
    text = json.loads(tokenizer.to_str())
    if before and (before / "tokenizer.json").is_file():
        text["post_processor"] = json.loads((before / "tokenizer.json").read_text(encoding="utf-8"))["post_processor"]
    if before and (before / "chat_template.jinja").is_file():
        template = (before / "chat_template.jinja").read_text(encoding="utf-8")
        with atomic_file(folder / "chat_template.jinja") as file:
            file.write(template)
    with atomic_file(folder / "tokenizer.json") as file:
        file.write(json.dumps(text, ensure_ascii=False, indent=2) + "\n")
    # The generic class reads tokenizer.json as it stands; LLaMA's own would put its handling of spaces in its place.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "padding_side": "left",
        "model_max_length": longest, "model_input_names": ["input_ids", "attention_mask"], **special_tokens,
    }  # fmt: skip
    with atomic_file(folder / "tokenizer_config.json") as file:
        file.write(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def tokens_of(folder: Path) -> int | None:
    """How many tokens the tokenizer in a folder has; None where it has none.

    Raises:
        InputError: the files of a tokenizer cannot be read.
    """
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            value = json.loads(path.read_text(encoding="utf-8"))
            listed = value["model"]["vocab"]
            ids = [*(listed.values() if isinstance(listed, dict) else range(len(listed)))]
            return max([*ids, *(item["id"] for item in value["added_tokens"])]) + 1
        path = folder / "added_tokens.json"
        extra = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "not a tokenizer's file", where=str(path), cause="a damaged download", fix="download it again"
        ) from None
    if not (folder / FILE).is_file():
        return None
    return max([len(read_model(folder / FILE).pieces) - 1, *extra.values()]) + 1
