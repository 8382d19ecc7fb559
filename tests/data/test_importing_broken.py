"""Every broken input ends in one clear message with its place; nothing is written."""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import test_importing as whole
from broken.case import Case, give
from broken.imports import IMPORTS
from broken.imports import LINES as ROWS
from broken.lines import FIELDS, LINES, PROMPTS, TURNS, lines

import belle.prompts
from belle import jsonl
from belle.data.generate import generate
from belle.data.importing import streams
from belle.errors import InputError
from belle.jsonl import LONGEST_ROW
from belle.records import load_eval, load_seeds

CASES = [*LINES, *FIELDS, *TURNS, *PROMPTS, *IMPORTS]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def refused(entry: str, path: Path, folder: Path) -> InputError:
    """The one error; the output folder is as it was, with what stood there before."""
    out = folder / "out"
    out.mkdir()
    for name in ("raw.jsonl", "clean.jsonl"):
        (out / name).write_text("from a build before\n", encoding="utf-8")
    before = contents(out)
    with pytest.raises(InputError) as caught:
        give(entry, path, out)
    assert contents(out) == before
    return caught.value


def check(error: InputError, place: str | None, path: Path, says: tuple[str, ...]) -> None:
    text = str(error)
    if place is not None:
        beside = re.fullmatch(r"categories(.*)", place, re.S)
        at = f"{path.parent / 'categories.json'}{beside[1]}" if beside else f"{path}{place}"
        assert text.startswith(f"{at}: "), text
    assert error.exit_status == 2
    assert error.where
    assert error.cause
    assert error.fix
    assert len(text.splitlines()) == 3, text
    assert len(text) < 1400, text
    for part in says:
        assert part in text, text


def test_the_cases_are_many_and_each_has_a_name_of_its_own():
    assert len(CASES) >= 200
    names = [(case.entry, case.name) for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.entry.partition(":")[0] for case in CASES} == {
        "seeds", "evaluation set", "clean", "jsonl", "import", "turns", "prompt", "judge prompts",
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.entry}: {case.name}")
def test_one_clear_message_and_nothing_written(case: Case, tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    path = case.write(folder)
    check(refused(case.entry, path, tmp_path), case.place, path, case.says)


@pytest.mark.parametrize("entry", ["seeds", "evaluation set", "clean", "jsonl", "import"])
def test_a_giant_line_is_refused_in_bounded_memory(entry, tmp_path):
    path = tmp_path / "rows.jsonl"
    with open(path, "wb") as file:
        file.write(lines(entry) + b'{"instruction": "')
        for _ in range(70):
            file.write(b"a" * (1 << 20))
        file.write(b'"}\n')
    tracemalloc.start()
    error = refused(entry, path, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    check(error, ":5", path, (f"a row of over {LONGEST_ROW} bytes",))
    assert peak < 3 * LONGEST_ROW


GIANT = {
    "a.json": ('[{"instruction": "甲", "output": "乙"}, {"output": "'.encode(), ", row 2", "a row of over"),
    "columns.json": (b'{"instruction": ["', ":1", "a row of over 67108864 bytes"),
    "a.csv": ("instruction,output\r\n甲,乙\r\n丙,\"".encode(), ":3", "a row of over"),
    "a.txt": (b"", ":1", "a row of over"),
}  # fmt: skip


@pytest.mark.parametrize("name", GIANT)
def test_other_giant_rows_are_refused_in_bounded_memory(name, tmp_path):
    start, place, says = GIANT[name]
    path = tmp_path / name
    with open(path, "wb") as file:
        file.write(start)
        for _ in range(140):
            file.write(b"a" * (1 << 20))
    tracemalloc.start()
    error = refused("import:text-lines" if name == "a.txt" else "import", path, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    check(error, place, path, (says,))
    assert peak < (6 * LONGEST_ROW if name != "columns.json" else 6 * (64 << 20))


def test_a_quote_that_swallows_the_file_is_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "wb") as file:
        file.write('instruction,output\r\n甲,"乙\r\n'.encode())
        for number in range(70_000):
            file.write(b"%d,%s\r\n" % (number, b"a" * 1000))
    tracemalloc.start()
    error = refused("import", path, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    check(error, ":2", path, ("no CSV", "field larger", "quote"))
    assert peak < 10 * LONGEST_ROW


def test_no_file_may_grow_past_the_largest_size(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr(streams, "LARGEST", 100)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(ROWS))
    check(refused("import", path, tmp_path), "", path, ("grows to over 100 bytes",))


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.zst", "zip", "json", "csv.gz", "parquet"])
def test_no_cut_of_a_file_is_taken_for_a_shorter_one(ending, tmp_path):
    """At every length a cut file is refused."""
    rows = whole.PAIRS * 3
    data = {
        "jsonl.gz": lambda: whole.gzip.compress(whole.as_jsonl(rows)),
        "jsonl.zst": lambda: whole.as_zst(whole.as_jsonl(rows)),
        "zip": lambda: whole.as_zip({"a.jsonl": whole.as_jsonl(rows)}),
        "json": lambda: json.dumps(rows).encode(),
        "csv.gz": lambda: whole.gzip.compress(whole.as_csv(rows)),
        "parquet": lambda: whole.as_parquet(rows),
    }[ending]()
    path, out = tmp_path / f"a.{ending}", tmp_path / "out"
    out.mkdir()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            give("import", path, out)
        assert not list(out.iterdir())


def unprivileged(path: Path, entry: str, out: Path) -> InputError:
    """What somebody without rights is told: root reads everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(InputError) as caught:
            give(entry, path, out)
        return caught.value
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("entry", ["seeds", "evaluation set", "jsonl", "import", "prompt"])
def test_what_may_not_be_read_is_named(entry, tmp_path):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o711)  # noqa: S103
        path = folder / ("p.txt" if entry == "prompt" else "rows.jsonl")
        path.write_bytes(lines("jsonl"))
        os.chmod(path, 0)
        check(unprivileged(path, entry, tmp_path), "", path, ("cannot be read", "Permission denied", "chmod"))
        os.chmod(folder, 0)
        error = unprivileged(path, entry, tmp_path)
        assert "Permission denied" in str(error)
        assert error.cause
        assert error.fix
        os.chmod(folder, 0o711)  # noqa: S103


def test_the_command_says_it_without_a_traceback(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(ROWS[:-20])
    words = ["import_dataset", "out.jsonl", "out.report.json", "auto", "unknown", str(path)]
    ended = subprocess.run(
        [sys.executable, "-m", "belle.cli", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"belle import_dataset: {path}:4: not JSON")
    assert len(ended.stderr.splitlines()) == 3
    assert os.listdir(tmp_path) == ["a.jsonl"]


SEED_QUIRKS = [
    {"id": "seed_task_8", "name": "改写", "instruction": "把下面的话说得\xa0正式一些。\n\n注意语气。 ",
     "is_classification": False,
     "instances": [{"input": "东西坏了，\xa0退钱！", "output": "您好，\n商品有损坏，请退款。"}]},
    {"id": "seed_task_3", "name": "改写", "instruction": "判断下面的句子是褒是贬。", "is_classification": True,
     "instances": [{"input": "", "output": "褒\xa0\xa0"}]},
]  # fmt: skip
"""As BELLE's published seeds are: ids in no order, a name twice, no-break spaces, line ends within, empty inputs."""


def _rows_by(seeds: Path, folder: Path) -> list[dict[str, Any]]:
    """A few rows asked of the offline teacher with these seeds."""
    generate(
        seeds=seeds, prompt=Path(belle.prompts.__file__).parent / "self_instruct.txt", out=folder / "raw.jsonl",
        report=folder / "raw.report.json", ledger=folder / "ledger", base_url="offline", model="offline-teacher",
        api_key="", rows=20, shots=2, tasks=10, temperature=1.0, top_p=1.0, max_tokens=1024, stop=[], in_flight=4,
        timeout_s=30.0, seed=1,
    )  # fmt: skip
    return list(jsonl.read(folder / "raw.jsonl"))


def test_seeds_with_the_quirks_of_belle_s_drive_the_asking(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(seed, ensure_ascii=False) + "\n" for seed in SEED_QUIRKS), encoding="utf-8")
    seeds = load_seeds(path)
    assert [(seed.id, seed.input) for seed in seeds] == [("seed_task_8", "东西坏了，\xa0退钱！"), ("seed_task_3", "")]
    assert {seed for row in _rows_by(path, tmp_path) for seed in row["seeds"]} == {"seed_task_8", "seed_task_3"}


def upstream(name: str) -> Path:
    """A file that BELLE published; it may not be carried in this repository."""
    folder = os.environ.get("BELLE_UPSTREAM_DATA", "")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(
            f"{name} is not here: name the folder that holds it in the environment variable BELLE_UPSTREAM_DATA"
        )
    return Path(folder) / name


def test_belle_s_published_seeds_drive_the_asking_unchanged(tmp_path):
    path = upstream("belle_zh_seed_tasks.jsonl")
    seeds = {seed.id for seed in load_seeds(path)}
    assert len(seeds) == 175
    rows = _rows_by(path, tmp_path)
    assert len(rows) == 20
    assert {seed for row in rows for seed in row["seeds"]} <= seeds


def test_belle_s_published_evaluation_set_loads_unchanged():
    rows = load_eval(upstream("belle_eval_set_odd_rows.jsonl"))
    assert len(rows) == 500
    assert "closed qa" in {row.cls for row in rows}


FUZZED = {
    "a.json": whole.CONTAINERS["pretty.json"],
    "columns.json": whole.CONTAINERS["columns.json"],
    "a.jsonl": whole.CONTAINERS["a.jsonl"],
    "a.csv": whole.CONTAINERS["a.csv"],
    "a.parquet": whole.CONTAINERS["a.parquet"],
    "a.jsonl.gz": whole.CONTAINERS["a.jsonl.gz"],
    "a.jsonl.zst": whole.CONTAINERS["a.jsonl.zst"],
    "a.zip": whole.CONTAINERS["a.zip"],
    "talk.jsonl": whole.as_jsonl([whole.TALK] * 3),
    "messages.json": json.dumps([whole.READ["openai messages"][1]] * 2).encode(),
    "moss.jsonl": whole.as_jsonl([whole.READ["moss 003"][1]] * 2),
}


@pytest.mark.parametrize("name", FUZZED)
def test_whatever_a_file_holds_it_is_imported_or_refused(name, tmp_path):
    """Random edits of good files: nothing but rows or one message with a cause and a mend, nothing half-written."""
    rng = random.Random(name)
    out = tmp_path / "out"
    out.mkdir()
    for _ in range(int(os.environ.get("BELLE_FUZZ", "60"))):
        data = bytearray(FUZZED[name])
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data))
            edit = rng.randrange(4)
            if edit == 0:
                data[at] = rng.randrange(256)
            elif edit == 1:
                del data[at : at + rng.randrange(1, 30)]
            elif edit == 2:
                data[at:at] = rng.choice((b"null", b"[", b"{}", b'"', b"1e999", b"\0", b"\xff", b"\\ud800", b",", b"-"))
            else:
                data[at:at] = data[at // 2 : at]
            data = data or bytearray(b" ")
        (tmp_path / name).write_bytes(data)
        try:
            give("import", tmp_path / name, out)
        except InputError as error:
            said = (error.where, error.cause, error.fix)
        else:
            said = ("", "", "")
        if all(said):
            assert not list(out.iterdir())
        else:
            assert said == ("", "", "")
            assert sorted(path.name for path in out.iterdir()) == ["raw.jsonl", "raw.report.json"]
            for path in out.iterdir():
                path.unlink()
