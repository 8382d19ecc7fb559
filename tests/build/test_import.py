"""A local data set is an input like any other: followed by content, with its categories, to the clean rows."""

import json
from pathlib import Path

import pyarrow

from trials.worlds import World, commit

ROWS = [
    {"id": number, "instruction": f"写第{number}句话。", "output": f"这是第{number}句话。"} for number in range(1, 4)
]
ENTRY = {"kind": "local", "path": "downloads/my rows.jsonl.zst", "categories": [], "format": "auto",
         "licence": "cc0-1.0", "clean": "published"}  # fmt: skip
TARGET = "data/clean/mine.jsonl"


def write(path: Path, rows) -> None:
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(pyarrow.compress(text.encode(), codec="zstd", asbytes=True))


def test_an_import_is_rebuilt_by_what_it_reads(checkout):
    world = World(checkout)
    path = checkout / ENTRY["path"]
    write(path, ROWS)
    world.set("datasets.mine", ENTRY)
    commit(checkout, "mine")
    assert world.build(TARGET) == {"import_dataset-mine": "executed", "clean-mine": "executed"}
    rows = [json.loads(line) for line in (checkout / "data/raw/mine.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["source_id"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["source"] == "my rows.jsonl.zst"

    world.set("datasets.mine.licence", "mit")
    assert world.build(TARGET) == {"import_dataset-mine": "executed"}  # the rows are the same

    (checkout / "downloads" / "categories.json").write_text(
        json.dumps({str(number): "brainstorming" for number in range(1, 4)}), encoding="utf-8"
    )
    world.set("datasets.mine.categories", ["downloads/categories.json"])
    assert "categories" in world.roots(TARGET)["import_dataset-mine"]
    assert world.build(TARGET) == {"import_dataset-mine": "executed", "clean-mine": "executed"}
    assert '"category": "brainstorming"' in (checkout / TARGET).read_text(encoding="utf-8")

    write(path, [*ROWS, {"id": 4, "instruction": "写第4句话。", "output": "这是第4句话。"}])
    ended = world.run("snakemake", TARGET, check=False)
    assert ended.returncode == 1
    assert "`id`: '4' is not among the 3 ids of downloads/categories.json" in ended.stdout
    assert "Traceback" not in ended.stdout
