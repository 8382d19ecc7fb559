import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle import jsonl
from belle.errors import BelleError, InputError
from belle.prompts import IGNORE
from belle.train import checkpoints, folder, trainer
from belle.train.batches import Example, Ordered, stack
from belle.train.sft import chosen, read_examples, sft
from conftest import SFT, contents

LORA = {**SFT, "lora_r": 4}


@pytest.fixture
def run(world, tiny_base, tmp_path):
    """Fine-tune the tiny base on the tiny rows with some settings changed."""

    def go(name="out", data=world / "train.jsonl", settings=SFT, **changes):
        out = tmp_path / name
        sft(base=tiny_base, data=data, out=out, checkpoints=tmp_path / "checkpoints", **{**settings, **changes})
        return out

    return go


# --- batches ---------------------------------------------------------------------------------------------------


def examples():
    generator = torch.Generator().manual_seed(1)
    found = []
    for length, prompt in [(9, 3), (5, 4), (7, 2), (9, 8)]:
        ids = torch.randint(4, 60, (length,), generator=generator).tolist()
        found.append(Example.of(ids, [IGNORE] * prompt + ids[prompt:]))
    return found


def test_the_kept_logits_give_the_loss_of_the_whole(tiny_base):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    batch = stack(examples())
    assert batch["logits_to_keep"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    whole = {key: batch[key] for key in ("input_ids", "attention_mask", "labels")}
    torch.testing.assert_close(model(**batch).loss, model(**whole).loss)


def test_padding_changes_no_loss(tiny_base):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    alone = [(model(**stack([one])).loss * one.trained).item() for one in examples()]
    together = model(**stack(examples())).loss * sum(one.trained for one in examples())
    assert together.item() == pytest.approx(sum(alone), rel=1e-5)


def test_every_epoch_holds_every_example_once_in_another_order():
    many = [Example.of([1] * (3 + number % 5), [1] * (3 + number % 5)) for number in range(50)]
    order = Ordered(many, batch_size=4, count=120, seed=3).order
    assert len(order) == 120
    assert sorted(order[:50]) == sorted(order[50:100]) == list(range(50))
    assert order[:50] != order[50:100]
    assert order == Ordered(many, batch_size=4, count=120, seed=3).order
    assert order != Ordered(many, batch_size=4, count=120, seed=4).order


def test_batches_are_of_similar_length():
    many = [Example.of([1] * (3 + number * 7 % 40), [1] * (3 + number * 7 % 40)) for number in range(64)]
    lengths = [len(example.input_ids) for example in Ordered(many, batch_size=4, count=64, seed=3)]
    waste = sum(4 * max(lengths[at : at + 4]) - sum(lengths[at : at + 4]) for at in range(0, 64, 4))
    assert waste < 0.15 * sum(lengths)


def test_without_grouping_batches_are_of_any_length():
    many = [Example.of([1] * (3 + number * 7 % 40), [1] * (3 + number * 7 % 40)) for number in range(64)]
    options = {"batch_size": 4, "count": 128, "seed": 3}
    mixed = Ordered(many, group_by_length=False, **options)
    lengths = [len(example) for example in mixed]
    waste = sum(4 * max(lengths[at : at + 4]) - sum(lengths[at : at + 4]) for at in range(0, 128, 4))
    assert waste > 0.3 * sum(lengths)
    assert sorted(mixed.order[:64]) == sorted(mixed.order[64:]) == list(range(64))
    assert mixed.order != Ordered(many, **options).order


def test_an_order_that_is_given_is_kept():
    many = [Example.of([number], [number]) for number in range(5)]
    given = Ordered(many, batch_size=2, count=99, seed=3, order=[4, 0, 4])
    assert [example.input_ids.tolist() for example in given] == [[4], [0], [4]]


# --- which rows ------------------------------------------------------------------------------------------------


def test_a_larger_fraction_holds_the_smaller_one():
    ids = [f"r-{number}" for number in range(4000)]
    quarter, half = ({row for row in ids if chosen(row, share)} for share in (0.25, 0.5))
    assert quarter < half
    assert len(quarter) == pytest.approx(1000, abs=100)
    assert all(chosen(row, 1.0) for row in ids)


def test_rows_without_an_answer_within_the_cutoff_are_passed_over(world, tiny_base, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    data = tmp_path / "rows.jsonl"
    jsonl.write(
        data, [{"id": 1, "instruction": "猫" * 100, "output": "a"}, {"id": 2, "instruction": "猫", "output": "a"}]
    )
    found = read_examples(data, tokenizer, data_fraction=1.0, prompt_format="belle", cutoff_len=64)
    assert [example.trained for example in found] == [2]
    with pytest.raises(InputError, match="none of its 2 rows") as caught:
        read_examples(data, tokenizer, data_fraction=1.0, prompt_format="belle", cutoff_len=10)
    assert "cutoff_len 10" in str(caught.value)


def test_a_file_without_rows_is_refused(run, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="none of its 0 rows"):
        run(data=tmp_path / "empty.jsonl")


# --- what comes out --------------------------------------------------------------------------------------------


def test_a_model_folder_keeps_its_contract(tiny_model, tiny_base, world):
    before, after = (load_file(path / "model.safetensors") for path in (tiny_base, tiny_model))
    assert before.keys() == after.keys()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert set(contents(tiny_model)) == set(contents(tiny_base))
    assert not any(str(world).encode() in value for value in contents(tiny_model).values())
    assert not list(world.glob("checkpoints*"))


def test_many_turns_and_another_format_are_kept_in_the_template(run, tmp_path):
    data = tmp_path / "turns.jsonl"
    talk = [("human", "猫"), ("assistant", "狗"), ("human", "马"), ("assistant", "牛")]
    jsonl.write(data, [{"id": "t", "conversations": [{"from": who, "value": text} for who, text in talk]}])
    out = run(data=data, prompt_format="belle-gptq")
    tokenizer = AutoTokenizer.from_pretrained(out)
    messages = [{"role": "user" if who == "human" else who, "content": text} for who, text in talk]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "Human: 猫\n\nAssistant:狗</s>Human: 马\n\nAssistant:牛</s>"
    )


def test_lora_is_merged_and_kept_apart(run, tiny_base):
    out = run(settings=LORA)
    adapter = load_file(out / "adapter" / "adapter_model.safetensors")
    assert len(adapter) == 2 * 3 * 2, "A and B of three modules in two layers"
    assert all(value.abs().sum() > 0 for value in adapter.values())
    assert load_file(out / "model.safetensors").keys() == load_file(tiny_base / "model.safetensors").keys()
    plain = AutoModelForCausalLM.from_pretrained(out)
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), out / "adapter")
    ids = torch.arange(5, 25).unsqueeze(0)
    torch.testing.assert_close(plain(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)
    assert not any(str(tiny_base).encode() in value for value in contents(out).values())


def test_adapters_on_a_model_that_was_made_by_adapters(run, tiny_base, world, tmp_path):
    """Incremental fine-tuning: the second run starts from the merged weights of the first."""
    few = {"num_train_epochs": 1.0}
    first = run("first", settings=LORA, **few)
    settings = {**LORA, **few, "lora_target_modules": ["q_proj"]}
    curve = tmp_path / "second.csv"
    out = tmp_path / "second"
    sft(base=first, data=world / "train.jsonl", out=out, checkpoints=tmp_path / "c", curve=curve, **settings)
    base, one, two = (load_file(path / "model.safetensors") for path in (tiny_base, first, out))
    changed = {name for name in one if not torch.equal(one[name], two[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj"}
    assert {name.split(".")[-2] for name in base if not torch.equal(base[name], one[name])} == {
        "q_proj", "v_proj", "down_proj",
    }  # fmt: skip
    assert len(load_file(out / "adapter" / "adapter_model.safetensors")) == 2 * 2
    assert curve.read_text().startswith("step,loss\n1,")


def test_gradient_checkpointing_changes_no_byte(run):
    few = {"num_train_epochs": 0.5}
    plain = contents(run("plain", **few))
    assert contents(run("saving", gradient_checkpointing=True, **few)) == plain


def test_accumulation_weighs_every_token_alike(run, tmp_path):
    data = tmp_path / "four.jsonl"
    jsonl.write(data, [{"id": n, "instruction": "猫", "output": "狗马牛羊" * (1 + 3 * n)} for n in range(4)])
    once = {"data": data, "num_train_epochs": 1.0, "warmup_ratio": 0.0, "learning_rate": 1e-3}
    whole = load_file(run("whole", per_device_train_batch_size=4, **once) / "model.safetensors")
    halves = run("halves", per_device_train_batch_size=2, gradient_accumulation_steps=2, **once)
    for name, value in load_file(halves / "model.safetensors").items():
        # AdamW's first step is the gradient's sign: another weight of the rows would turn it in many places.
        assert ((value - whole[name]).abs() > 1e-4).float().mean() < 0.01, name


def test_a_loss_that_is_no_number_stops_the_run(run, tmp_path):
    with pytest.raises(BelleError, match="the loss is nan at step") as caught:
        run(learning_rate=1e30)
    assert "lower learning_rate" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_learnt_nothing_is_refused(run, tmp_path):
    with pytest.raises(BelleError, match="norm of the trained adapter is 0"):
        run(settings=LORA, learning_rate=0.0)
    assert not (tmp_path / "out").exists()


def test_target_modules_of_another_architecture_are_refused(run):
    with pytest.raises(InputError, match="no module named query_key_value") as caught:
        run(settings=LORA, lora_target_modules=["query_key_value"])
    assert "q_proj" in str(caught.value)


def test_a_base_that_is_no_model_is_refused(world, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        sft(base=tmp_path, data=world / "train.jsonl", out=tmp_path / "o", checkpoints=tmp_path / "c", **SFT)


def test_the_written_folder_is_checked(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "model")
    weights = load_file(tiny_base / "model.safetensors")
    folder.check(tmp_path / "model", len(weights))
    with pytest.raises(BelleError, match=f"{len(weights)} tensors were written where the base has 3"):
        folder.check(tmp_path / "model", 3)
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "model" / "model.safetensors")
    with pytest.raises(BelleError, match=r"model\.norm\.weight holds NaN"):
        folder.check(tmp_path / "model", len(weights))


# --- killed and resumed ----------------------------------------------------------------------------------------


def checkpoint(parent, step, complete):
    made = parent / f"checkpoint-{step}"
    made.mkdir()
    (made / "optimizer.pt").write_bytes(b"12345")
    if complete is not None:
        (made / checkpoints.COMPLETE).write_text(json.dumps(complete))


def test_the_newest_whole_checkpoint_is_found_and_void_ones_are_removed(tmp_path):
    home = tmp_path / "checkpoints"
    assert checkpoints.latest(home, {"data": "a"}) is None
    checkpoint(home, 9, {"optimizer.pt": 5})
    checkpoint(home, 10, {"optimizer.pt": 5})
    checkpoint(home, 11, {"optimizer.pt": 6})
    checkpoint(home, 12, {"optimizer.pt": 5, "model.safetensors": 1})
    checkpoint(home, 13, None)
    assert checkpoints.latest(home, {"data": "a"}) == home / "checkpoint-10"
    assert sorted(path.name for path in home.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-9"]


def test_checkpoints_of_another_run_are_thrown_away(tmp_path):
    home = tmp_path / "checkpoints"
    checkpoints.latest(home, {"data": "a"})
    checkpoint(home, 10, {"optimizer.pt": 5})
    assert checkpoints.latest(home, {"data": "b"}) is None
    assert not list(home.glob("checkpoint-*"))


def test_the_digest_of_a_base_follows_its_bytes(tiny_base, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_base, copy)
    assert checkpoints.folder_digest(copy) == checkpoints.folder_digest(tiny_base)
    (copy / "config.json").write_text("{}")
    assert checkpoints.folder_digest(copy) != checkpoints.folder_digest(tiny_base)


CHILD = """
import json, sys
from pathlib import Path
from belle.train.sft import sft
settings = json.loads(sys.argv[1])
sft(**{key: Path(value) for key, value in settings.pop("paths").items()}, **settings)
"""


def start_and_kill(settings: dict, home: Path, step: int) -> None:
    """Run sft in a child process and kill it as soon as it has gone past the checkpoint of ``step``."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(settings)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (home / f"checkpoint-{step}" / checkpoints.COMPLETE).exists():
            assert child.poll() is None, "the child ended before it could be killed"
            assert time.monotonic() < deadline, "no checkpoint after two minutes"
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_killed_run_resumes_to_the_bytes_of_a_straight_one(world, tiny_base, tmp_path, monkeypatch, kind):
    home = tmp_path / "checkpoints"
    settings = {**(LORA if kind == "lora" else SFT), "num_train_epochs": 12.0, "save_steps": 20}  # 144 steps
    paths = {"base": tiny_base, "data": world / "train.jsonl", "checkpoints": home}
    start_and_kill(
        {"paths": {key: str(value) for key, value in {**paths, "out": tmp_path / "out"}.items()}, **settings}, home, 40
    )
    assert not (tmp_path / "out").exists()
    resumed_from = []

    def spy(*args):
        resumed_from.append(checkpoints.latest(*args))
        return resumed_from[-1]

    monkeypatch.setattr(trainer, "latest", spy)
    sft(out=tmp_path / "out", **paths, **settings)
    assert resumed_from[0] is not None
    assert int(resumed_from[0].name.removeprefix("checkpoint-")) in range(40, 144)
    assert not home.exists()
    sft(out=tmp_path / "straight", **paths, **settings)
    assert resumed_from[1] is None
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
