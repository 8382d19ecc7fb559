"""A larger vocabulary: the base's part stays as it was, two tokenizers agree, new rows are means, fewer tokens."""

import json
import os
import random
import shutil
import subprocess
import sys

import llama_world
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.weights import vocabulary as module
from belle.weights.vocabulary import vocabulary
from conftest import SFT, contents

VOCABULARY = {"pieces": 3000, "character_coverage": 0.9995, "max_piece_chars": 16, "sentences": 0, "held_out": 100,
              "pad_token": "", "max_shard_gb": 5.0, "seed": 1}  # fmt: skip
PAD = {"pad_token": "[PAD]"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Chinese that was written for this project: the seed tasks and the evaluation questions."""
    from trials.worlds import ROOT

    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    texts = []
    for row in jsonl.read(ROOT / "data/seeds/seed_tasks.jsonl"):
        texts += [row["instruction"], *(part for item in row["instances"] for part in item.values())]
    for row in jsonl.read(ROOT / "data/eval/real.jsonl"):
        texts.append(row["question"])
    jsonl.write(path, ({"id": f"d-{number}", "text": text} for number, text in enumerate(texts) if text.strip()))
    return path


def llama(folder, tokenizer, *, tied=False, dtype=torch.float32, rows=0):
    folder.mkdir()
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    count = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).get_piece_size()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=rows or count, max_position_embeddings=64, tie_word_embeddings=tied, dtype=dtype, **sizes
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A tokenizer as LLaMA's is: made of English, with a character or two of Chinese."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    llama_world.tokenizer(path, 400)
    return path


def expand(tmp_path, base, corpus, name="out", **changed):
    files = {"out": tmp_path / name, "report": tmp_path / f"{name}.json", "page": tmp_path / f"{name}.md"}
    vocabulary(base=base, text=corpus, **files, **{**VOCABULARY, **changed})
    return files["out"], json.loads(files["report"].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(tmp_path_factory, pieces, corpus):
    """A LLaMA-like base, what it became, and the report."""
    folder = tmp_path_factory.mktemp("made")
    base = llama(folder / "base", pieces)
    return base, *expand(folder, base, corpus)


def proto(folder):
    model = ModelProto()
    model.ParseFromString((folder / "tokenizer.model").read_bytes())
    return model


def test_the_base_s_part_stays_and_the_new_comes_below_it(made):
    base, out, report = made
    old, new = proto(base), proto(out)
    assert list(new.pieces[: len(old.pieces)]) == list(old.pieces)
    assert new.normalizer_spec == old.normalizer_spec
    added = new.pieces[len(old.pieces) :]
    assert len(added) == report["pieces"]["new"] == report["pieces"]["total"] - report["pieces"]["base"] > 2000
    scores = [min(piece.score for piece in old.pieces), *(piece.score for piece in added)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert {piece.type for piece in added} == {1}
    assert len({piece.piece for piece in new.pieces}) == len(new.pieces)
    assert new.trainer_spec.byte_fallback
    assert new.trainer_spec.vocab_size == len(new.pieces)
    assert json.loads((out / "config.json").read_text())["vocab_size"] == len(new.pieces)


def test_what_the_base_writes_with_its_own_it_goes_on_writing_so(made):
    base, out, _ = made
    before, after = (sentencepiece.SentencePieceProcessor(model_file=str(at / "tokenizer.model")) for at in (base, out))
    for text in llama_world.SENTENCES[:5]:
        pieces_before, pieces_after = before.encode(text, out_type=str), after.encode(text, out_type=str)
        assert len(pieces_after) <= len(pieces_before)
        ends, at = set(), 0
        for piece in pieces_before:
            at += len(piece)
            ends.add(at)
        at = 0
        for piece in pieces_after:  # new pieces join whole old ones, and cut none
            at += len(piece)
            assert at in ends, (text, pieces_before, pieces_after)


def test_both_tokenizers_write_the_same_ids(made, corpus):
    _, out, _ = made
    slow = sentencepiece.SentencePieceProcessor(model_file=str(out / "tokenizer.model"))
    fast = AutoTokenizer.from_pretrained(out)
    texts = [row["text"] for row in jsonl.read(corpus)]
    draw = random.Random(5)
    letters = [*"".join(texts), *" ▁\n\t\r\u3000🙂👍🏽é한あ𠮷\u200b", *" " * 300]
    mixed = ["".join(draw.choices(letters, k=draw.randint(1, 40))) for _ in range(3000)]
    runs = [draw.choice(letters) * draw.randint(2, 9) + draw.choice(texts)[:5] for _ in range(500)]
    for text in [*texts, *mixed, *runs, *module.HARD]:
        ids = slow.encode(text)
        assert fast.encode(text, add_special_tokens=False) == ids, text
        if "▁" not in text:
            assert slow.decode(ids) == text == fast.decode(ids), text
    assert fast.padding_side == "left"


def test_it_takes_fewer_tokens_on_lines_that_it_was_not_trained_on(made, corpus):
    _, out, report = made
    lines = report["held_out"]
    assert lines["lines"] == 100
    assert lines["after"]["tokens_a_character"] < 0.5 * lines["before"]["tokens_a_character"]
    assert lines["after"]["byte_tokens"] < 0.1 * lines["before"]["byte_tokens"]
    assert lines["after"]["tokens_a_line"] == pytest.approx(lines["after"]["tokens"] / 100, abs=0.01)
    assert report["pieces"]["never_written"] < 0.02 * report["pieces"]["new"]
    page = (out.parent / "out.md").read_text(encoding="utf-8")
    assert f"| out | {report['pieces']['total']:,} | {lines['after']['tokens_a_character']:.3f} |" in page


def test_held_out_lines_are_not_trained_on(corpus):
    from belle.weights.pieces import lines_of, part

    every = list(lines_of(corpus))
    parted = part(corpus, 100, 0, 1)
    assert len(set(parted.held_out)) == 100
    assert set(parted.held_out) <= set(every)
    training = list(parted.training())
    assert not set(training) & set(parted.held_out)
    assert training == [text for text in every if text not in set(parted.held_out)]
    half = part(corpus, 100, len(training) // 2, 1)
    some = list(half.training())
    assert half.held_out == parted.held_out
    assert 0.4 * len(training) < len(some) < 0.6 * len(training)
    assert part(corpus, 100, 0, 2).held_out != parted.held_out


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_new_rows_are_the_means_of_what_they_replace(tmp_path, pieces, corpus, tied, dtype):
    base = llama(tmp_path / "base", pieces, tied=tied, dtype=dtype)
    out, report = expand(tmp_path, base, corpus, max_shard_gb=1e-5)
    assert len(list(out.glob("*.safetensors"))) > 1
    before, after = (AutoModelForCausalLM.from_pretrained(at) for at in (base, out))
    assert after.dtype == dtype
    count = report["pieces"]["base"]
    old = proto(base)
    ids = {piece.piece: number for number, piece in enumerate(old.pieces)}
    looked_at = 0
    for number, piece in enumerate(proto(out).pieces[count:], count):
        if any(character in ids for character in piece.piece) or "▁" in piece.piece:
            continue
        split = [ids[f"<0x{byte:02X}>"] for byte in piece.piece.encode()]  # nothing of it is in the base but bytes
        looked_at += 1
        for matrix in ("get_input_embeddings", "get_output_embeddings"):
            rows = getattr(before, matrix)().weight[split].float()
            found = getattr(after, matrix)().weight[number].float()
            assert torch.allclose(found, rows.mean(0), atol=1e-3 if dtype == torch.float16 else 1e-6)
    assert looked_at > 300
    assert (after.lm_head.weight.data_ptr() == after.model.embed_tokens.weight.data_ptr()) == tied
    x = torch.arange(3, 60)[None]
    with torch.inference_mode():
        assert torch.equal(after.eval()(x).logits[..., :count], before.eval()(x).logits), (
            "old tokens in, old logits out"
        )


def test_a_pad_as_chinese_alpaca_has(tmp_path, pieces, corpus):
    base = llama(tmp_path / "base", pieces)
    plain, report = expand(tmp_path, base, corpus, name="plain")
    out, padded = expand(tmp_path, base, corpus, **PAD)
    total = report["pieces"]["total"]
    assert padded["pieces"]["total"] == total + 1
    assert padded["pieces"]["pad"] == 1
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, len(tokenizer)) == ("[PAD]", total, total + 1)
    assert proto(out).pieces[-1].type == 3
    config = json.loads((out / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (total + 1, total)
    state, before = load_file(out / "model.safetensors"), load_file(base / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(state[name][:-1], load_file(plain / "model.safetensors")[name])
        assert torch.allclose(state[name][-1], before[name].mean(0), atol=1e-6)
    slow = sentencepiece.SentencePieceProcessor(model_file=str(out / "tokenizer.model"))
    assert slow.encode("[PAD]") == sentencepiece.SentencePieceProcessor(
        model_file=str(plain / "tokenizer.model")).encode("[PAD]")  # fmt: skip
    batch = tokenizer(["你好", "今天天气很好"], padding=True, add_special_tokens=False)
    assert batch["input_ids"][0][0] == total
    with pytest.raises(InputError, match=r"pad_token '<pad2>', and the base has '\[PAD\]' already"):
        expand(tmp_path, out, corpus, name="again", **{"pad_token": "<pad2>"})


def test_the_same_bytes_whatever_the_hash_seed(tmp_path, made, corpus):
    base, out, _ = made
    code = (
        "import sys; from pathlib import Path; from belle.weights.vocabulary import vocabulary; import json;"
        "base, text, folder = map(Path, sys.argv[1:4]);"
        "vocabulary(base=base, text=text, out=folder / 'out', report=folder / 'out.json', page=folder / 'out.md',"
        " **json.loads(sys.argv[4]))"
    )
    arguments = [sys.executable, "-c", code, base, corpus, tmp_path, json.dumps(VOCABULARY)]
    subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": "77", "LC_ALL": "C"})
    assert contents(tmp_path / "out") == contents(out)
    assert (tmp_path / "out.json").read_bytes() == (out.parent / "out.json").read_bytes()
    assert str(base).encode() not in b"".join(contents(out).values())


def test_the_tiny_world_s_base_grows_and_can_be_trained(tmp_path, world, tiny_base):
    """Its tokenizer is one token a character and has a pad; the expanded one has merges, and its chat template."""
    from belle.train.sft import sft

    out, report = expand(tmp_path, tiny_base, world / "corpus.txt", pieces=120, held_out=8, max_piece_chars=4)
    assert report["held_out"]["before"]["tokens_a_character"] == 1.0
    assert report["held_out"]["after"]["tokens_a_character"] < 0.7
    tokenizer, old = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(tiny_base)
    assert tokenizer.chat_template == old.chat_template
    assert tokenizer.model_max_length == old.model_max_length
    for name in ("unk_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(tokenizer, name) == getattr(old, name)
    assert tokenizer("猫", add_special_tokens=True).input_ids == old("猫", add_special_tokens=True).input_ids
    sft(base=out, data=world / "train.jsonl", out=tmp_path / "model", checkpoints=tmp_path / "c",
        **{**SFT, "num_train_epochs": 1.0})  # fmt: skip
    trained = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "猫在山里吗？ 狗在林里"
    assert trained.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)
    assert len(trained.encode(text, add_special_tokens=False)) < len(text)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.get_input_embeddings().weight.shape[0] == report["pieces"]["total"] == len(trained)
    assert (tmp_path / "model" / "tokenizer.model").read_bytes() == (out / "tokenizer.model").read_bytes()


def refused(tmp_path, base, text, error=InputError, **changed) -> str:
    with pytest.raises(error) as caught:
        expand(tmp_path, base, text, name="refused", **changed)
    assert not list(tmp_path.glob("refused*"))
    assert not list(tmp_path.glob(".refused*"))
    return str(caught.value)


def test_bases_that_cannot_grow(tmp_path, pieces, corpus):
    base = llama(tmp_path / "base", pieces)
    (base / "tokenizer.model").unlink()
    assert "no tokenizer.model in it" in refused(tmp_path, base, corpus)
    other = llama(tmp_path / "rows", pieces, rows=410)
    message = refused(tmp_path, other, corpus)
    assert "has 400 pieces" in message
    assert "have 410 rows" in message
    extra = llama(tmp_path / "extra", pieces)
    (extra / "added_tokens.json").write_text('{"[PAD]": 400}', encoding="utf-8")
    assert "the tokenizer 401 tokens" in refused(tmp_path, extra, corpus)
    meta = llama_world.write(tmp_path / "meta", llama_world.params(), llama_world.weights(llama_world.params(), 400), 1)
    assert "a folder in Meta's layout" in refused(tmp_path, meta, corpus)
    renamed = llama(tmp_path / "renamed", pieces)
    state = load_file(renamed / "model.safetensors")
    save_file({name.replace("embed_tokens", "wte"): value for name, value in state.items()},
              renamed / "model.safetensors")  # fmt: skip
    assert "no model.embed_tokens.weight in it" in refused(tmp_path, renamed, corpus)
    broken = llama(tmp_path / "broken", pieces)
    state["model.norm.weight"][1] = float("inf")
    save_file(state, broken / "model.safetensors")
    assert "model.norm.weight holds 1 values" in refused(tmp_path, broken, corpus, BelleError)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "unigram"}, "it is no BPE"),
        ({"byte_fallback": False}, "it has no pieces for bytes"),
        ({"normalization_rule_name": "nmt_nfkc"}, "it changes characters or spaces"),
        ({"remove_extra_whitespaces": True}, "it changes characters or spaces"),
    ],
)
def test_tokenizers_of_other_families(tmp_path, pieces, corpus, settings, said):
    import io

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(llama_world.SENTENCES * 30), model_writer=written, minloglevel=2,
        **{"model_type": "bpe", "vocab_size": 400, "hard_vocab_limit": False, "byte_fallback": True,
           "normalization_rule_name": "identity", "remove_extra_whitespaces": False, **settings},
    )  # fmt: skip
    base = llama(tmp_path / "base", pieces)
    (base / "tokenizer.model").write_bytes(written.getvalue())
    assert said in refused(tmp_path, base, corpus)


def test_corpora_that_cannot_be_used(tmp_path, made, corpus):
    base, out, _ = made
    path = tmp_path / "corpus.txt"
    assert "there is no such file" in refused(tmp_path, base, path)
    path.write_text("一行\n" * 500, encoding="utf-8")
    assert "500 lines, of which 100 are to be held out" in refused(tmp_path, base, path)
    path.write_bytes("你好\n".encode("gb18030") * 500)
    assert "GB18030" in refused(tmp_path, base, path)
    rows = tmp_path / "rows.jsonl"
    jsonl.write(rows, ({"instruction": "你好", "output": "好"} for _ in range(300)))
    assert "`text` must be text, found None" in refused(tmp_path, base, rows)
    assert "sentencepiece makes no 40 pieces of it" in refused(tmp_path, base, corpus, pieces=40)
    assert "is new to the base" in refused(tmp_path, out, corpus), "the same once more"


def test_tokenizers_that_differ_keep_nothing(tmp_path, made, corpus, monkeypatch):
    base, _, _ = made
    monkeypatch.setattr(
        module, "fast_tokenizer", lambda model: module.Tokenizer.from_file(str(base / "tokenizer.json"))
    )
    from belle.weights import tokenizer

    fast = tokenizer.fast_tokenizer(tokenizer.read_model(base / "tokenizer.model"))
    fast.save(str(tmp_path / "other.json"))
    monkeypatch.setattr(
        module, "fast_tokenizer", lambda model: module.Tokenizer.from_file(str(tmp_path / "other.json"))
    )
    assert "the fast tokenizer as" in refused(tmp_path, base, corpus, BelleError)
