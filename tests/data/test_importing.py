"""What users have becomes raw rows: formats, containers and compressions; each row is kept or counted."""

import csv
import gzip
import io
import json
import random
import tracemalloc
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from belle import jsonl
from belle.data.importing import jsontext
from belle.data.importing.fields import REASONS
from belle.data.importing.formats import FORMATS
from belle.data.importing.import_dataset import import_dataset
from belle.entries import RowFormat
from belle.errors import InputError
from belle.records import turns

PAIRS = [
    {"instruction": "写一句关于秋天的话。", "input": "", "output": "秋风起，稻子黄了。"},
    {"instruction": "求下列数的和。", "input": "3，4", "output": "3 + 4 = 7，\n和是 7。"},
    {"instruction": "解释“引号”, 逗号和 😀。", "input": "", "output": '他说："好"'},
]


@pytest.fixture
def run(tmp_path):
    """Import files given as {name: bytes} (one: the file; several: their folder); returns rows and report."""

    def run(files, format="auto", categories=None):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        if categories is not None:
            (tmp_path / "categories.json").write_bytes(categories)
        import_dataset(
            path=folder / next(iter(files)) if len(files) == 1 else folder,
            categories=tmp_path / "categories.json" if categories is not None else None,
            out=tmp_path / "out.jsonl",
            report=tmp_path / "out.report.json",
            format=format,
            licence="cc0-1.0",
        )
        report = json.loads((tmp_path / "out.report.json").read_text(encoding="utf-8"))
        rows = list(jsonl.read(tmp_path / "out.jsonl"))
        assert report["rows_in"] == report["rows_out"] + sum(report["reasons"].values())
        assert report["rows_out"] == len(rows) == len({row["id"] for row in rows})
        return rows, report

    return run


def as_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows, delimiter=","):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows, group=2):
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=group)
    return sink.getvalue()


def as_zip(members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def as_zst(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


def as_columns(rows):
    return json.dumps({key: [row[key] for row in rows] for key in rows[0]}).encode()


CONTAINERS = {
    "a.json": json.dumps(PAIRS, ensure_ascii=False).encode(),
    "pretty.json": json.dumps(PAIRS, ensure_ascii=False, indent=4).encode(),
    "escaped.json": json.dumps(PAIRS).encode(),
    "lines-under-that-name.json": as_jsonl(PAIRS),
    "wrapped.json": json.dumps({"version": 1, "data": PAIRS}).encode(),
    "columns.json": as_columns(PAIRS),
    "pretty-columns.json": json.dumps({key: [row[key] for row in PAIRS] for key in PAIRS[0]}, indent=1).encode(),
    "a.jsonl": as_jsonl(PAIRS),
    "blank-lines.jsonl": as_jsonl(PAIRS).replace(b"\n", b"\r\n\r\n"),
    "no-last-line-end.ndjson": as_jsonl(PAIRS).rstrip(),
    "marked.jsonl": b"\xef\xbb\xbf" + as_jsonl(PAIRS),
    "marked.json": b"\xef\xbb\xbf" + json.dumps(PAIRS).encode(),
    "a.csv": as_csv(PAIRS),
    "marked.csv": b"\xef\xbb\xbf" + as_csv(PAIRS),
    "a.tsv": as_csv(PAIRS, "\t"),
    "a.parquet": as_parquet(PAIRS),
    "A.JSON.GZ": gzip.compress(json.dumps(PAIRS).encode()),
    "a.jsonl.gz": gzip.compress(as_jsonl(PAIRS[:1])) + gzip.compress(as_jsonl(PAIRS[1:])),
    "a.jsonl.zst": as_zst(as_jsonl(PAIRS)),
    "two-frames.jsonl.zst": as_zst(as_jsonl(PAIRS[:2])) + as_zst(as_jsonl(PAIRS[2:])),
    "a.csv.zst": as_zst(as_csv(PAIRS)),
    "a.zip": as_zip({"data/train.json": json.dumps(PAIRS), "README.md": "甲", "__MACOSX/._train.json": b"\0\5\x16"}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_same_rows(run, name):
    rows, report = run({name: CONTAINERS[name]})
    assert [{key: row[key] for key in PAIRS[0]} for row in rows] == PAIRS
    assert report["format"] == "instruction"
    assert report["licence"] == "cc0-1.0"
    assert report["files"][0]["name"] == name
    assert rows[0]["source"] == (name if name != "a.zip" else "a.zip/data/train.json")


def conversation(*values, **more):
    turns = [{"from": ("human", "assistant")[n % 2], "value": value} for n, value in enumerate(values)]
    return {"conversations": turns, **more}


TALK = conversation("你好。", "您好！", "天为什么蓝？", "因为散射。")
MOSS_TURN = {
    "Human": "<|Human|>: 你好。<eoh>\n", "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
    "Commands": "<|Commands|>: None<eoc>\n", "Tool Responses": "<|Results|>: None<eor>\n",
    "MOSS": "<|MOSS|>: 您好！<eom>\n",
}  # fmt: skip

READ = {
    "belle-0.5m": (
        "input-target", {"input": "写一句话。\\n关于秋天", "target": "秋风起。"},
        {"instruction": "写一句话。\\n关于秋天", "input": "", "output": "秋风起。"},
    ),
    "belle-2m": ("instruction", PAIRS[1], PAIRS[1]),
    "school math": (
        "instruction", {"instruction": "小明有3个苹果，又买了2个，共几个？", "input": "", "output": "3+2=5，共5个。"},
        {"instruction": "小明有3个苹果，又买了2个，共几个？", "input": "", "output": "3+2=5，共5个。"},
    ),
    "alpaca without an input": (
        "instruction", {"instruction": "甲", "output": "乙"}, {"instruction": "甲", "input": "", "output": "乙"},
    ),
    "generated rows with what is measured": (
        "instruction", {**PAIRS[0], "most_similar_instructions": {"丙": 0.1}, "avg_similarity_score": 0.05}, PAIRS[0],
    ),
    "multiturn chat": (
        "belle-multiturn",
        {"instruction": "Human:你好。\nAssistant:您好！\nHuman:天为什么蓝？\nAssistant:", "input": "",
         "output": "因为散射。"},
        TALK,
    ),
    "belle-3.5m": (
        "sharegpt", {"id": "66623028", **TALK}, {**TALK, "source_id": "66623028"},
    ),
    "3.5m with its category": (
        "sharegpt", {"id": 7, "category": "开放问答", **TALK}, {**TALK, "category": "开放问答", "source_id": "7"},
    ),
    "sharegpt": (
        "sharegpt",
        {"id": "QWJhYvA_0", "conversations": [{"from": "human", "value": "甲"}, {"from": "gpt", "value": "乙"}]},
        {**conversation("甲", "乙"), "source_id": "QWJhYvA_0"},
    ),
    "sharegpt under items, with a system turn": (
        "sharegpt",
        {"items": [{"from": "system", "value": "你是老师。"}, {"from": "human", "value": "甲"},
                   {"from": "chatgpt", "value": "乙"}]},
        conversation("甲", "乙", system="你是老师。"),
    ),
    "openai messages": (
        "messages",
        {"messages": [{"role": "system", "content": "简短。"}, {"role": "user", "content": "甲"},
                      {"role": "assistant", "content": "乙"}]},
        conversation("甲", "乙", system="简短。"),
    ),
    "openai messages in parts": (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "甲"}, {"type": "text", "text": "丙"}]},
                      {"role": "assistant", "content": "乙", "tool_calls": None}]},
        conversation("甲\n丙", "乙"),
    ),
    "roles under conversations": (
        "messages",
        {"conversations": [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]},
        conversation("甲", "乙"),
    ),
    "moss 003": (
        "moss",
        {"conversation_id": "3", "meta_instruction": "你是助手。\n", "num_turns": 2, "category": "Writing",
         "chat": {"turn_2": MOSS_TURN, "turn_10": {"Human": "十", "MOSS": "拾"}, "turn_1": MOSS_TURN}},
        conversation("你好。", "您好！", "你好。", "您好！", "十", "拾", system="你是助手。", category="Writing",
                     source_id="3"),
    ),
    "moss 002": (
        "moss-text",
        {"id": 4, "prefix": "你是助手。\n",
         "plain_text": "[Human]: 甲<eoh> [MOSS]: 乙\n乙<eoa> [Human]: 丙<eoh> [MOSS]: 丁<eoa> "},
        conversation("甲", "乙\n乙", "丙", "丁", system="你是助手。", source_id="4"),
    ),
    "text": ("text", {"text": "一篇文章。\n两段。"}, {"text": "一篇文章。\n两段。"}),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("named", [False, True])
def test_every_format_is_told_from_its_rows_and_read(run, name, named):
    form, row, expected = READ[name]
    rows, report = run({"a.jsonl": as_jsonl([row])}, form if named else "auto")
    assert report["format"] == form
    assert {key: value for key, value in rows[0].items() if key != "id"} == {**expected, "source": "a.jsonl"}
    if form != "text":
        assert turns(rows[0], "here")


ROLES = "请按以下角色写对话：客户：张先生；工程师：李工程师。"


def test_a_dialogue_of_roles_is_read_whole_or_as_turns(run):
    row = {
        "instruction": ROLES,
        "input": "",
        "output": "张先生：你好，要点有三：\n一：快。\n李工程师：您好。\n\n张先生: 何时好？\n李工程师：明天。",
    }
    whole, _ = run({"a.jsonl": as_jsonl([row])})
    assert whole[0]["output"] == row["output"]
    apart, _ = run({"a.jsonl": as_jsonl([row])}, "role-dialogue")
    expected = conversation("你好，要点有三：\n一：快。", "您好。", "何时好？", "明天。", system=ROLES)
    assert {key: apart[0][key] for key in expected} == expected


DROPPED = {
    "empty": [
        {"instruction": " ", "input": "", "output": "乙"},
        {"instruction": "甲", "input": None, "output": None},
        {"instruction": "甲", "output": "\n"},
        conversation("甲", "　"),
        {"conversations": [{"from": "human", "value": None}, {"from": "gpt", "value": "乙"}]},
    ],
    "no_turns": [{"conversations": []}, {"items": [{"from": "system", "value": "只有这个"}]}],
    "unanswered": [conversation("甲"), conversation("甲", "乙", "丙")],
    "roles_out_of_turn": [
        {"conversations": [{"from": "gpt", "value": "甲"}, {"from": "human", "value": "乙"}]},
        {"conversations": [{"from": "human", "value": "甲"}, {"from": "human", "value": "乙"}]},
        {"conversations": [*TALK["conversations"][:2], {"from": "system", "value": "甲"}, *TALK["conversations"][2:]]},
    ],
    "unknown_role": [{"conversations": [{"from": "narrator", "value": "甲"}, {"from": "gpt", "value": "乙"}]}],
    "tool_turn": [
        {"conversations": [{"from": "human", "value": "甲"}, {"from": "function_call", "value": "{}"},
                           {"from": "observation", "value": "1"}, {"from": "gpt", "value": "乙"}]},
    ],
    "not_utf8": [conversation("甲\ud83d", "乙"), {"instruction": "甲", "output": "\udc00"}],
}  # fmt: skip


@pytest.mark.parametrize("reason", DROPPED)
def test_what_raw_rows_cannot_hold_is_counted(run, reason):
    for row in DROPPED[reason]:
        good = (
            PAIRS[0] if "instruction" in row else TALK if "conversations" in row else {"items": TALK["conversations"]}
        )
        rows, report = run({"a.jsonl": b"".join(json.dumps(item).encode() + b"\n" for item in (good, row, good))})
        assert {key: count for key, count in report["reasons"].items() if count} == {reason: 1}
        assert report["samples"] == {reason: ["a.jsonl, row 2"]}
        assert [row["id"].rpartition("-")[2] for row in rows] == ["1", "3"]
    assert set(DROPPED) | {"not_text"} == set(REASONS)


def test_other_things_that_are_counted(run):
    picture = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
                            {"role": "assistant", "content": "乙"}]}  # fmt: skip
    tool = {"messages": [{"role": "user", "content": "甲"}, {"role": "assistant", "content": None, "tool_calls": [{}]},
                         {"role": "tool", "content": "1"}, {"role": "assistant", "content": "乙"}]}  # fmt: skip
    good = {"messages": [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]}
    _, report = run({"a.jsonl": as_jsonl([good, picture, tool, tool])})
    assert {key: count for key, count in report["reasons"].items() if count} == {"not_text": 1, "tool_turn": 2}
    searching = {"chat": {"turn_1": {**MOSS_TURN, "Commands": '<|Commands|>: Search("x")<eoc>\n'}}}
    _, report = run({"a.jsonl": as_jsonl([{"chat": {"turn_1": MOSS_TURN}}, searching])})
    assert report["reasons"]["tool_turn"] == 1
    broken = {"instruction": "Human:甲\nHuman:乙\nAssistant:", "output": "丙"}
    _, report = run({"a.jsonl": as_jsonl([READ["multiturn chat"][1], broken])})
    assert report["reasons"]["roles_out_of_turn"] == 1
    three = {"instruction": "甲、乙、丙", "output": "甲：一\n乙：二\n丙：三"}
    two = {"instruction": "甲、乙", "output": "甲：一\n乙：二"}
    _, report = run({"a.jsonl": as_jsonl([two, three])}, "role-dialogue")
    assert report["reasons"]["unknown_role"] == 1


def test_a_folder_is_read_in_the_order_of_its_names(run):
    files = {
        "b/2.jsonl.gz": gzip.compress(as_jsonl(PAIRS[1:2])),
        "a.csv": as_csv(PAIRS[:1]),
        "c.parquet": as_parquet(PAIRS[2:]),
        "README.md": b"about it",
        ".hidden.jsonl": b"no rows",
        ".git/x.jsonl": b"no rows",
    }
    rows, report = run(files)
    assert [row["source"] for row in rows] == ["a.csv", "b/2.jsonl.gz", "c.parquet"]
    assert [row["instruction"] for row in rows] == [row["instruction"] for row in PAIRS]
    assert report["passed_over"] == ["README.md"]
    assert report["rows"] == {"a.csv": 1, "b/2.jsonl.gz": 1, "c.parquet": 1}


def test_text_is_a_document_a_line_or_a_file(run):
    text = "第一篇。\n\n　第二篇。　\n".encode()
    rows, _ = run({"a.txt": text}, "text-lines")
    assert [row["text"] for row in rows] == ["第一篇。", "第二篇。"]
    rows, _ = run({"b.txt": text, "a.txt": "甲".encode()}, "text-files")
    assert [(row["source"], row["text"]) for row in rows] == [("a.txt", "甲"), ("b.txt", "第一篇。\n\n　第二篇。")]


@pytest.mark.parametrize(
    "categories",
    [b'{"1": "code", "2": "math"}', json.dumps({"1": "code", "2": "math", "3": "qa"}, indent=2).encode()],
)
def test_categories_are_joined_on_the_id(run, categories):
    rows, report = run(
        {"a.jsonl": as_jsonl([{"id": "2", **TALK}, {"id": 1, **TALK}])}, categories=categories
    )  # fmt: skip
    assert [(row["source_id"], row["category"]) for row in rows] == [("2", "math"), ("1", "code")]
    assert report["categories"][0]["sha256"]


def test_ids_and_bytes_depend_on_content_name_and_place_only(run, tmp_path):
    first, _ = run({"a.jsonl": as_jsonl([*PAIRS, PAIRS[0]])})
    before = (tmp_path / "out.jsonl").read_bytes(), (tmp_path / "out.report.json").read_bytes()
    again, _ = run({"a.jsonl": as_jsonl([*PAIRS, PAIRS[0]])})
    assert before == ((tmp_path / "out.jsonl").read_bytes(), (tmp_path / "out.report.json").read_bytes())
    assert str(tmp_path).encode() not in before[0] + before[1]
    assert first[0]["id"] != first[3]["id"]
    longer, _ = run({"a.jsonl": as_jsonl([*PAIRS, PAIRS[0], PAIRS[1]])})
    assert [row["id"] for row in longer[:4]] == [row["id"] for row in again]


def test_every_format_can_be_named_in_params():
    import typing

    assert typing.get_args(RowFormat) == ("auto", *FORMATS)


def big_rows(count):
    rng = random.Random(1)
    for number in range(count):
        yield {"instruction": f"第{number}题" + "甲" * rng.randrange(6000), "input": "", "output": "乙" * 200}


LARGE = {
    "json": lambda rows: json.dumps(rows, ensure_ascii=False).encode(),
    "jsonl": as_jsonl,
    "csv": as_csv,
    "jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows), 1),
    "jsonl.zst": lambda rows: as_zst(as_jsonl(rows)),
    "zip": lambda rows: as_zip({"a.json": json.dumps(rows, ensure_ascii=False)}),
}


@pytest.mark.parametrize("container", LARGE)
def test_memory_does_not_grow_with_the_file(tmp_path, container):
    """23 MB of rows of up to 18 KB."""
    path = tmp_path / f"a.{container}"
    path.write_bytes(LARGE[container](list(big_rows(2500))))
    tracemalloc.start()
    import_dataset(
        path=path, categories=None, out=tmp_path / "o", report=tmp_path / "r", format="auto", licence="unknown"
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), min_size=1, max_size=5)


def read_array(data: bytes, block: int):
    before = jsontext._BLOCK
    jsontext._BLOCK = block
    try:
        return [row for _, _, row in jsontext.rows(io.BufferedReader(io.BytesIO(data)), "a.json")]
    finally:
        jsontext._BLOCK = before


@given(rows=ROWS, indent=st.sampled_from([None, 0, 2]), ascii_=st.booleans(), block=st.integers(1, 40))
def test_an_array_read_piece_by_piece_is_what_json_reads(rows, indent, ascii_, block):
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_)
    data = text.encode("utf-8", "surrogatepass")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return
    assert read_array(data, block) == rows


@given(rows=ROWS, cut=st.floats(0, 1, exclude_max=True), block=st.integers(1, 40))
def test_an_array_that_was_cut_off_is_never_taken_for_a_shorter_one(rows, cut, block):
    data = json.dumps(rows).encode()
    data = data[: max(1, int(cut * len(data)))]
    with pytest.raises(InputError):
        read_array(data, block)
