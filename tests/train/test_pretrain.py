from collections import Counter

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.train import lora
from belle.train.mix import Blocks, order, pass_sizes
from belle.train.pretrain import only_embeddings, pretrain
from belle.train.sft import sft
from belle.train.tokens import TEXT, tokenised
from conftest import PRETRAIN, SFT, contents, rows

ADAPTERS = {
    **PRETRAIN, "trains": "adapters", "lora_r": 4,
    "lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "lora_modules_to_save": ["embed_tokens"],
}  # fmt: skip


@pytest.fixture(scope="module")
def texts(world):
    """Two texts: one of questions, and a longer one of answers."""
    folder = world / "texts"
    folder.mkdir()
    jsonl.write(folder / "few.jsonl", [{"text": row["instruction"] * 2} for row in rows()[:20]])
    jsonl.write(folder / "many.jsonl", [{"text": row["output"] * 4} for row in rows()])
    return [folder / "few.jsonl", folder / "many.jsonl"]


@pytest.fixture
def run(tiny_base, texts, tmp_path):
    def go(name="out", settings=PRETRAIN, base=tiny_base, texts=texts, **changes):
        out = tmp_path / name
        pretrain(
            base=base, texts=texts, out=out, checkpoints=tmp_path / "checkpoints", tokens=tmp_path / "tokens",
            curve=tmp_path / f"{name}.csv", **{**settings, **changes},
        )  # fmt: skip
        return out

    return go


# --- the mix ---------------------------------------------------------------------------------------------------


def test_blocks_are_documents_end_to_end(tiny_base, texts, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    found = [tokenised(path, tokenizer, TEXT, tmp_path) for path in texts]
    blocks = Blocks(found, ["few", "many"], 32)
    stream = [token for row in jsonl.read(texts[0]) for token in [*tokenizer.encode(row["text"]), 2]]
    assert blocks.counts[0] == len(stream) // 32
    assert blocks[1].input_ids.tolist() == stream[32:64]
    assert (blocks[1].labels == blocks[1].input_ids).all()
    assert blocks[blocks.counts[0]].input_ids.tolist() == found[1].ids[:32].tolist()
    assert len(blocks) == sum(blocks.counts) == len(blocks.lengths)
    with pytest.raises(InputError, match="fewer than one block of 4000"):
        Blocks(found, ["few", "many"], 4000)


def test_a_pass_keeps_the_ratios_and_repeats_nothing():
    assert pass_sizes([30, 1000], []) == [30, 1000]
    assert pass_sizes([30, 1000], [1, 5]) == [30, 150]
    assert pass_sizes([30, 60], [1, 5]) == [12, 60]
    assert pass_sizes([1000, 2], [1, 100]) == [1, 2], "a text never gets none"
    turn = order([30, 1000], [1, 5], total=6 * 180, seed=3)
    for at in range(6):
        one = turn[at * 180 : (at + 1) * 180]
        assert len(set(one.tolist())) == 180
        assert (one < 30).sum() == 30
    counts = Counter(turn[turn >= 30].tolist())
    assert len(counts) == 900, "each pass has another part of the longer text"
    assert set(counts.values()) == {1}
    assert not np.array_equal(turn[:180], np.sort(turn[:180]))
    assert np.array_equal(turn[:500], order([30, 1000], [1, 5], total=500, seed=3))
    assert not np.array_equal(turn, order([30, 1000], [1, 5], total=6 * 180, seed=4))


def test_a_text_that_is_used_up_starts_again_in_another_order():
    turn = order([7], [], total=21, seed=1)
    passes = [turn[at : at + 7].tolist() for at in (0, 7, 14)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert passes[0] != passes[1]


# --- what is trained -------------------------------------------------------------------------------------------


def changed(before, after):
    one, other = (load_file(path / "model.safetensors") for path in (before, after))
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_everything_learns(run, tiny_base, tmp_path):
    out = run(steps=40)
    assert changed(tiny_base, out) == load_file(tiny_base / "model.safetensors").keys()
    losses = [float(line.split(",")[1]) for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert len(losses) == 40
    assert losses[-1] < losses[0] - 0.3
    assert not (tmp_path / "checkpoints").exists()


def test_embeddings_alone(run, tiny_base):
    assert changed(tiny_base, run(trains="embeddings")) == {"model.embed_tokens.weight"}


def test_adapters_and_embeddings_of_a_tied_model(run, tiny_base):
    out = run(settings=ADAPTERS)
    adapter = load_file(out / "adapter" / "adapter_model.safetensors")
    assert sum("lora_" in name for name in adapter) == 2 * 7 * 2
    assert "model.embed_tokens.weight" in changed(tiny_base, out)
    plain = AutoModelForCausalLM.from_pretrained(out)
    assert plain.lm_head.weight.data_ptr() == plain.get_input_embeddings().weight.data_ptr()
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), out / "adapter")
    ids = torch.arange(5, 25).unsqueeze(0)
    torch.testing.assert_close(plain(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)


def test_both_ends_of_an_untied_model(run, tiny_base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    untied = LlamaForCausalLM(LlamaConfig(**{**model.config.to_dict(), "tie_word_embeddings": False}))
    untied.save_pretrained(tmp_path / "untied")
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path / "untied")
    both = ["embed_tokens", "lm_head"]
    out = run(settings=ADAPTERS, base=tmp_path / "untied", lora_modules_to_save=both)
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= changed(tmp_path / "untied", out)
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "untied"), out / "adapter")
    ids = torch.arange(5, 25).unsqueeze(0)
    merged = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(merged(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)
    only = run("stage1", base=tmp_path / "untied", trains="embeddings")
    assert changed(tmp_path / "untied", only) == {"model.embed_tokens.weight"}


def test_lm_head_of_a_tied_model_is_refused(run):
    with pytest.raises(InputError, match="in this model it is embed_tokens itself"):
        run(settings=ADAPTERS, lora_modules_to_save=["embed_tokens", "lm_head"])


def llama(size: str, vocabulary: int) -> LlamaForCausalLM:
    """LLaMA's published shapes, without weights."""
    hidden, inner, layers, heads = {"7b": (4096, 11008, 32, 32), "13b": (5120, 13824, 40, 40)}[size]
    with torch.device("meta"):
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                num_attention_heads=heads,
            )
        )  # fmt: skip


def trainable(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PAPER = tuple(name for name in SEVEN if name != "o_proj")


def test_the_trained_shares_are_those_that_cla_published():
    model = llama("7b", 49953)
    everything = sum(parameter.numel() for parameter in model.parameters())
    only_embeddings(model)
    assert 100 * trainable(model) / everything == pytest.approx(2.97, abs=0.005)
    ends = ("embed_tokens", "lm_head")
    for vocabulary, modules, share in ((49953, SEVEN[:4], 6.06), (49954, SEVEN, 6.22)):
        adapted = lora.attach(llama("7b", vocabulary), lora.Adapters(8, 32, 0.05, modules, ends))
        adapters = sum(value.numel() for name, value in adapted.named_parameters() if "lora_" in name)
        of = sum(parameter.numel() for parameter in llama("7b", vocabulary).parameters()) + adapters
        assert 100 * trainable(adapted) / of == pytest.approx(share, abs=0.005), "6.06 is without the MLP's modules"


@pytest.mark.parametrize(
    ("size", "r", "modules", "millions"), [("7b", 8, PAPER, 17.9), ("13b", 8, PAPER, 28.0), ("7b", 16, SEVEN, 39.98)]
)
def test_the_adapters_are_as_large_as_belle_published(size, r, modules, millions):
    adapted = lora.attach(llama(size, 32000), lora.Adapters(r, 16, 0.05, modules))
    assert trainable(adapted) / 1e6 == pytest.approx(millions, abs=0.05)


# --- as a stage ------------------------------------------------------------------------------------------------


def test_two_runs_are_equal_byte_for_byte(run):
    assert contents(run("one", ratios=[1, 2])) == contents(run("two", ratios=[1, 2]))


def test_a_pretrained_base_can_be_fine_tuned(run, world, tmp_path):
    base = run(settings=ADAPTERS)
    sft(base=base, data=world / "train.jsonl", out=tmp_path / "m", checkpoints=tmp_path / "c", **SFT)
    assert changed(base, tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trains": "some"}, "must be all, embeddings or adapters, found 'some'"),
        ({"lora_r": 4}, "trains is all, and lora_r 4"),
        ({"ratios": [1]}, "1 ratios for 2 texts"),
        ({"ratios": [1, 0]}, "ratios must be 1 or more"),
        ({"steps": 0}, "neither steps nor num_train_epochs"),
        ({"block_size": 65}, "blocks of 65 tokens for a base that reads 64"),
        ({"quantised_base": 4}, "a base in 4 bits is to be trained in full"),
        ({"bf16": True, "fp16": True}, "bf16 and fp16 are both true"),
    ],
)
def test_settings_that_cannot_be_are_refused(run, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(**changes)
    assert not (tmp_path / "out").exists()


def test_embeddings_that_learnt_nothing_are_refused(run):
    with pytest.raises(BelleError, match="the embeddings are what they were"):
        run(trains="embeddings", learning_rate=0.0)
