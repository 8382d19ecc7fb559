import json

import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaTokenizer

from belle import jsonl
from belle.errors import InputError
from belle.train.base import base, blocks, read_corpus
from belle.train.tokenizer import train_tokenizer
from conftest import BASE, contents

TEXTS = ["你好，世界。", "猫在山里吗？", "Human: Assistant: 0123456789"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """The trained sentencepiece model by itself, in transformers, and in transformers after a trip to the disk."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = train_tokenizer(TEXTS, folder, 400)
    tokenizer.save_pretrained(folder)
    alone = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return alone, tokenizer, AutoTokenizer.from_pretrained(folder)


def test_a_known_text_has_one_token_per_character(tokenizers):
    for tokenizer in tokenizers[1:]:
        assert len(tokenizer.encode("你好 Human", add_special_tokens=False)) == 8


def test_the_special_ids_are_llamas(tokenizers):
    for tokenizer in tokenizers[1:]:
        assert isinstance(tokenizer, LlamaTokenizer)
        assert (tokenizer.unk_token_id, tokenizer.bos_token_id) == (0, 1)
        assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 3)


@given(st.text(alphabet=st.sampled_from("你好世界龘🎉é aZ0,\n\t")) | st.text(st.characters(exclude_categories=["Cs"])))
def test_ids_agree_and_every_text_comes_back(tokenizers, text):
    text = text.replace("▁", "").replace("\0", "")  # sentencepiece's space, and the end of its strings
    alone, *others = tokenizers
    ids = alone.encode(text)
    assert alone.decode(ids) == text
    for tokenizer in others:
        assert tokenizer.encode(text, add_special_tokens=False) == ids
        assert tokenizer.decode(ids) == text


def test_a_full_vocabulary_keeps_the_commonest_characters(tmp_path):
    tokenizer = train_tokenizer(["一一一一二二二三"], tmp_path, 262)
    assert len(tokenizer) == 262
    assert len(tokenizer.encode("一二", add_special_tokens=False)) == 2
    assert len(tokenizer.encode("三", add_special_tokens=False)) == 3, "bytes"


def test_a_vocabulary_without_room_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least 261"):
        train_tokenizer(TEXTS, tmp_path, 260)


def test_blocks_are_text_and_eos_end_to_end(tokenizers):
    tokenizer = tokenizers[1]
    stream = [*tokenizer.encode(TEXTS[0]), 2, *tokenizer.encode(TEXTS[1]), 2]
    found = blocks(TEXTS[:2], tokenizer, 4)
    assert [example.input_ids.tolist() for example in found] == [stream[at : at + 4] for at in (0, 4, 8)]
    assert all((example.labels == example.input_ids).all() for example in found)


def test_a_corpus_shorter_than_a_block_is_refused(tokenizers):
    with pytest.raises(InputError, match="14 tokens"):
        blocks(TEXTS[:2], tokenizers[1], 64)


def test_a_corpus_is_lines_or_rows_with_text(tmp_path):
    lines = tmp_path / "corpus.txt"
    lines.write_text("一\n\n二\n", encoding="utf-8")
    rows = tmp_path / "corpus.jsonl"
    jsonl.write(rows, [{"text": "一\n二"}, {"text": "三"}])
    assert read_corpus(lines) == ["一", "二"]
    assert read_corpus(rows) == ["一\n二", "三"]
    jsonl.write(rows, [{"txt": "一"}])
    with pytest.raises(InputError, match="row 1"):
        read_corpus(rows)
    lines.write_text("\n \n")
    with pytest.raises(InputError, match="no text"):
        read_corpus(lines)


def test_heads_that_do_not_fit_are_refused_before_any_work(world, tmp_path):
    with pytest.raises(InputError, match="3 heads"):
        base(
            corpus=world / "corpus.txt",
            out=tmp_path / "out",
            checkpoints=tmp_path / "checkpoints",
            **{**BASE, "num_attention_heads": 3},
        )
    assert not list(tmp_path.iterdir())


def test_two_builds_are_equal_byte_for_byte(world, tiny_base, tmp_path):
    base(corpus=world / "corpus.txt", out=tmp_path / "again", checkpoints=tmp_path / "checkpoints", **BASE)
    assert contents(tmp_path / "again") == contents(tiny_base)
    assert not (tmp_path / "checkpoints").exists()


def test_the_folder_holds_a_llama_and_nothing_of_this_machine(tiny_base, world):
    assert set(contents(tiny_base)) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert not any(str(world).encode() in value for value in contents(tiny_base).values())
    config = json.loads((tiny_base / "config.json").read_text())
    assert config["model_type"] == "llama"
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert model.get_input_embeddings().weight.shape == (config["vocab_size"], BASE["hidden_size"])
    assert config["vocab_size"] == len(AutoTokenizer.from_pretrained(tiny_base))
    assert model.dtype == torch.float32
