"""What can be wrong with files that are imported: JSON, CSV, Parquet, compression, formats, categories."""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from broken.case import Case, file, folder_of
from broken.lines import ROW

PAIRS = [{"instruction": f"写第{number}句。", "input": "", "output": f"第{number}句。"} for number in range(1, 5)]
TALK = [{"from": "human", "value": "甲"}, {"from": "gpt", "value": "乙"}]
MESSAGES = [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]
LINES = "".join(json.dumps(row) + "\n" for row in PAIRS).encode()
ARRAY = json.dumps(PAIRS, ensure_ascii=False, indent=1)


def _zip(members: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def _zst(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)


def _parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _bomb(rows: int = 100) -> bytes:
    """Good rows of 1 MiB that pack to 1 KiB each."""
    return (json.dumps({"text": "a" * (1 << 20)}) + "\n").encode() * rows


def _encrypted() -> bytes:
    data = bytearray(_zip({"a.jsonl": LINES}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(magic) + offset
        data[at : at + 2] = struct.pack("<H", 1)
    return bytes(data)


def _damaged(data: bytes, at: float) -> bytes:
    place = int(len(data) * at)
    return data[:place] + bytes(byte ^ 0x55 for byte in data[place : place + 8]) + data[place + 8 :]


def _dvc_in_folder(folder: Path) -> Path:
    (folder / "a.jsonl").write_bytes(LINES)
    (folder / "b.jsonl.dvc").write_text("outs: []\n", encoding="utf-8")
    return folder


def _many(count: int) -> bytes:
    return "".join(
        json.dumps({**ROW, "instruction": f"第{n}"}, ensure_ascii=False) + "\n" for n in range(count)
    ).encode()


ARRAYS = [
    ("cut within a row", ARRAY[: ARRAY.index("第3句") + 2], ", row 3", ("not JSON", "cut off")),
    ("cut between rows", ARRAY[: ARRAY.index("}") + 1], ":6", ("the file ends where", "after row 1")),
    ("a comma is missing", ARRAY.replace("},", "}", 1), ":7", ("'{' stands where", "after row 1")),
    ("a comma at the end", ARRAY.rstrip("]\n") + ",]", ", row 5", ("not JSON",)),
    ("two arrays", ARRAY + ARRAY, ":22", ("stands after the end", "two files put together")),
    ("NaN", ARRAY.replace('"第2句。"', "NaN"), ", row 2", ("NaN",)),
    ("a key twice", ARRAY.replace('"input": ""', '"input": "", "input": ""', 1), ", row 1", ("'input' comes twice",)),
    ("a row that is text", json.dumps([*PAIRS, "文"]), ", row 5", ("a str where an object", "'文'")),
    ("deep nesting", "[" * 100_000, ", row 1", ("nested too deep",)),
    ("GBK", ARRAY.encode("gb18030"), ":3", ("not UTF-8", "GB18030")),
    ("UTF-16", ARRAY.encode("utf-16"), ":1", ("UTF-16",)),
    ("NUL", ARRAY.replace("写第2句", "写\0第2句"), ":8", ("NUL",)),
    ("an empty array", "[]", "", ("no rows",)),
    ("an empty file", "", "", ("no rows",)),
    ("an empty object", "{}", ":1", ("no row",)),
    ("settings", '{"lr": 1, "steps": {"a": 2}}', ":1", ("lr, steps", "no columns")),
    ("rows by id", json.dumps({"1": PAIRS[0], "2": PAIRS[1]}), ":1", ("1, 2", "rows by id")),
    ("two lists of rows", json.dumps({"train": PAIRS, "test": PAIRS}), ":1", ("train, test", "several lists")),
    ("columns of two lengths", '{"instruction": ["甲", "乙"], "output": ["丙"]}', "",
     ("`instruction` has 2 items, `output` has 1",)),
    ("a scalar", "17", ":1", ("a int where an object",)),
    ("not JSON at all", "<html>404</html>", ":1", ("not JSON",)),
    ("JSON Lines with half a line", LINES[: len(LINES) - 30], ":4", ("not JSON", "cut off")),
]  # fmt: skip

HEADER = "instruction,input,output\r\n"
CSV = [
    (
        "a column is missing",
        "instruction,input\r\n甲,乙\r\n",
        ":2",
        ("instruction, input", "formats and what they read"),
    ),
    ("a cell too few", HEADER + "甲,,乙\r\n丙,丁\r\n", ":3", ("2 cells, the header has 3 columns",)),
    ("a cell too many", HEADER + "甲,,乙\r\n丙,丁,戊,己\r\n", ":3", ("4 cells", "3 columns")),
    ("a quote not closed", HEADER + '甲,,乙\r\n丙,,"丁\r\n戊,,己\r\n', ":3", ("no CSV", "quote")),
    ("text after a quote", HEADER + '"甲"乙,,丙\r\n', ":2", ("no CSV",)),
    ("a column twice", "instruction,output,output\r\n甲,乙,丙\r\n", ":1", ("'output' comes twice",)),
    ("a column without a name", "instruction,,output\r\n甲,乙,丙\r\n", ":1", ("column 2 has no name",)),
    ("semicolons", "instruction;input;output\r\n甲;;乙\r\n", ":1", ("one column", "','")),
    ("GBK", (HEADER + "写一句话,,秋风起\r\n").encode("gb18030"), ":2", ("not UTF-8", "GB18030")),
    ("UTF-16", HEADER.encode("utf-16"), ":1", ("UTF-16",)),
    ("NUL", HEADER + "甲\0,,乙\r\n", ":2", ("NUL at byte 3",)),
    ("a header alone", HEADER, "", ("no rows",)),
    ("empty", "", "", ("no rows",)),
]

TEXT = {"instruction": ["甲", "乙"], "output": ["丙", "丁"]}
GOOD = _parquet(TEXT)
PARQUET = [
    ("numbers for text", _parquet({**TEXT, "output": [1, 2]}), ", row 1", ("`output` must be text", "found 1")),
    ("bytes for text", _parquet({**TEXT, "output": [b"a", b"b"]}), ", row 1", ("`output`", "b'a'")),
    ("a list for text", _parquet({**TEXT, "instruction": [["甲"], ["乙"]]}), ", row 1", ("`instruction`", "['甲']")),
    ("columns under other names", _parquet({"q": ["甲"], "a": ["乙"]}), ", row 1", ("q, a", "rename")),
    ("cut", GOOD[: len(GOOD) // 2], "", ("no Parquet",)),
    ("its foot is cut", GOOD[:-4], "", ("no Parquet",)),
    ("damaged", _damaged(GOOD, 0.05), "", ("no Parquet",)),
    ("empty", b"", "", ("no Parquet",)),
    ("JSON under its name", LINES, "", ("no Parquet",)),
    ("no rows", _parquet({"instruction": pyarrow.array([], "string"), "output": pyarrow.array([], "string")}), "",
     ("no rows",)),
    ("a bomb", _parquet({"text": pyarrow.array(["a" * (1 << 20)] * 100)}), "", ("grow to over",)),
]  # fmt: skip

PACKED = [
    ("gz cut", "a.jsonl.gz", gzip.compress(_many(2000))[:-200], "", ("cut off after", "gzip")),
    ("gz without its last bytes", "a.jsonl.gz", gzip.compress(LINES)[:-4], "", ("cut off",)),
    ("gz damaged", "a.jsonl.gz", _damaged(gzip.compress(_many(2000)), 0.5), "", ("damaged", "gzip")),
    ("gz with a tail", "a.jsonl.gz", gzip.compress(LINES) + b"tail", "", ("damaged",)),
    ("gz that is none", "a.jsonl.gz", LINES, "", ("damaged", "another kind of file")),
    ("gz, empty", "a.jsonl.gz", b"", "", ("no rows",)),
    ("gz bomb", "a.jsonl.gz", gzip.compress(_bomb()), "", ("grow to over", "200 times")),
    ("gz with half a line", "a.jsonl.gz", gzip.compress(LINES[:-20]), ":4", ("not JSON",)),
    ("zst cut", "a.jsonl.zst", _zst(_many(2000))[:-20], "", ("cut off after", "Zstandard")),
    ("zst damaged", "a.jsonl.zst", _damaged(_zst(_many(2000)), 0.1), None, ("another",)),  # no checksum: nonsense comes
    ("zst that is none", "a.jsonl.zst", LINES, "", ("damaged", "Zstandard")),
    ("zst bomb", "a.jsonl.zst", _zst(_bomb()), "", ("grow to over", "200 times")),
    ("zip cut", "a.zip", _zip({"a.jsonl": _many(2000)})[:-100], "", ("no zip",)),
    ("zip that is none", "a.zip", LINES, "", ("no zip",)),
    ("zip damaged", "a.zip", _damaged(_zip({"a.jsonl": _many(2000)}), 0.5), "/a.jsonl", ("damaged", "zip")),
    ("zip bomb", "a.zip", _zip({"a.jsonl": _bomb()}), "/a.jsonl", ("grow to over", "200 times")),
    ("zip bomb in members", "a.zip", _zip({f"{n}.jsonl": _bomb(24) for n in range(3)}), "/2.jsonl",
     ("grow to over", "200 times")),
    ("zip in a zip", "a.zip", _zip({"b.zip": _zip({"a.jsonl": LINES})}), "/b.zip", ("compressed itself",)),
    ("gz in a zip", "a.zip", _zip({"b.jsonl.gz": gzip.compress(LINES)}), "/b.jsonl.gz", ("compressed itself",)),
    ("zip with a password", "a.zip", _encrypted(), "/a.jsonl", ("encrypted",)),
    ("zip of other files", "a.zip", _zip({"README.md": "文"}), "", ("no file of rows",)),
    ("zip with half a line", "a.zip", _zip({"x/a.jsonl": LINES[:-20]}), "/x/a.jsonl:4", ("not JSON",)),
    ("tar", "a.tar.gz", gzip.compress(LINES), "", ("a.tar.gz", "unpacked first", ".jsonl.gz")),
    ("no ending", "rows", LINES, "", ("the ending of rows",)),
    ("a table of Excel", "rows.xlsx", _zip({"x": "y"}), "", ("the ending of rows.xlsx",)),
]  # fmt: skip


def _rows(name: str, row: dict[str, Any], place: str, *says: str, form: str = "", first: Any = None) -> Case:
    good = first or {"instruction": "甲", "output": "乙"}
    data = "".join(json.dumps(item) + "\n" for item in (good, row))
    return Case(name, f"import:{form}" if form else "import", file("a.jsonl", data), place, says)


_A_TALK, _A_CHAT = {"conversations": TALK}, {"messages": MESSAGES}
_A_MOSS = {"chat": {"turn_1": {"Human": "甲", "MOSS": "乙"}}}
ROWS = [
    _rows("output missing", {"instruction": "甲"}, ":2", "`output` is missing", "instruction", form="instruction"),
    _rows("instruction a number", {"instruction": 3, "output": "乙"}, ":2", "`instruction` must be text, found 3"),
    _rows("input a list", {"instruction": "甲", "input": [], "output": "乙"}, ":2", "`input`", "found []"),
    _rows("output an object", {"instruction": "甲", "output": {"text": "乙"}}, ":2", "`output`", "{'text': '乙'}"),
    _rows(
        "target a number",
        {"input": "甲", "target": 5},
        ":2",
        "`target`",
        "found 5",
        first={"input": "甲", "target": "乙"},
    ),
    _rows("text a number", {"text": 5}, ":2", "`text` must be text, found 5", first={"text": "文"}),
    _rows("conversations text", {"conversations": "甲"}, ":2", "`conversations`", "'甲'", first=_A_TALK),
    _rows("a turn that is text", {"conversations": [TALK[0], "乙"]}, ":2", "turn 2", "'乙'", first=_A_TALK),
    _rows("no role", {"conversations": [TALK[0], {"value": "乙"}]}, ":2, turn 2", "`from` is missing", first=_A_TALK),
    _rows(
        "a role that is a number",
        {"conversations": [{"from": 1, "value": "甲"}]},
        ":2, turn 1",
        "`from`",
        "1",
        first=_A_TALK,
    ),
    _rows("no value", {"conversations": [{"from": "human"}]}, ":2, turn 1", "`value` is missing", first=_A_TALK),
    _rows(
        "a value that is a number",
        {"conversations": [{"from": "human", "value": 1}]},
        ":2, turn 1",
        "`value`",
        "1",
        first=_A_TALK,
    ),
    _rows("system a list", {**_A_TALK, "system": ["x"]}, ":2", "`system`", "['x']", first=_A_TALK),
    _rows(
        "content a number",
        {"messages": [{"role": "user", "content": 4}]},
        ":2, turn 1",
        "`content`",
        "4",
        first=_A_CHAT,
    ),
    _rows(
        "content of parts without a type",
        {"messages": [{"role": "user", "content": ["x"]}]},
        ":2, turn 1",
        "`content`",
        "['x']",
        first=_A_CHAT,
    ),
    _rows(
        "messages an object",
        {"messages": {"role": "user"}},
        ":2",
        "`messages`",
        "{'role': 'user'}",
        first=_A_CHAT,
        form="messages",
    ),
    _rows("chat a list", {"chat": []}, ":2", "`chat`", "[]", first=_A_MOSS, form="moss"),
    _rows("a turn of chat that is text", {"chat": {"turn_1": "甲"}}, ":2", "`turn_1`", "'甲'", first=_A_MOSS),
    _rows("another turn in chat", {"chat": {"first": {}}}, ":2", "`chat`", "'first' is no turn", first=_A_MOSS),
    _rows(
        "a turn of chat without MOSS",
        {"chat": {"turn_1": {"Human": "甲"}}},
        ":2, turn_1",
        "`MOSS` is missing",
        first=_A_MOSS,
    ),
    _rows(
        "plain_text a number",
        {"plain_text": 3},
        ":2",
        "`plain_text`",
        "3",
        first={"plain_text": "[Human]: 甲 [MOSS]: 乙"},
        form="moss-text",
    ),
    _rows(
        "rows of two formats",
        _A_CHAT,
        ":2",
        "a row of the format messages among rows of the format sharegpt",
        first=_A_TALK,
        form="sharegpt",
    ),
    _rows("rows of two formats, to be told", _A_CHAT, ":2", "could be sharegpt or messages", first=_A_TALK),
    _rows(
        "two shapes in a row",
        {},
        ":1",
        "could be sharegpt or messages",
        "format: sharegpt",
        first={**_A_TALK, **_A_CHAT},
    ),
    _rows(
        "alpaca with its text",
        {},
        ":1",
        "could be instruction or text",
        "format: instruction",
        first={"instruction": "甲", "output": "乙", "text": "甲乙"},
    ),
    _rows(
        "other columns",
        {},
        ":1",
        "prompt, response",
        "formats and what they read",
        first={"prompt": "甲", "response": "乙"},
    ),
    _rows("none can be told", {"conversations": []}, ":1", "do not tell their format", first={"conversations": []}),
    _rows(
        "none can be kept",
        {"instruction": "", "output": ""},
        "",
        "none of 2 rows can be kept",
        "empty 2",
        first={"instruction": "甲", "output": ""},
    ),
    Case("no such format", "import:alpacca", file("a.jsonl", LINES), None, ("no format 'alpacca'", "instruction")),
    Case("text without a format", "import", file("a.txt", "一篇\n"), "", ("text-lines", "text-files")),
    Case("text under a format of rows", "import:sharegpt", file("a.txt", "一篇\n"), "", ("format is sharegpt",)),
    Case("text in GBK", "import:text-lines", file("a.txt", "第一篇文章\n".encode("gb18030")), ":1", ("GB18030",)),
    Case(
        "a file of text in GBK", "import:text-files", file("a.txt", "第一篇文章\n".encode("gb18030")), "", ("GB18030",)
    ),
    Case("an empty folder", "import", folder_of(), "", ("no file of rows in this folder: it is empty",)),
    Case("a folder of other files", "import", folder_of(README__md="文"), "", ("there are README.md",)),
    Case("a folder with what DVC did not bring", "import", _dvc_in_folder, "/b.jsonl", ("b.jsonl.dvc", "dvc pull")),
    Case(
        "a fault in the second file",
        "import",
        folder_of(a__jsonl=LINES, b__jsonl=LINES[:-20]),
        "/b.jsonl:4",
        ("not JSON",),
    ),
    Case(
        "two formats in a folder",
        "import:instruction",
        folder_of(a__jsonl=LINES, b__jsonl=json.dumps(_A_TALK)),
        "/b.jsonl:1",
        ("a row of the format sharegpt among rows of the format instruction",),
    ),
]


def _categories(name: str, categories: str | bytes, place: str | None, *says: str, rows: str = "") -> Case:
    data = rows or json.dumps({"id": "7", **_A_TALK}) + "\n"
    return Case(name, "import:+categories", file("a.jsonl", data, categories__json=categories), place, says)


CATEGORIES = [
    _categories("an id that is not in it", '{"8": "code"}', ":1", "`id`: '7'", "the 1 ids of"),
    _categories("a row without an id", '{"7": "code"}', ":1", "`id` is missing", rows=json.dumps(_A_TALK)),
    _categories("an id twice", '{"7": "code", "7": "math"}', "categories, item 2", "'7' comes twice: 'code', 'math'"),
    _categories("a number", '{"7": 3}', "categories, item 1", "`category of 7` must be text, found 3"),
    _categories("nothing", '{"7": " "}', "categories, item 1", "`category`", "' '"),
    _categories("a list", '[{"id": 7}]', "categories:1", "'['", "'{'"),
    _categories("cut", '{"7": "code", "8', "categories, item 2", "not JSON"),
    _categories("cut after an id", '{"7"', "categories:1", "the file ends where ':' is due, after the id '7'"),
    _categories("empty", "{}", "categories", "no categories"),
    _categories("GBK", '{"7": "代码题"}'.encode("gb18030"), "categories:1", "GB18030"),
    _categories("rows in its place", json.dumps({"id": "7", **_A_TALK}), "categories, item 2", "must be text"),
]


def _of(kind: str, ending: str, faults: list[Any]) -> list[Case]:
    return [
        Case(f"{kind}: {name}", "import", file(f"a.{ending}", data), place, says) for name, data, place, says in faults
    ]


IMPORTS = [
    *_of("array", "json", ARRAYS),
    *_of("csv", "csv", CSV),
    *_of("parquet", "parquet", PARQUET),
    *[Case(name, "import", file(path, data), place, says) for name, path, data, place, says in PACKED],
    *ROWS,
    *CATEGORIES,
]
