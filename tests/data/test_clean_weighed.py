"""Cleaning by what a base model says: limits of perplexity, duplicates in meaning, and both after edits."""

import json
import math
import random

import numpy as np
import pytest
from xxhash import xxh3_128_digest, xxh3_128_intdigest

from belle import jsonl
from belle.data.clean import clean
from belle.data.cleaning.same import keys_of
from belle.data.weighing import folder
from belle.data.weighing.folder import Weighed
from belle.errors import InputError
from belle.filter_names import parse

SETTINGS = {
    "filters": ["output_empty"], "compare": "instruction", "novelty_threshold": 1.01, "near_duplicate_threshold": 1.01,
    "min_output_chars": 1, "max_output_chars": 500, "weigher": "tiny",
}  # fmt: skip


def weigh_by(path, lines, perplexities, vectors):
    """Weights as the stage ``weigh`` writes them, of these numbers: row and answer, None for no token."""
    counts = np.array([[0 if value is None else 10 for value in pair] for pair in perplexities], np.int32)
    losses = np.array([[0 if value is None else 10 * math.log(value) for value in pair] for pair in perplexities])
    keys = keys_of(b"".join(xxh3_128_digest(line.strip()) for line in lines))
    folder.save(path, Weighed(keys, losses.reshape(-1, 2), counts.reshape(-1, 2), np.array(vectors, np.int8), {"a": 1}))


@pytest.fixture
def run(tmp_path):
    def run(rows, perplexities, vectors=None, **changes):
        lines = [(json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows]
        (tmp_path / "raw.jsonl").write_bytes(b"".join(lines))
        vectors = [[row % 7 - 3, row, 1, -row] for row in range(len(rows))] if vectors is None else vectors
        weigh_by(tmp_path / "weighed", lines, perplexities, vectors)
        names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
        clean(raw=tmp_path / "raw.jsonl", **names, weighed=tmp_path / "weighed", **{**SETTINGS, **changes})
        report = json.loads((tmp_path / "report").read_text(encoding="utf-8"))
        return [row["id"] for row in jsonl.read(tmp_path / "out")], report

    return run


def a_row(number, **more):
    return {"id": f"r-{number}", "instruction": f"第{number}个问题是什么？", "input": "", "output": "好", **more}


def test_limits_of_perplexity(run, tmp_path):
    rows = [a_row(number) for number in range(6)]
    numbers = [(50, 5), (100.5, 5), (99, 5), (3, 40), (None, None), (20, None)]
    assert run(rows, numbers, max_perplexity=100)[0] == ["r-0", "r-2", "r-3", "r-4", "r-5"]
    assert run(rows, numbers, max_answer_perplexity=30)[0] == ["r-0", "r-1", "r-2", "r-4", "r-5"]
    kept, report = run(rows, numbers, max_perplexity=100, max_answer_perplexity=30)
    assert kept == ["r-0", "r-2", "r-4", "r-5"]
    assert report["reasons"]["high_perplexity"] == 2
    assert "semantic_duplicate" not in report["reasons"], "what is not asked for is not counted"
    assert report["rows_in"] == report["rows_out"] + sum(report["reasons"].values())
    rejects = list(jsonl.read(tmp_path / "rejects"))
    assert [(row["reason"], row["perplexity"]) for row in rejects] == [
        ("high_perplexity", {"row": 100.5, "answer": 5.0}),
        ("high_perplexity", {"row": 3.0, "answer": 40.0}),
    ]
    assert {key: value for key, value in rejects[0].items() if key not in ("reason", "perplexity")} == rows[1]


def test_the_share_that_goes(run):
    rows = [a_row(number) for number in range(10)]
    numbers = [(number + 1, 5) for number in range(10)]
    assert run(rows, numbers, perplexity_cut=0.2)[0] == [f"r-{number}" for number in range(8)]
    assert run(rows, numbers, perplexity_cut=0.19)[0] == [f"r-{number}" for number in range(9)]
    # rows that are equal to the last that would stay all stay: fewer go than the share, never more
    numbers = [(5, 5)] * 8 + [(9, 5)] * 2
    assert len(run(rows, numbers, perplexity_cut=0.1)[0]) == 10
    assert len(run(rows, numbers, perplexity_cut=0.2)[0]) == 8
    # of those that the limits and the filters leave
    rows[9]["output"] = ""
    numbers = [(number + 1, 5) for number in range(10)]
    kept, report = run(rows, numbers, perplexity_cut=0.25, max_perplexity=8)
    assert kept == [f"r-{number}" for number in range(6)]
    assert report["reasons"]["high_perplexity"] == 3
    assert report["reasons"]["output_empty"] == 1


PARAPHRASES = [
    ("怎样才能提高睡眠质量？", "有什么办法可以让我睡得更好？"),
    ("为什么天空看起来是蓝色的？", "请解释天空呈现蓝色的原因。"),
    ("如何缓解工作压力？", "工作压力太大该怎么办？"),
    ("“画蛇添足”这个成语是什么意思？", "解释成语“画蛇添足”的意思。"),
    ("番茄炒鸡蛋怎么做？", "列出制作番茄炒蛋的步骤。"),
]
OF_ONE_TEMPLATE = [f"{country}的首都是哪座城市？" for country in ("中国", "法国", "泰国", "埃及")]


def test_paraphrases_go_and_questions_of_one_template_stay(run):
    """With vectors as a good model gives them: 0.95 between paraphrases, 0.8 within a template."""
    rng = np.random.default_rng(2)

    def unit(vector):
        return vector / np.linalg.norm(vector)

    def near(vector, cosine):
        aside = rng.standard_normal(96)
        return cosine * vector + math.sqrt(1 - cosine**2) * unit(aside - (aside @ vector) * vector)

    texts, vectors = [], []
    for first, second in PARAPHRASES:
        meaning = unit(rng.standard_normal(96))
        texts += [first, second]
        vectors += [meaning, near(meaning, 0.95)]
    template = unit(rng.standard_normal(96))
    texts += OF_ONE_TEMPLATE
    vectors += [near(template, 0.8**0.5) for _ in OF_ONE_TEMPLATE]
    rows = [a_row(at, instruction=text, output=f"答{at}") for at, text in enumerate(texts)]
    whole = [np.rint(vector * 127 / np.abs(vector).max()) for vector in vectors]
    kept, report = run(rows, [(5, 5)] * len(rows), whole, semantic_threshold=0.9, near_duplicate_threshold=0.8)
    assert kept == ["r-0", "r-2", "r-4", "r-6", "r-8", "r-10", "r-11", "r-12", "r-13"]
    assert report["reasons"]["semantic_duplicate"] == 5
    assert [(item["id"], item["rival"]) for item in report["samples"]["semantic_duplicate"]][:1] == [("r-1", "r-0")]
    kept, _ = run(rows, [(5, 5)] * len(rows), whole, semantic_threshold=1.01, max_perplexity=9)
    assert len(kept) == len(rows)


def test_the_report_and_the_page_show_perplexity(run, tmp_path):
    rows = [a_row(number) for number in range(40)]
    numbers = [(2 ** (number / 4), 3) for number in range(40)]
    _, report = run(rows, numbers, max_perplexity=64)
    found = report["perplexity"]
    assert found["weigher"] == "tiny"
    assert found["limits"] == {"row": 64, "answer": 0, "share": 0, "cosine": 2.0}
    assert found["row"]["before"]["rows"] == 40
    assert found["row"]["after"]["rows"] == 25 == report["rows_out"]
    assert found["row"]["after"]["max"] == 64
    assert found["row"]["before"]["histogram"]["edges"][:6] == [1, 2, 3, 4, 6, 8]
    assert found["row"]["before"]["histogram"]["counts"][:3] == [4, 3, 1]
    page = (tmp_path / "page").read_text(encoding="utf-8")
    assert "<h2>Perplexity of a token</h2>" in page
    assert 'aria-label="perplexity of row"' in page
    assert "<title>perplexity 64 to 95, before: 3</title>" in page
    assert "high_perplexity" in page


def test_weights_in_another_order_do(run, tmp_path):
    rows = [a_row(number) for number in range(5)]
    run(rows, [(1, 1), (9, 1), (2, 1), (9, 1), (3, 1)], max_perplexity=5)
    first = (tmp_path / "out").read_bytes()
    found = folder.load(tmp_path / "weighed")
    folder.save(tmp_path / "weighed2", found.taken(np.array([4, 2, 0, 3, 1])))
    names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
    clean(
        raw=tmp_path / "raw.jsonl", **names, weighed=tmp_path / "weighed2", **{**SETTINGS, "max_perplexity": 5}
    )  # fmt: skip
    assert (tmp_path / "out").read_bytes() == first


def test_rows_that_nobody_weighed_are_refused(run, tmp_path):
    rows = [a_row(number) for number in range(5)]
    run(rows, [(1, 1)] * 5, max_perplexity=5)
    text = (tmp_path / "raw.jsonl").read_text(encoding="utf-8").replace("第3个", "第三个")
    (tmp_path / "raw.jsonl").write_text(text, encoding="utf-8")
    before = (tmp_path / "out").read_bytes()
    names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
    given = {**names, "raw": tmp_path / "raw.jsonl", "weighed": tmp_path / "weighed", **SETTINGS, "max_perplexity": 5}
    with pytest.raises(InputError, match=r"1 of 5 rows of \S+ are not in it, the first is row 4"):
        clean(**given)
    assert (tmp_path / "out").read_bytes() == before
    (tmp_path / "weighed" / "losses.npy").write_bytes(b"\x93NUMPY cut")
    with pytest.raises(InputError, match=r"weighed: no weights of rows: cannot be read"):
        clean(**given)
    (tmp_path / "weighed" / "about.json").unlink()
    with pytest.raises(InputError, match=r"weighed: no weights of rows"):
        clean(**given)


def test_what_asks_and_what_is_given_must_agree(run, tmp_path):
    with pytest.raises(InputError, match="nothing asks for their weights"):
        run([a_row(1)], [(1, 1)])
    names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
    with pytest.raises(InputError, match="no weights of rows"):
        clean(raw=tmp_path / "raw.jsonl", **names, **SETTINGS, semantic_threshold=0.9)


@pytest.mark.parametrize("seed", range(4))
def test_edits_end_in_the_bytes_of_a_cold_build(seed, tmp_path):
    """Rows come, go and move; limits, shares, words and meaning are asked after at once."""
    rng = random.Random(seed)
    meanings = [np.random.default_rng(number).standard_normal(24) for number in range(12)]

    def new(number):
        kind = rng.randrange(12)
        return a_row(number, instruction="".join(rng.choices("春夏秋冬风花雪月", k=rng.randint(1, 9))), kind=kind)

    def weights(row):
        """By the row's content alone, as a model's are."""
        digest = xxh3_128_intdigest(json.dumps(row, sort_keys=True).encode())
        vector = meanings[row["kind"]] + 0.05 * np.random.default_rng(digest).standard_normal(24)
        return (1 + digest % 97, 1 + digest % 31), np.rint(vector * 127 / np.abs(vector).max()).astype(np.int8)

    settings = {
        **SETTINGS, "semantic_threshold": rng.choice([0.9, 0.99]), "perplexity_cut": rng.choice([0, 0.1]),
        "max_perplexity": rng.choice([0, 80]), "near_duplicate_threshold": rng.choice([0.7, 1.01]),
        "novelty_threshold": rng.choice([0.7, 1.01]),
    }  # fmt: skip

    def built(target, remembered):
        names = {name: target / name for name in ("out", "report", "rejects", "page")}
        clean(
            raw=tmp_path / "raw.jsonl", **names, remembered=remembered, weighed=tmp_path / "weighed", **settings
        )  # fmt: skip
        return {name: path.read_bytes() for name, path in names.items()}

    rows, numbers, dropped = [new(number) for number in range(80)], iter(range(80, 10**6)), set()
    for _ in range(25):
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(rows))
            kind = rng.randrange(4)
            if kind == 0:
                rows.insert(at, new(next(numbers)))
            elif kind == 1:
                del rows[at]
            elif kind == 2:
                rows.insert(rng.randrange(len(rows)), rows.pop(at))
            else:
                rows[at] = {**new(0), "id": rows[at]["id"]}
        lines = [(json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows]
        (tmp_path / "raw.jsonl").write_bytes(b"".join(lines))
        weighed = [weights(row) for row in rows]
        weigh_by(tmp_path / "weighed", lines, [pair for pair, _ in weighed], [vector for _, vector in weighed])
        warm, cold = built(tmp_path / "warm", tmp_path / "memory"), built(tmp_path / "cold", None)
        assert warm == cold
        dropped |= {name for name, count in json.loads(cold["report"])["reasons"].items() if count}
    assert "semantic_duplicate" in dropped


def test_another_model_s_vectors_are_not_the_remembered_ones(tmp_path):
    """The memory of what was decided goes by rows and vectors: the same rows weighed by another model start anew."""
    rows = [a_row(number) for number in range(30)]
    lines = [(json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows]
    (tmp_path / "raw.jsonl").write_bytes(b"".join(lines))
    rng = np.random.default_rng(0)
    apart = rng.integers(-127, 128, (30, 64))
    together = np.repeat(apart[:10], 3, axis=0)
    kept = []
    for vectors in (apart, together, apart):
        weigh_by(tmp_path / "weighed", lines, [(5, 5)] * 30, vectors)
        names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
        clean(
            raw=tmp_path / "raw.jsonl", **names, remembered=tmp_path / "memory", weighed=tmp_path / "weighed",
            **{**SETTINGS, "semantic_threshold": 0.9},
        )  # fmt: skip
        kept.append(len(list(jsonl.read(tmp_path / "out"))))
    assert kept == [30, 10, 30]


def test_filters_with_values(tmp_path):
    rows = [
        a_row(0, instruction="写诗", output="春眠不觉晓"),
        a_row(1, instruction="请写一首关于春天的诗", output="春眠不觉晓，处处闻啼鸟"),
        a_row(2, instruction="总结下面的文章", input="长" * 21, output="文章很长"),
        a_row(3, instruction="怎样写好作文？", output="可以请枪手代写。"),
        a_row(4, instruction="怎样写好书法？", input="长" * 20, output="每天练习。"),
    ]
    jsonl.write(tmp_path / "raw.jsonl", rows)
    names = {name: tmp_path / name for name in ("out", "report", "rejects", "page")}
    filters = ["output_empty", "instruction_too_short:3", "input_too_long:20", "blacklist:枪手"]
    clean(raw=tmp_path / "raw.jsonl", **names, **{**SETTINGS, "filters": filters, "weigher": ""})
    assert [row["id"] for row in jsonl.read(tmp_path / "out")] == ["r-1", "r-4"]
    reasons = json.loads((tmp_path / "report").read_text(encoding="utf-8"))["reasons"]
    assert {name: count for name, count in reasons.items() if count} == {
        "instruction_too_short": 1, "input_too_long": 1, "blacklist": 1,
    }  # fmt: skip
    assert parse("blacklist:枪手").words == ("枪手",)
