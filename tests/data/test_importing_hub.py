"""A published set is fetched over HTTP from what speaks as the hub does, by the command itself."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TALK = [{"from": "human", "value": "你好。"}, {"from": "assistant", "value": "您好！"}]
REPOSITORIES = {
    "owner/pairs": {
        "README.md": "---\nlicense: gpl-3.0\n---\n",
        "train.json": "".join(
            json.dumps({"instruction": f"第{n}题", "input": "", "output": "答" if n != 2 else ""}) + "\n"
            for n in range(5)
        ),
    },
    "owner/talks": {
        "data/train.jsonl": json.dumps({"id": "66", "conversations": TALK}) + "\n",
        "data/test.jsonl": json.dumps({"id": "67", "conversations": TALK[:1]}) + "\n",
    },
    "owner/numbers": {"train.jsonl": '{"instruction": "甲", "output": 5}\n'},
}


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's API that `datasets` asks for."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *words):
        self.asked.append(f"{self.command} {self.path}")

    def reply(self, status, body, **headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        owner, _, rest = path.removeprefix("/api").removeprefix("/datasets/").partition("/")
        name, _, rest = rest.partition("/")
        files = REPOSITORIES.get(f"{owner}/{name}")
        if files is None:
            return self.reply(404, b'{"error": "Repository not found"}', X_Error_Code="RepoNotFound")
        if rest.startswith("resolve/"):
            content = files.get(rest.split("/", 2)[2])
            if content is None:
                return self.reply(404, b"{}", X_Error_Code="EntryNotFound")
            data = content.encode()
            return self.reply(200, data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', Content_Type="text/plain")
        if rest.startswith("tree/"):
            below = rest.removeprefix("tree/").partition("/")[2]
            inside = [file for file in files if str(Path(file).parent) == (below or ".")]
            folders = {str(Path(file).parent) for file in files} - {"."} if not below else set()
            if below and not inside:
                return self.reply(404, b"{}", X_Error_Code="EntryNotFound")
            listed = [
                {"type": "file", "oid": "0" * 40, "size": len(files[file].encode()), "path": file} for file in inside
            ]
            listed += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in sorted(folders)]
            return self.reply(200, json.dumps(listed).encode(), Content_Type="application/json")
        about = {"id": f"{owner}/{name}", "sha": COMMIT, "private": False, "gated": False, "downloads": 0, "likes": 0,
                 "tags": [], "siblings": [{"rfilename": file} for file in files]}  # fmt: skip
        return self.reply(200, json.dumps(about).encode(), Content_Type="application/json")

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(hub, tmp_path):
    def fetch(name, split="train", format="auto"):
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("HF_") and "PROXY" not in key.upper()
        }
        environment |= {
            "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        (tmp_path / "out").mkdir(exist_ok=True)
        words = ["fetch_dataset", name, "out/rows.jsonl", "out/report.json", format, "gpl-3.0", "--revision", "main"]
        ended = subprocess.run(
            [sys.executable, "-m", "belle.cli", *words, "--split", split],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ended.returncode:
            assert not os.listdir(tmp_path / "out")
            assert "Traceback" not in ended.stderr
            return ended
        rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text(encoding="utf-8").splitlines()]
        return rows, json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))

    return fetch


def test_a_set_is_fetched_with_its_licence_and_commit(fetch):
    rows, report = fetch("owner/pairs")
    assert [row["instruction"] for row in rows] == ["第0题", "第1题", "第3题", "第4题"]
    assert all(row["source"] == "owner/pairs" for row in rows)
    assert report["licence"] == "gpl-3.0"
    assert report["commit"] == COMMIT
    assert report["files"] == {"train": ["train.json"]}
    assert (report["rows_in"], report["rows_out"], report["reasons"]["empty"]) == (5, 4, 1)
    assert any(f"/resolve/{COMMIT}/train.json" in asked for asked in Hub.asked)


def test_a_part_of_a_split_of_conversations(fetch):
    rows, report = fetch("owner/talks", "train[:1]")
    assert rows[0]["conversations"] == TALK
    assert rows[0]["source_id"] == "66"
    assert report["format"] == "sharegpt"
    assert report["files"] == {"test": ["data/test.jsonl"], "train": ["data/train.jsonl"]}


@pytest.mark.parametrize(
    ("name", "split", "status", "says"),
    [
        ("owner/numbers", "train", 2, "owner/numbers (train), row 1: `output` must be text, found 5"),
        ("owner/talks", "test", 2, "owner/talks (test): none of 1 rows can be kept (unanswered 1)"),
        ("owner/pairs", "validation", 1, "owner/pairs (validation): could not be loaded"),
        ("owner/nothing", "train", 1, "owner/nothing (train): could not be loaded"),
    ],
)
def test_what_cannot_be_fetched_is_said_and_nothing_written(fetch, name, split, status, says):
    ended = fetch(name, split)
    assert ended.returncode == status
    assert f"belle fetch_dataset: {says}" in ended.stderr


def test_a_folder_that_datasets_can_load(fetch, tmp_path):
    (tmp_path / "downloaded").mkdir()
    (tmp_path / "downloaded" / "train.json").write_text(REPOSITORIES["owner/pairs"]["train.json"], encoding="utf-8")
    rows, report = fetch("downloaded")
    assert len(rows) == 4
    assert report["hub"] == "downloaded"
    assert report["files"] == {"train": ["train.json"]}
