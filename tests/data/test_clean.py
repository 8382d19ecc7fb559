"""The stage clean: every raw row becomes a clean row or is counted under one reason."""

import json
import random
import unicodedata

import pytest

from belle import jsonl
from belle.data.clean import clean
from belle.data.cleaning.bare import bare, digest, digests, digests_in
from belle.data.cleaning.looking import Looker, Looking
from belle.data.cleaning.plain import Plain
from belle.data.filters import (
    FILTERS,
    SUSPECTS,
    Columns,
    Searching,
    named,
    output_longer,
    output_shorter,
    output_too_long,
    output_too_short,
    suspects_of,
)
from belle.errors import InputError


def raw_row(number, instruction, output, given="", **more):
    return {
        "id": f"r-{number:012x}-0", "request": "0" * 64, "sample": number, "seeds": ["seed_001"],
        "instruction": instruction, "input": given, "output": output, **more,
    }  # fmt: skip


ROWS = [
    raw_row(1, "介绍北京。", "北京是中国的首都。"),
    raw_row(2, "介绍上海。", ""),
    raw_row(3, "介绍广州。", "作为一个AI语言模型，我没有去过。"),
    raw_row(4, "介绍　北京。", "北京是中国的首都。"),  # a full-width space is no other row
    raw_row(5, "介绍北京。", "北京有故宫和长城。"),  # the same question, another answer
    raw_row(6, "写出下面词语的反义词。", "小", "大"),
    raw_row(7, "写出下面词语的反义词。", "低", "高"),
    raw_row(8, "介绍天津。", "天" * 60),
    raw_row(9, "介绍重庆。", "山"),
]


@pytest.fixture
def run(tmp_path):
    def run(rows, **changes):
        # In ASCII, as some published files are: that is how half a surrogate pair can come in.
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
        settings = {
            "filters": ["output_empty", "gpt_self_reference"],
            "compare": "instruction",
            "novelty_threshold": 1.01,
            "min_output_chars": 1,
            "max_output_chars": 50,
            "near_duplicate_threshold": 1.01,
            "rejects": tmp_path / "clean" / "tiny.rejects.jsonl",
            "page": tmp_path / "clean" / "tiny.report.html",
            **changes,
        }
        out, report = tmp_path / "clean" / "tiny.jsonl", tmp_path / "clean" / "tiny.report.json"
        clean(raw=tmp_path / "raw.jsonl", out=out, report=report, **settings)
        return list(jsonl.read(out)), json.loads(report.read_text(encoding="utf-8"))

    return run


def numbers(rows):
    return [row["sample"] for row in rows]


def test_every_row_is_kept_or_counted_once(run):
    rows, report = run(ROWS)
    assert rows == [ROWS[i - 1] for i in (1, 5, 6, 7, 9)]
    assert report["rows_in"] == 9
    assert report["rows_out"] == 5
    assert report["reasons"] == {
        "output_empty": 1, "gpt_self_reference": 1, "output_too_short": 0, "output_too_long": 1, "not_utf8": 0,
        "contaminated": 0, "exact_duplicate": 1, "near_duplicate": 0, "not_novel": 0,
    }  # fmt: skip
    (sample,) = report["samples"]["exact_duplicate"]
    assert (sample["id"], sample["rival"]) == (ROWS[3]["id"], ROWS[0]["id"])
    lengths = report["chars"]["after"]["output"]
    assert lengths.pop("histogram")["counts"] == [0, 3, 0, 0, 0, 0, 2]
    assert lengths == {"min": 1, "mean": 4.2, "median": 1, "p95": 9, "max": 9}
    assert report["chars"]["before"]["output"]["max"] == 60


def test_novelty_of_the_compared_text(run):
    rows, report = run(ROWS, novelty_threshold=0.7)
    # 介绍北京 and its fellows share 2 of 4 tokens; 6 and 7 have the same instruction.
    assert numbers(rows) == [1, 6, 9]
    assert report["reasons"]["not_novel"] == 2
    rows, _ = run(ROWS, novelty_threshold=1.0, compare="instruction+input")
    assert numbers(rows) == [1, 6, 7, 9]


def test_rows_that_hold_an_evaluation_question_go_and_the_report_says_whose(run, tmp_path):
    question = "请介绍一下北京的历史、文化和著名的旅游景点。"
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"question": question, "class": "open qa", "std_answer": "略"}), encoding="utf-8")
    leak = raw_row(20, "請介紹一下北京的歷史、文化和著名的旅遊景點", "好。")
    inside = raw_row(21, "接着写。", f"他说：{question}我说不知道。")
    rows, report = run([*ROWS, leak, inside], evals={"asked": asked})
    assert numbers(rows) == [1, 5, 6, 7, 9]
    assert report["reasons"]["contaminated"] == 2
    assert {sample["id"] for sample in report["samples"]["contaminated"]} == {leak["id"], inside["id"]}
    assert report["contamination"]["evaluation_sets"] == {"asked": 2}
    assert report["contamination"]["checked"] == ["asked"]
    assert report["contamination"]["rows"] == 8
    assert "contamination" not in run(ROWS)[1]


def test_length_limits_always_apply(run):
    rows, report = run(ROWS, filters=[], min_output_chars=2, max_output_chars=9)
    assert numbers(rows) == [1, 5]
    assert report["reasons"]["output_too_short"] == 4
    assert report["reasons"]["output_too_long"] == 2
    assert len(report["samples"]["output_too_short"]) == 3


def test_the_first_filter_in_the_recipe_has_the_word(run):
    both = [raw_row(1, "介绍\x00北京。", "作为AI，我不知道。")]
    assert run(both, filters=["mojibake", "gpt_self_reference"])[1]["reasons"]["mojibake"] == 1
    assert run(both, filters=["gpt_self_reference", "mojibake"])[1]["reasons"]["gpt_self_reference"] == 1


def test_random_rows_add_up(run):
    rng = random.Random(3)
    words = [
        "北京",
        "上海",
        "作为AI，",
        "\ufffd",
        "<br>",
        "hello ",
        "对不起，我无法回答。",
        " ",
        "一二三",
        "\ud83d",
    ]
    rows = [
        raw_row(
            i,
            "".join(rng.choices(words, k=rng.randint(0, 4))),
            "".join(rng.choices(words, k=rng.randint(0, 6))),
        )
        for i in range(400)
    ]
    for threshold in (0.7, 1.0, 1.01):
        kept, report = run(rows, filters=list(FILTERS), novelty_threshold=threshold)
        assert report["rows_in"] == 400 == len(kept) + sum(report["reasons"].values())
        assert all(count >= len(report["samples"][reason]) for reason, count in report["reasons"].items())
        assert numbers(kept) == sorted(numbers(kept))
        assert 0 < len(kept) < 400


def test_bare_text_is_nfkc_without_white_space():
    rng = random.Random(5)
    signs = "，！？：；（）　。、“”‘’《》【】—…·～ａＡ１①㈠ﬁé\u0301가\u1100\u1161豈\ufa0e\t \u00a0abc中文ｶﾞ"
    for _ in range(3_000):
        text = "".join(rng.choices(signs, k=rng.randint(0, 12)))
        assert bare(text) == "".join(unicodedata.normalize("NFKC", text).split())
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    for start in range(0, len(every), 7):
        piece = every[start : start + 7]
        assert bare(piece) == "".join(unicodedata.normalize("NFKC", piece).split())


def test_bytes_are_the_same_each_time(run, tmp_path):
    run(ROWS, novelty_threshold=0.7)
    files = [tmp_path / "clean" / name for name in ("tiny.jsonl", "tiny.report.json")]
    first = [file.read_bytes() for file in files]
    run(ROWS, novelty_threshold=0.7)
    assert [file.read_bytes() for file in files] == first
    assert str(tmp_path).encode() not in first[1]


def test_no_row_left_is_a_report_too(run):
    rows, report = run([])
    assert rows == []
    assert report["rows_in"] == report["rows_out"] == 0
    assert report["chars"]["after"]["output"]["max"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"filters": ["refusal", "refussal", "no"]},
            r"'refussal'; did you mean 'refusal'\?; unknown filter 'no'(?s:.*)instruction_empty, output_empty",
        ),
        ({"filters": ["refusal", "refusal"]}, "named twice: refusal"),
        ({"compare": "output"}, "instruction or instruction.input, found 'output'"),
        ({"novelty_threshold": 0.0}, "must be over 0"),
        ({"novelty_threshold": float("nan")}, "must be over 0"),
        ({"min_output_chars": 60}, "leave no row"),
    ],
)
def test_refused_settings(run, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(ROWS, **changes)
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"instruction": "一", "output": "二"}], "row 1: `id` must be text, found nothing"),
        (
            [raw_row(1, "一", "二"), {"id": "x", "instruction": "一", "output": 3}],
            "row 2: `output` must be text, found 3",
        ),
        ([{"id": "x", "instruction": None, "output": "一"}], "`instruction` must be text"),
        ([raw_row(1, "一", "二"), raw_row(1, "三", "四")], "comes twice"),
    ],
)
def test_refused_rows_leave_no_output(run, tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        run(rows)
    assert not list(tmp_path.glob("clean/**/*"))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="raw rows: there is no such file"):
        clean(
            raw=tmp_path / "none.jsonl", out=tmp_path / "o", report=tmp_path / "r", filters=[], compare="instruction",
            novelty_threshold=1.01, min_output_chars=0, max_output_chars=9, rejects=tmp_path / "x", page=tmp_path / "p",
            near_duplicate_threshold=1.01,
        )  # fmt: skip


SIGNS = [
    *"北京，。：（　 \n\t\x1c\u2028·①ﬁ㎡äÃ锛銆锟烫我作为AI模型?\\%é😀𠀀\u200b\x01\0",
    "??", "\\u", "%E", "语言模型", "GPT", "抱歉，我无法回答",
]  # fmt: skip


def texts(draws):
    return "".join(draws.choices(SIGNS, k=draws.randrange(30)))


@pytest.mark.parametrize("asks", [True, False], ids=["texts", "digests alone"])
def test_a_block_taken_in_as_a_whole_is_seen_as_line_by_line(asks):
    draws = random.Random(7)
    rows = [raw_row(at, *(texts(draws).replace("\0", "") for _ in range(3))) for at in range(600)]
    rows[5]["category"] = "开放问答"
    rows[9]["output"] = 'a JSON text: {"key": 1, "other" : 2}'
    block = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    looker = Looker(Looking(tuple(FILTERS), "instruction+input", 2, 20, asks, 0.8 if asks else 1.01))
    assert Plain.of(block) is not None
    assert Plain.of(b"\n" + block) is None  # a blank line: looked at line by line
    whole, single = looker.look(block), looker.look(b"\n" + block)
    assert single.lines == whole.lines + 1
    assert len(set(whole.reasons)) > 8
    for at, (start, size) in enumerate(zip(whole.spans[::2], whole.spans[1::2], strict=True)):
        assert (single.spans[2 * at], single.spans[2 * at + 1]) == (start + 1, size)
    for name, value in vars(whole).items():
        if name not in {"lines", "spans"}:
            assert value == getattr(single, name), name


@pytest.mark.parametrize(
    "line",
    [
        b"[1]", b"3", b'{"id": "a"}', b"{", b"", b'"text"',
        b'{"id": "a", "instruction": "b", "input": "c", "output": 1}',
        b'{"id": "", "instruction": "b", "input": "c", "output": "d"}',
        b'{"id": "a\\n", "instruction": "b", "input": "c", "output": "d"}',
        b'{"id": "a", "instruction": "b", "input": "c", "output": "d", "output": "e"}',
        b'{"id": "a", "instruction": "b", "input": "c", "output" : "d", "output"\t: "e"}',
        b'{"id": "a", "instruction": "b", "input": "c", "output": "\\ud83d"}',
        b'{"id": "a", "instruction": "b", "output": "d"}',
        b' {"id": "a", "instruction": "b", "input": "c", "output": "d"}',
        b'{"id": "a", "instruction": "b", "input": "c", "output": "d"}\r',
        b'{"id": "a", "instruction": "b", "input": "c", "output": "d", "conversations": []}',
    ],
)  # fmt: skip
def test_a_line_that_leaves_a_doubt_sends_its_block_to_a_closer_look(line):
    plain = json.dumps(raw_row(1, "问", "答")).encode()
    assert Plain.of(plain + b"\n") is not None
    assert Plain.of(plain + b"\n" + line + b"\n" + plain.replace(b"-0", b"-1") + b"\n") is None


def columns_of(rows):
    columns = Columns.of((row["instruction"], row["input"], row["output"]) for row in rows)
    assert columns is not None
    return columns


NAMED = [*SUSPECTS, "input_too_long:9", "instruction_too_short:9", "blacklist:😀é,京", "blacklist:𠀀"]


def test_suspects_hold_every_row_that_a_filter_drops():
    draws = random.Random(8)
    signs = [sign for sign in SIGNS if sign != "\0"]
    signs += ["图片", "http", "привет", " of the", "我是人工智能助手", "一个 language model", "a large language model"]

    def some(least, most):
        return "".join(draws.choices(signs, k=draws.randrange(least, most)))

    rows = [raw_row(at, some(0, 30), some(0, 30), some(0, 30)) for at in range(6_000)]
    rows += [raw_row(at, some(0, 3), some(0, 3), some(0, 3)) for at in range(6_000)]
    columns = columns_of(rows)
    pairs = [(named(text), suspects_of(text)) for text in NAMED]
    pairs += [(output_too_short(9), output_shorter(9)), (output_too_long(9), output_longer(9))]
    told = Searching([suspects for _, suspects in pairs]).rows(columns)
    for (step, suspects), found in zip(pairs, told, strict=True):
        dropped = {at for at, row in enumerate(rows) if step(row)}
        assert dropped
        assert dropped <= set(found)
        assert list(found) == sorted(set(found)) == Searching([suspects]).rows(columns)[0]
        assert len(found) < len(rows)
    assert Searching([None]).rows(columns) == [range(len(rows))]


def test_filters_ask_few_rows_of_plain_chinese():
    rows = [raw_row(at, "介绍一下北京的历史。", "北京是中国的首都，有三千多年的历史。" * 9) for at in range(50)]
    found = Searching([suspects_of(text) for text in NAMED[:-2]]).rows(columns_of(rows))
    assert [list(some) for some in found] == [[]] * (len(NAMED) - 2)


def test_columns_know_where_texts_are_and_how_long():
    draws = random.Random(10)
    rows = [tuple(texts(draws).replace("\0", "") for _ in range(3)) for _ in range(500)]
    columns = Columns.of(rows)
    assert columns is not None
    assert columns.chars.tolist() == [[len(text) for text in row] for row in rows]
    for row, starts, ends in zip(rows, columns.starts.tolist(), columns.ends.tolist(), strict=True):
        for text, start, end in zip(row, starts, ends, strict=True):
            assert columns.units[start:end].tobytes().decode("utf-16-le") == text
    assert Columns.of([("a\0", "", "")]) is None
    assert Columns.of([("\ud83d", "", "")]) is None
    with pytest.raises(TypeError):
        Columns.of([("a", 3, "")])
    empty = Columns.of([])
    assert empty is not None
    assert Searching([suspects_of("mojibake"), suspects_of("not_chinese")]).rows(empty) == [[], []]


def test_digests_are_equal_where_bare_texts_are():
    draws = random.Random(9)
    signs = [*SIGNS, *"ａＡ～％①㈠é\u0301가\u1100\u1161豈\ufa0eｶﾞ\u00a0\u2003Å\u212b\ufffe\uffff\ud800"]
    rows = [tuple("".join(draws.choices(signs, k=draws.randrange(5))) for _ in range(3)) for _ in range(20_000)]
    clear = [row for row in rows if Columns.of([row])]
    assert len(rows) - len(clear) > 100 < len(clear)
    for some in (rows, clear, [], [("", "", "")]):
        assert digests(some) == b"".join(map(digest, some))
    columns, chosen = Columns.of(clear), sorted(draws.sample(range(len(clear)), 900))
    assert columns is not None
    assert digests_in(columns, chosen) == b"".join(digest(clear[row]) for row in chosen)
    same = {}
    for row in clear:
        same.setdefault(digest(row), set()).add(tuple(map(bare, row)))
    assert all(len(texts) == 1 for texts in same.values())
    assert len(same) < len(set(clear))


def test_every_character_is_bared_among_others_as_alone():
    rows = [(chr(code), f"中{chr(code)}文", f"a{chr(code)}\u0301") for code in range(1, 0x3_0000)
            if not 0xD800 <= code < 0xE000]  # fmt: skip
    assert digests(rows) == b"".join(map(digest, rows))
