"""The stage weigh: each row's numbers are its own, in every bit, and a row is read once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from belle import jsonl
from belle.data.weigh import weigh
from belle.data.weighing import folder, perplexity
from belle.data.weighing.parts import parts_of
from belle.data.weighing.reader import Reader
from belle.errors import BelleError, InputError

SETTINGS = {"max_length": 64, "layer": 1, "answer_weight": 0.5, "dimensions": 96, "bf16": False, "threads": 1}
ASKED = ("猫在山里吗？", "狗在水里吗？", "请把下面的句子翻译成英文。", "为什么天空是蓝色的？", "牛在田里吗？")
ANSWERED = ("猫在山里", "不在。", "3+5=8", "因为阳光里的蓝光更容易被空气散射。", "牛在林里，马也在林里。")


def a_row(number, rng):
    if rng.random() < 0.25:
        turns = [
            {"from": ("human", "assistant")[at % 2], "value": rng.choice((ASKED, ANSWERED)[at % 2])}
            for at in range(rng.choice([2, 4, 8]))
        ]
        return {"id": f"c-{number}", "conversations": turns}
    given = rng.choice(["", "", "羊鸡鸭鹅兔虎狼熊" * rng.randint(1, 12)])
    return {"id": f"r-{number}", "instruction": rng.choice(ASKED), "input": given, "output": rng.choice(ANSWERED)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    tasks = [
        {"id": f"s{number}", "name": f"n{number}", "instruction": question, "is_classification": False,
         "instances": [{"input": "", "output": answer}]}
        for number, (question, answer) in enumerate(zip(ASKED, ANSWERED, strict=True))
    ]  # fmt: skip
    jsonl.write(path, tasks)
    return path


@pytest.fixture
def run(tmp_path, tiny_base, reference, monkeypatch):
    """Weigh rows; says how many texts the model read for it, those of the reference aside."""
    read = []
    real = Reader.read
    monkeypatch.setattr(Reader, "read", lambda self, parts, where: (read.append(where), real(self, parts, where))[1])

    def run(rows, name="w", remembered=None, **changes):
        raw = tmp_path / "raw.jsonl"
        jsonl.write(raw, rows)
        read.clear()
        out = tmp_path / name
        weigh(
            raw=raw, base=changes.pop("base", tiny_base), reference=reference, out=out,
            report=tmp_path / f"{name}.json", remembered=remembered, **{**SETTINGS, **changes},
        )  # fmt: skip
        return folder.load(out), sum(str(reference) not in where for where in read)

    return run


def by_id(rows, weighed):
    return {
        row["id"]: (*weighed.losses[at], *weighed.counts[at], weighed.vectors[at].tobytes())
        for at, row in enumerate(rows)
    }


def files(path):
    return {item.name: item.read_bytes() for item in sorted(path.iterdir())}


def test_losses_are_those_of_the_model(run, tiny_base):
    rows = [
        {"id": "a", "instruction": "猫在山里吗？", "input": "", "output": "猫在山里"},
        {"id": "b", "instruction": "看短文", "input": "牛在田里。", "output": "牛在田里"},
    ]
    weighed, _ = run(rows)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    for at, question in enumerate(("猫在山里吗？\n", "看短文\n牛在田里。\n")):
        asked = tokenizer.encode(question, add_special_tokens=False)
        answered = tokenizer.encode(rows[at]["output"], add_special_tokens=False)
        ids = torch.tensor([asked + answered])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").double()
        assert weighed.counts[at].tolist() == [len(each), len(answered)]
        assert weighed.losses[at, 0] == pytest.approx(each.sum().item(), rel=1e-6)
        assert weighed.losses[at, 1] == pytest.approx(each[-len(answered) :].sum().item(), rel=1e-6)
        assert weighed.means(0)[at] == weighed.losses[at, 0] / len(each)


def test_a_row_s_numbers_do_not_depend_on_its_neighbours(run):
    """In every bit: alone, among others, in another order; also what is read in pieces."""
    rng = random.Random(3)
    rows = [a_row(number, rng) for number in range(60)]
    whole = by_id(rows, run(rows)[0])
    for seed in range(3):
        part = random.Random(seed).sample(rows, 17)
        assert by_id(part, run(part)[0]) == {row["id"]: whole[row["id"]] for row in part}
    for row in rows[:8]:
        assert by_id([row], run([row])[0]) == {row["id"]: whole[row["id"]]}


def test_equal_texts_are_read_once_and_other_keys_do_not_count(run, tmp_path):
    rows = [a_row(number, random.Random(number % 7)) for number in range(40)]
    weighed, read = run(rows, remembered=tmp_path / "memory")
    texts = {json.dumps([part.text for part in parts_of(row, "")]) for row in rows}
    assert read == len(texts) < 40
    again = [{**row, "id": f"x-{at}", "topic": "天气"} for at, row in enumerate(reversed(rows))]
    other, read = run(again, remembered=tmp_path / "memory")
    assert read == 0
    assert (other.losses == weighed.losses[::-1]).all()


def test_edits_end_in_the_bytes_of_a_cold_run_and_cost_what_is_new(run, tmp_path):
    rng = random.Random(5)
    rows = [a_row(number, rng) for number in range(50)]
    memory = tmp_path / "memory"
    run(rows, remembered=memory)
    for step in range(6):
        at = rng.randrange(len(rows))
        fresh = {"id": f"n-{step}", "instruction": f"第{step}个问题？", "input": "", "output": rng.choice(ANSWERED)}
        rows = [*rows[:at], fresh, *rows[at + rng.randint(0, 2) :]]
        _, read = run(rows, "warm", remembered=memory)
        assert read == 1
        run(rows, "cold")
        assert files(tmp_path / "warm") == files(tmp_path / "cold")
        assert (tmp_path / "warm.json").read_bytes() == (tmp_path / "cold.json").read_bytes()


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "other", "folder", "missing"])
def test_a_damaged_memory_costs_time_only(run, tmp_path, harm):
    rng = random.Random(8)
    rows = [a_row(number, rng) for number in range(30)]
    path = tmp_path / "memory"
    _, whole = run(rows, "first", remembered=path)
    kept = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(kept[:-500] + bytes([kept[-500] ^ 1]) + kept[-499:])
    elif harm == "cut":
        path.write_bytes(kept[:-37])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "other":
        path.write_bytes(b"another file\n" * 100)
    else:
        path.unlink()
        if harm == "folder":
            path.mkdir()
    _, read = run(rows, "second", remembered=path)
    assert 0 < read <= whole
    assert (read == whole) == (harm not in ("flipped", "cut"))
    assert files(tmp_path / "first") == files(tmp_path / "second")
    assert run(rows, remembered=path)[1] == (whole if harm == "folder" else 0)


@pytest.mark.parametrize("change", [{"layer": 2}, {"answer_weight": 0.4}, {"dimensions": 64}, {"max_length": 32}])
def test_other_settings_read_everything_again(run, tmp_path, change):
    rows = [a_row(number, random.Random(number)) for number in range(12)]
    _, whole = run(rows, remembered=tmp_path / "memory")
    assert run(rows, remembered=tmp_path / "memory", **change)[1] == whole


def test_what_is_gone_does_not_stay_for_ever(run, tmp_path):
    rows = [a_row(number, random.Random(number)) for number in range(80)]
    run(rows, remembered=tmp_path / "memory")
    large = (tmp_path / "memory").stat().st_size
    run(rows[:2], remembered=tmp_path / "memory")
    assert (tmp_path / "memory").stat().st_size < large / 2
    assert run(rows[:2], remembered=tmp_path / "memory")[1] == 0


CHILD = """
import sys, time
from pathlib import Path
from belle.data.weighing.reader import Reader
import belle.data.weigh as stage
real = Reader.read
def slow(self, parts, where):
    time.sleep(0.004)
    return real(self, parts, where)
Reader.read = slow
raw, base, reference, out, memory = map(Path, sys.argv[1:6])
stage.weigh(raw=raw, base=base, reference=reference, out=out, report=out.with_suffix(".json"), remembered=memory,
            max_length=64, layer=1, answer_weight=0.5, dimensions=96, bf16=False, threads=1)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path, tiny_base, reference):
    rows = [
        {"id": f"r-{number}", "instruction": f"{number}加{number}等于几？", "input": "", "output": f"{2 * number}"}
        for number in range(600)
    ]
    jsonl.write(tmp_path / "raw.jsonl", rows)

    def start(out, memory):
        words = [tmp_path / "raw.jsonl", tiny_base, reference, tmp_path / out, tmp_path / memory]
        return subprocess.Popen([sys.executable, "-c", CHILD, *map(str, words)], stderr=subprocess.DEVNULL)

    child, memory, deadline = start("killed", "memory"), tmp_path / "memory", time.monotonic() + 120
    while not memory.exists() or memory.stat().st_size < 20_000:
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    kept = memory.stat().st_size
    assert start("killed", "memory").wait() == 0
    assert memory.stat().st_size > kept, "what was there was added to"
    assert start("straight", "none").wait() == 0
    assert files(tmp_path / "killed") == files(tmp_path / "straight")
    assert memory.read_bytes() == (tmp_path / "none").read_bytes(), "no row was read twice, none is missing"


def test_report(run, tmp_path):
    rows = [a_row(number, random.Random(number)) for number in range(30)]
    weighed, _ = run(rows)
    report = json.loads((tmp_path / "w.json").read_text(encoding="utf-8"))
    assert report["rows"] == 30
    assert report["tokens"] == weighed.counts[:, 0].sum()
    found = report["perplexity"]["answer"]
    assert found["rows"] == 30 == sum(found["histogram"]["counts"])
    assert found["min"] <= found["median"] <= found["p95"] <= found["max"]
    assert found["max"] == perplexity.shown(weighed.means(1).max())


def test_a_row_without_an_answer_has_no_number(run):
    weighed, _ = run([{"id": "a", "instruction": "猫在山里吗？", "output": ""}])
    assert weighed.counts[0].tolist()[1] == 0
    assert np.isnan(weighed.means(1)[0])
    weighed, _ = run([{"id": "a", "instruction": "", "input": "", "output": ""}])
    assert not weighed.counts[:, 1].any()


GOOD = {"id": "a", "instruction": "猫在山里吗？", "input": "", "output": "在"}


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([GOOD, {"id": "b", "instruction": "问", "output": 3}], {}, r"raw.jsonl, row 2: `output` must be text"),
        ([GOOD, {"instruction": "问", "output": "答"}], {}, r"raw.jsonl, row 2: a row without an `id`"),
        ([{"id": "c", "conversations": [{"from": "human", "value": "问"}]}], {}, r"row 1: `conversations` must hold"),
        ([GOOD], {"max_length": 65}, r"weigh.max_length is 65, its context 64 tokens"),
        ([GOOD], {"layer": 3}, r"weigh.layer is 3, it has 2 layers"),
    ],
)
def test_refused(run, tmp_path, rows, changes, message):
    with pytest.raises(InputError, match=message):
        run(rows, **changes)
    assert not (tmp_path / "w").exists()


def test_a_base_that_is_none_or_gives_nan(run, tmp_path, tiny_base):
    with pytest.raises(InputError, match=r"no config.json in it"):
        run([GOOD], base=tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    model = AutoModelForCausalLM.from_pretrained(broken)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(BelleError, match=r"the model gives nan as the loss"):
        run([GOOD], base=broken)
