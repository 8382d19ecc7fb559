import json
import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pytest
from transformers import AutoTokenizer

from belle import jsonl
from belle.errors import InputError
from belle.prompts import IGNORE, PROMPT_FORMATS, encode
from belle.records import Turn, turns
from belle.train import tokens
from belle.train.sft import chosen, read_examples
from belle.train.tokenizer import train_tokenizer
from belle.train.tokens import NEVER, TEXT, tokenised


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """One token a character: ids can be worked out by hand."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["Human: Assistant: \n猫狗马牛？好 abc### Response:"], folder, 400).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def talk(*texts):
    """A row of turns, human first."""
    return {"conversations": [{"from": ("human", "assistant")[at % 2], "value": text} for at, text in enumerate(texts)]}


# --- token tables, written by hand: text of each token, and whether it has a label ----------------------------

ONE = ["Human: \n猫？\n\nAssistant: \n", "好</s>"]
MANY = ["Human: \n猫\n\nAssistant: \n", "狗</s>", "Human: \n马？\n\nAssistant: \n", "牛好</s>"]
TABLES = {
    "belle": [
        (talk("猫？", "好"), ["H", "u", "m", "a", "n", ":", " ", "\n", "猫", "？", "\n", "\n", "A", "s", "s", "i", "s",
                              "t", "a", "n", "t", ":", " ", "\n"], ["好", "</s>"], [], []),
        (talk("猫", "狗", "马？", "牛好"), list("Human: \n猫\n\nAssistant: \n"), ["狗", "</s>"],
         list("Human: \n马？\n\nAssistant: \n"), ["牛", "好", "</s>"]),
    ],
    "belle-zero-inference": [
        (talk("猫", "狗", "马", "牛"), list("Human: \n猫\n\nAssistant:\n"), ["狗", "</s>"],
         list("Human: \n马\n\nAssistant:\n"), ["牛", "</s>"]),
    ],
    "deepspeed-chat": [
        (talk("猫", "狗", "马", "牛"), list("Human: 猫\n\nAssistant: "), ["狗", "</s>"],
         list("Human: 马\n\nAssistant: "), ["牛", "</s>"]),
    ],
    "belle-gptq": [
        (talk("猫", "狗", "马", "牛"), list("Human: 猫\n\nAssistant:"), ["狗", "</s>"],
         list("Human: 马\n\nAssistant:"), ["牛", "</s>"]),
    ],
    "none": [(talk("猫", "狗", "马", "牛"), ["猫"], ["狗", "</s>"], ["马"], ["牛", "</s>"])],
    "alpaca": [
        ({"instruction": "猫", "input": "？", "output": "好"},
         list("Below is an instruction that describes a task. Write a response that appropriately completes the "
              "request.\n\n### Instruction:\n猫？\n\n### Response: "), ["好", "</s>"], [], []),
    ],
}  # fmt: skip


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
def test_ids_and_labels_by_hand(tokenizer, tmp_path, prompt_format):
    """Prompts carry no label, every answer is followed by a trained EOS, and nothing stands between turns."""
    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [row for row, *_ in TABLES[prompt_format]])
    found = read_examples(data, tokenizer, data_fraction=1.0, prompt_format=prompt_format, cutoff_len=200)
    for example, (_, *parts) in zip(found, TABLES[prompt_format], strict=True):
        texts, labelled = [], []
        for number, part in enumerate(parts):
            texts += part
            labelled += [number % 2 == 1] * len(part)
        assert tokenizer.convert_ids_to_tokens(example.input_ids.tolist()) == [
            token for text in texts for token in ([text] if text == "</s>" else tokenizer.tokenize(text))
        ]
        assert len(example) >= len(texts), "a character that the tokenizer lacks is several bytes"
        if len(example) == len(texts):
            assert (example.labels != IGNORE).tolist() == labelled
        assert (example.input_ids == example.labels)[example.labels != IGNORE].all()


def test_the_table_of_many_turns_as_numbers(tokenizer, tmp_path):
    """Ids, labels, positions and boundaries of a row of two exchanges beside one of a single, packed."""
    from belle.train.packing import Block, lay

    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [talk("猫", "狗", "马？", "牛好"), talk("猫？", "好")])
    ids = {piece: tokenizer.convert_tokens_to_ids(piece) for piece in "猫狗马牛？好"}
    before, after = ([tokenizer.convert_tokens_to_ids(c if c != " " else "▁") for c in text]
                     for text in ("Human: \n", "\n\nAssistant: \n"))  # fmt: skip
    first = [*before, ids["猫"], *after, ids["狗"], 2, *before, ids["马"], ids["？"], *after, ids["牛"], ids["好"], 2]
    second = [*before, ids["猫"], ids["？"], *after, ids["好"], 2]
    found = read_examples(data, tokenizer, data_fraction=1.0, prompt_format="belle", cutoff_len=64)
    batch = lay([Block(tuple(found))])
    assert (len(before), len(after)) == (8, 14)
    assert batch["input_ids"].tolist() == [first + second]
    assert batch["position_ids"].tolist() == [[*range(52), *range(26)]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 52, 78]
    i = IGNORE
    labels = [*[i] * 23, ids["狗"], 2, *[i] * 24, ids["牛"], ids["好"], 2, *[i] * 24, ids["好"], 2]
    assert batch["labels"].tolist() == [labels]
    assert batch["logits_to_keep"].tolist() == [22, 23, 48, 49, 50, 75, 76]
    assert batch["shift_labels"].tolist() == [[ids["狗"], 2, ids["牛"], ids["好"], 2, ids["好"], 2]]


def test_what_is_past_the_cutoff_is_cut_on_the_right(tokenizer, tmp_path):
    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [talk("猫", "狗", "马", "牛")])
    options = {"data_fraction": 1.0, "prompt_format": "belle", "tokens": tmp_path / "tokens"}
    whole = read_examples(data, tokenizer, cutoff_len=60, **options)[0]
    for cutoff in (24, 25, 48, 50):
        cut = read_examples(data, tokenizer, cutoff_len=cutoff, **options)[0]
        assert cut.input_ids.tolist() == whole.input_ids[:cutoff].tolist()
        assert cut.labels.tolist() == whole.labels[:cutoff].tolist()
    assert len(whole) == 50
    with pytest.raises(InputError, match="none of its 1 rows"):
        read_examples(data, tokenizer, cutoff_len=23, **options)


def test_agrees_with_encoding_row_by_row(tiny_base, world, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    odd = [talk("猫🎉 é龘\t", "  a\n\n", "zz</s>", "。"), {"instruction": "x", "input": "▁y", "output": "\u200b好"}]
    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [*jsonl.read(world / "train.jsonl"), *odd])
    found = read_examples(data, tokenizer, data_fraction=1.0, prompt_format="belle", cutoff_len=40)
    for row, example in zip(jsonl.read(data), found, strict=True):
        ids, labels = encode(tokenizer, turns(row, ""), 40, "belle")
        assert (example.input_ids.tolist(), example.labels.tolist()) == (ids, labels)
        assert example.input_ids.dtype == example.labels.dtype == np.int32


def test_shares_are_those_of_the_ids(tiny_base, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [{"id": f"r-{n}", "instruction": "猫", "output": f"{n}"} for n in range(500)])
    options = {"prompt_format": "belle", "cutoff_len": 64, "tokens": tmp_path / "tokens"}
    for share in (0.1, 0.5, 0.9, 1.0):
        found = read_examples(data, tokenizer, data_fraction=share, **options)
        wanted = [f"{n}" for n in range(500) if chosen(f"r-{n}", share)]
        answers = [tokenizer.decode(row.labels[row.labels != IGNORE][:-1]) for row in found]
        assert answers == wanted


# --- the cache -------------------------------------------------------------------------------------------------


@pytest.fixture
def data(world):
    return world / "train.jsonl"


@pytest.fixture
def made(monkeypatch):
    """How often something was tokenised."""
    calls = []
    real = tokens._write
    monkeypatch.setattr(tokens, "_write", lambda *args: (calls.append(1), real(*args)))
    return calls


def folders(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_a_set_is_tokenised_once(tokenizer, data, tmp_path, made):
    one, two = (tokenised(data, tokenizer, "belle", tmp_path) for _ in range(2))
    assert made == [1]
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in tokens._TYPES)
    for cutoff in (40, 50):  # nor for another length, share or number of epochs
        read_examples(data, tokenizer, data_fraction=0.5, prompt_format="belle", cutoff_len=cutoff, tokens=tmp_path)
    assert made == [1]


def test_other_rows_another_format_and_another_tokenizer_are_tokenised_anew(tokenizer, tiny_base, data, tmp_path, made):
    tokenised(data, tokenizer, "belle", tmp_path)
    tokenised(data, tokenizer, "belle-gptq", tmp_path)
    tokenised(data, AutoTokenizer.from_pretrained(tiny_base), "belle", tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_bytes(data.read_bytes() + data.read_bytes().splitlines(keepends=True)[0].replace(b"\xef", b"\xef", 1))
    tokenised(other, tokenizer, "belle", tmp_path)
    assert len(made) == len(folders(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["shorter", "other byte", "no record", "half a record", "empty folder"])
def test_a_damaged_cache_is_made_anew(tokenizer, data, tmp_path, made, capsys, damage):
    whole = tokenised(data, tokenizer, "belle", tmp_path)
    ids = np.array(whole.ids)
    (folder,) = folders(tmp_path)
    if damage == "shorter":
        (folder / "ids.bin").write_bytes((folder / "ids.bin").read_bytes()[:-4])
    elif damage == "other byte":
        content = bytearray((folder / "trained.bin").read_bytes())
        content[3] ^= 1
        (folder / "trained.bin").write_bytes(content)
    elif damage == "no record":
        (folder / tokens.COMPLETE).unlink()
    elif damage == "half a record":
        (folder / tokens.COMPLETE).write_text('{"ids": {')
    else:
        for path in folder.iterdir():
            path.unlink()
    again = tokenised(data, tokenizer, "belle", tmp_path)
    assert len(made) == 2
    assert np.array_equal(again.ids, ids)
    assert ("made anew" in capsys.readouterr().err) == (damage in ("shorter", "other byte", "half a record"))


def test_a_broken_row_leaves_no_cache(tokenizer, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(talk("a", "b")) + "\n" + json.dumps({"instruction": "a"}) + "\n")
    with pytest.raises(InputError, match=r"bad\.jsonl, row 2"):
        tokenised(bad, tokenizer, "belle", tmp_path / "cache")
    assert folders(tmp_path / "cache") == []
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


KILLED = """
import sys, time
from pathlib import Path
from transformers import AutoTokenizer
from belle.train import tokens
real = tokens._encode
def slow(*args):
    print("under way", flush=True)
    time.sleep(60)
tokens._encode = slow
tokens.tokenised(Path(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[2]), "belle", Path(sys.argv[3]))
"""


def test_a_kill_while_tokenising_leaves_nothing_that_counts(tiny_base, data, tmp_path, made):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(data), str(tiny_base), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "under way\n"
    child.kill()
    child.wait()
    assert len(tokenised(data, AutoTokenizer.from_pretrained(tiny_base), "belle", tmp_path)) == 48
    assert made == [1]


def ask(data, base, cache, queue):
    tokens._encode, real = lambda *args: (time.sleep(0.3), queue.put(1), real(*args))[2], tokens._encode
    found = tokenised(data, AutoTokenizer.from_pretrained(base), "belle", cache)
    queue.put(int(found.ids.sum()))


def test_of_several_that_ask_at_once_one_tokenises(tiny_base, data, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=ask, args=(data, tiny_base, tmp_path, queue)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    said = sorted(queue.get(timeout=5) for _ in range(4))
    assert said[0] == 1
    assert said[1] == said[2] == said[3] > 1


def test_texts_are_documents_and_eos(tokenizer, tmp_path):
    rows, lines = tmp_path / "text.jsonl", tmp_path / "text.txt"
    jsonl.write(rows, [{"text": "猫\n狗"}, {"text": " "}, {"text": "马"}])
    lines.write_text("猫\n\n狗马\n", encoding="utf-8")
    cat, dog, horse, end = (tokenizer.convert_tokens_to_ids(piece) for piece in ("猫", "狗", "马", "\n"))
    found = tokenised(rows, tokenizer, TEXT, tmp_path / "tokens")
    assert found.ids.tolist() == [cat, end, dog, 2, horse, 2]
    assert found.ends.tolist() == [4, 6]
    assert found.trained.all()
    assert found.first_trained.tolist() == [1, 1]
    assert tokenised(lines, tokenizer, TEXT, tmp_path / "tokens").ids.tolist() == [cat, 2, dog, horse, 2]
    jsonl.write(rows, [{"text": "猫"}, {"text": 3}])
    with pytest.raises(InputError, match=r"text\.jsonl, row 2: `text` must be text"):
        tokenised(rows, tokenizer, TEXT, tmp_path / "tokens")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "你好，世界\n".encode("gb18030"), r"a\.txt:1: not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\\ud83d"}\n', r"a\.jsonl, row 2: half a character"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ["b"]}\n', r"a\.jsonl, row 2: `text` must be text, found \['b'\]"),
        ("a.jsonl", b'{"text": "a"\n', r"a\.jsonl:1: not JSON"),
    ],
)
def test_texts_that_cannot_be_read_are_named(tokenizer, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        tokenised(tmp_path / name, tokenizer, TEXT, tmp_path / "tokens")
    assert folders(tmp_path / "tokens") == []


def test_half_a_character_in_a_turn_is_named(tokenizer, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(talk("a", "b\ud83d")) + "\n")
    with pytest.raises(InputError, match=r"bad\.jsonl, row 1: half a character"):
        tokenised(bad, tokenizer, "belle", tmp_path / "tokens")


def test_rows_without_any_label_are_known(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 2)
    data = tmp_path / "rows.jsonl"
    jsonl.write(data, [talk("猫" * n, "狗") for n in range(1, 8)])
    found = tokenised(data, tokenizer, "belle", tmp_path / "tokens")
    assert found.first_trained.tolist() == [22 + n for n in range(1, 8)]
    assert NEVER > 1 << 30
    assert found.starts.tolist() == [0, *found.ends[:-1].tolist()]
    assert isinstance(turns(talk("a", "b"), "")[0], Turn)
