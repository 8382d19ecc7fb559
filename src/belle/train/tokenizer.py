"""The tiny world's tokenizer: one token per character, bytes for what it never saw, no normalisation."""

from collections import Counter
from io import BytesIO
from pathlib import Path

import sentencepiece
from transformers import LlamaTokenizer

from belle.errors import InputError
from belle.prompts import chat_template

BYTES = 256
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
"""Ids 0 to 3, as in LLaMA, and one for padding."""


def train_tokenizer(texts: list[str], folder: Path, vocab_size: int) -> LlamaTokenizer:
    """Train a sentencepiece model on ``texts``, write it to ``folder/tokenizer.model`` and return it for transformers.

    Any text comes back unchanged from encoding and decoding (but ``▁``, sentencepiece's own sign for a space).

    Args:
        vocab_size: The most tokens it may have; fewer characters in the texts make it smaller.

    Raises:
        InputError: no room for the special tokens, the 256 bytes and one character.
    """
    room = vocab_size - len(SPECIAL) - BYTES
    if room < 1:
        raise InputError(
            f"{vocab_size} where at least {len(SPECIAL) + BYTES + 1} tokens are needed",
            where="base.vocab_size",
            fix="raise it: 4 special tokens and 256 bytes come before the first character",
        )
    counts = Counter(character for text in texts for character in text)
    kept = set(sorted(counts, key=lambda character: (-counts[character], character))[:room])
    trained = BytesIO()  # a file's path would be written into the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("".join(filter(kept.__contains__, text)) for text in texts),
        model_writer=trained,
        model_type="bpe",
        max_sentencepiece_length=1,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_whitespace=False,
        max_sentence_length=1 << 20,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        num_threads=1,
        minloglevel=2,
    )
    path = folder / "tokenizer.model"
    path.write_bytes(trained.getvalue())
    return load_tokenizer(path)


def load_tokenizer(path: Path) -> LlamaTokenizer:
    """Load a one-token-per-character sentencepiece model as transformers' LLaMA tokenizer, with the same ids."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return LlamaTokenizer(
        vocab={pieces.id_to_piece(index): index for index in range(pieces.get_piece_size())},
        merges=[],
        **dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL, strict=True)),
        add_bos_token=False,
        add_prefix_space=False,
        chat_template=chat_template("belle"),
    )
