"""What can be wrong with any JSON Lines, given to everything that reads it; and with the fields of each kind of row."""

import gzip
import json
from typing import Any

from broken.case import Case, absent, file, link, only_dvc, pipe

SEED: dict[str, Any] = {
    "id": "seed_1", "name": "诗", "instruction": "写一首关于秋天的诗。",
    "instances": [{"input": "", "output": "秋风起，稻子黄。"}], "is_classification": False,
}  # fmt: skip
QUESTION: dict[str, Any] = {"question": "中国的首都是哪里？", "class": "open qa", "std_answer": "北京是中国的首都。"}
ROW: dict[str, Any] = {"id": "r-1", "instruction": "写一句关于秋天的话。", "input": "", "output": "秋风起，稻子黄了。"}

ROWS = {"seeds": SEED, "evaluation set": QUESTION, "clean": ROW, "jsonl": ROW, "import": ROW}
"""Entry point → a good row of it."""


def good(entry: str, number: int) -> dict[str, Any]:
    row = dict(ROWS[entry])
    key = "question" if entry == "evaluation set" else "id"
    return {**row, key: f"{row[key]}{number}"}


def lines(entry: str, third: bytes | None = None) -> bytes:
    rows = [json.dumps(good(entry, number), ensure_ascii=False).encode() for number in range(1, 5)]
    if third is not None:
        rows[2] = third
    return b"\n".join(rows) + b"\n"


def _text(entry: str) -> str:
    return json.dumps(good(entry, 3), ensure_ascii=False)


def _put(entry: str, extra: str) -> bytes:
    return (_text(entry)[:-1] + f", {extra}}}").encode()


def _of(entry: str) -> list[Case]:
    whole = lines(entry)
    text = _text(entry)
    key = next(iter(good(entry, 3)))
    faults: list[tuple[str, bytes, str, tuple[str, ...]]] = [
        ("GBK", whole.decode().encode("gb18030"), ":1", ("not UTF-8 at byte", "GB18030", "iconv -f GB18030 -t UTF-8")),
        ("UTF-16 with its mark", whole.decode().encode("utf-16"), ":1", ("0xff", "UTF-16", "iconv -f UTF-16")),
        ("UTF-16 without a mark", b"\n".join(b"" for _ in range(2)) + '{"id": "ascii"}\n'.encode("utf-16-le"), ":2",
         ("NUL at byte 1", "UTF-16")),
        ("Latin-1", lines(entry, b'{"id": "caf\xe9"}'), ":3", ("not UTF-8 at byte 11 (0xe9)", "Latin-1")),
        ("half a character", lines(entry)[: -len("。\"}\n".encode()) - 20], ":4", ("cut off",)),
        ("half a line", lines(entry, text[: len(text) // 2].encode()), ":3", ("not JSON", "at column", "cut off")),
        ("NUL in a line", lines(entry, text.encode()[:20] + b"\0" * 6 + text.encode()[20:]), ":3", ("NUL at byte 20",)),
        ("a tail of NUL", whole + b"\0" * 4096, ":5", ("NUL at byte 0", "crash or a full disk")),
        ("NaN", lines(entry, _put(entry, '"score": NaN')), ":3", ("NaN",)),
        ("Infinity", lines(entry, _put(entry, '"score": -Infinity')), ":3", ("-Infinity",)),
        ("a number past all floats", lines(entry, _put(entry, '"score": 1e999')), ":3", ("1e999",)),
        ("a giant number", lines(entry, _put(entry, f'"score": {"9" * 5000}')), ":3", ("a number of 5000 digits",)),
        ("a key twice", lines(entry, _put(entry, f'"{key}": "another"')), ":3", (f"'{key}' comes twice",)),
        ("a key twice, deep", lines(entry, _put(entry, '"more": [{"a": 1, "a": 2}]')), ":3", ("'a' comes twice",)),
        ("deep nesting", lines(entry, _put(entry, '"more": ' + "[" * 50_000 + "]" * 50_000)), ":3",
         ("nested too deep",)),
        ("single quotes", lines(entry, b"{'id': 'x'}"), ":3", ("not JSON", "property name")),
        ("a list", lines(entry, b'["a", "b"]'), ":3", ("a list where an object was expected", "['a', 'b']")),
        ("a number", lines(entry, b"17"), ":3", ("a int where an object was expected", "17")),
        ("null", lines(entry, b"null"), ":3", ("NoneType",)),
        ("two objects on a line", lines(entry, text.encode() + b" " + text.encode()), ":3", ("Extra data",)),
        ("a comma after each row", whole.replace(b"}\n", b"},\n"), ":1", ("Extra data",)),
        ("gzip under another name", gzip.compress(whole), ":1", ("0x8b", "gzip (.gz)")),
    ]  # fmt: skip
    cases = [Case(name, entry, file("rows.jsonl", data), place, says) for name, data, place, says in faults]
    cases += [
        Case("nothing there", entry, absent, "", ("there is no such file", "check the path")),
        Case("a link to nothing", entry, link, "", ("a link to moved-away.jsonl, which is not there",)),
        Case("only its .dvc", entry, only_dvc, "", ("rows.jsonl.dvc", "dvc pull")),
        Case("a pipe", entry, pipe, "", ("no file",)),
    ]
    if entry != "import":  # there, a folder is read whole, and the mark is taken off
        cases.append(Case("a folder", entry, lambda folder: folder, "", ("a folder stands where a file is meant",)))
        data = b"\xef\xbb\xbf" + whole
        cases.append(Case("a byte order mark", entry, file("rows.jsonl", data), ":1", ("byte order mark",)))
    if entry not in {"jsonl", "clean"}:  # a set from which all was dropped is a set
        cases.append(Case("an empty file", entry, file("rows.jsonl", b""), "", ("no ",)))
        cases.append(Case("blank lines", entry, file("rows.jsonl", b"\n \n\n"), "", ("no ",)))
    return cases


def _fields(entry: str, faults: list[tuple[str, Any, tuple[str, ...]]]) -> list[Case]:
    """A fault is a field, the value that stands there (``...`` takes the field away), and what must be said."""
    cases = []
    for field, value, says in faults:
        row = {**good(entry, 3), field: value}
        if value is ...:
            del row[field]
        data = lines(entry, json.dumps(row).encode())
        name = f"{field} {'missing' if value is ... else json.dumps(value)[:40]}"
        cases.append(Case(name, entry, file("rows.jsonl", data), ", row 3", (f"`{field}`", *says)))
    return cases


LINES = [case for entry in ROWS for case in _of(entry)]

FIELDS = [
    *_fields("seeds", [
        ("id", ..., ("nothing",)), ("id", 5, ("5",)), ("id", "", ("not empty", "''")), ("id", "a\nb", ("one line",)),
        ("id", "seed_11", ("'seed_11' comes twice, first in row 1",)), ("name", None, ("nothing",)),
        ("instruction", ["写"], ("['写']",)), ("instruction", "  ", ("'  '",)),
        ("instruction", "表情\ud83d", ("half a character",)), ("instruction", "写\0诗", ("NUL at 1",)),
        ("instances", ..., ("None",)), ("instances", [], ("[]",)), ("instances", {"input": ""}, ("{'input': ''}",)),
        ("instances", ["x"], ("['x']",)), ("is_classification", "false", ("true or false", "'false'")),
        ("is_classification", 0, ("0",)),
    ]),
    Case("an instance without output", "seeds",
         file("rows.jsonl", lines("seeds", json.dumps({**good("seeds", 3), "instances": [{"input": ""}]}).encode())),
         ", row 3", ("`output`", "nothing")),
    Case("an instance whose input is a number", "seeds",
         file("rows.jsonl", lines("seeds", json.dumps(
             {**good("seeds", 3), "instances": [{"input": 3, "output": "x"}]}).encode())),
         ", row 3", ("`input`", "found 3")),
    *_fields("evaluation set", [
        ("question", ..., ("nothing",)), ("question", ["什么"], ("['什么']",)), ("question", "", ("not empty",)),
        ("question", QUESTION["question"] + "1", ("comes twice, first in row 1",)),
        ("question", "\udc00", ("half a character",)), ("class", ..., ("nothing",)), ("class", 3, ("3",)),
        ("class", " ", ("not empty",)), ("std_answer", ..., ("nothing",)), ("std_answer", 12.5, ("12.5",)),
        ("split", 1, ("found 1",)),
    ]),
    *_fields("clean", [
        ("id", ..., ("nothing",)), ("id", 5, ("5",)), ("id", "", ("''",)), ("id", "a\nb", (r"a\nb",)),
        ("instruction", ..., ("nothing",)), ("instruction", 3, ("3",)),
        ("instruction", None, ("nothing",)), ("input", 7, ("7",)), ("output", ["a"], ("['a']",)),
        ("output", {"a": 1}, ("{'a': 1}",)), ("output", True, ("True",)), ("output", ..., ("nothing",)),
    ]),
    Case("an id twice", "clean", file("rows.jsonl", lines("clean", json.dumps({**ROW, "id": "r-11"}).encode())),
         ", row 3", ("id 'r-11' comes twice",)),
]  # fmt: skip

_TALK = [{"from": "human", "value": "甲"}, {"from": "assistant", "value": "乙"}]


def _talk(name: str, conversations: Any, *says: str, place: str = ", row 2") -> Case:
    rows = [{"conversations": _TALK}, {"conversations": conversations}]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    return Case(name, "turns", file("rows.jsonl", data), place, says)


TURNS = [
    _talk("a number", 3, "`conversations`", "found 3"),
    _talk("none", [], "`conversations`", "found 0 of them"),
    _talk("a question alone", _TALK[:1], "`conversations`", "found 1 of them"),
    _talk("the answer first", _TALK[::-1], "turn 1 must be from 'human', found 'assistant'"),
    _talk("two questions", [_TALK[0], _TALK[0]], "turn 2 must be from 'assistant', found 'human'"),
    _talk("another name", [_TALK[0], {"from": "gpt", "value": "乙"}], "found 'gpt'"),
    _talk("a turn that is text", [_TALK[0], "乙"], "turn 2", "'乙'"),
    _talk("a value that is null", [_TALK[0], {"from": "assistant", "value": None}], "`value`", "nothing",
          place=", row 2, turn 2"),
    _talk("a value that is a list", [_TALK[0], {"from": "assistant", "value": ["乙"]}], "`value`", "['乙']",
          place=", row 2, turn 2"),
    Case("neither shape", "turns", file("rows.jsonl", '{"text": "文"}\n'), ", row 1", ("`instruction`", "nothing")),
]  # fmt: skip

_PROMPT = "请写 {tasks} 个任务。\n"
PROMPTS = [
    Case("GBK", "prompt", file("p.txt", _PROMPT.encode("gb18030")), "", ("not UTF-8 at byte 0", "GB18030")),
    Case("UTF-16", "prompt", file("p.txt", _PROMPT.encode("utf-16")), "", ("UTF-16",)),
    Case("a mark", "prompt", file("p.txt", b"\xef\xbb\xbf" + _PROMPT.encode()), "", ("byte order mark",)),
    Case("NUL", "prompt", file("p.txt", _PROMPT + "\0"), "", ("NUL at byte",)),
    Case("cut", "prompt", file("p.txt", _PROMPT.encode()[:-3]), "", ("cut off",)),
    Case("no place for the number", "prompt", file("p.txt", "请写任务。"), "", ("`{tasks}`",)),
    Case("nothing there", "prompt", absent, "", ("there is no such file",)),
    Case("a folder", "prompt", lambda folder: folder, "", ("a folder",)),
    Case("two million characters", "prompt", file("p.txt", "a" * 2_000_000), "", ("over 1048576 bytes",)),
    Case("no prompts", "judge prompts", lambda folder: folder, "", ("no judge prompts",)),
    Case("a prompt in GBK", "judge prompts",
         lambda folder: file("math.txt", "请打分".encode("gb18030"))(folder).parent, "/math.txt", ("GB18030",)),
]  # fmt: skip
