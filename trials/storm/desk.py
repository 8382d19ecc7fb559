"""A server's half of OpenAI's Batch API, over real HTTP: files, batches, and what goes wrong with them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]
"""(custom_id, body of the request) → status and body of its response."""


class Desk:
    """Files and batches of one account. A batch is over after ``looks`` looks at it.

    ``mangle`` may change the lines of an output file. The replies to the first ``lost`` makings of a batch never
    arrive, though the batches are made. ``end`` is the state that batches end in; of an expired one the first half
    was worked off.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        looks: int = 2,
        lost: int = 0,
        end: str = "completed",
        mangle: Callable[[list[str]], Iterable[str]] = lambda lines: lines,
    ) -> None:
        self.answer, self.looks, self.lost, self.end, self.mangle = answer, looks, lost, end, mangle
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.held = False
        """While this is set, no batch gets on."""
        self._looked: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        """For the server's router."""
        return [
            web.post("/v1/files", self._upload),
            web.get("/v1/files/{id}/content", self._content),
            web.post("/v1/batches", self._make),
            web.get("/v1/batches", self._list),
            web.get("/v1/batches/{id}", self._look),
        ]

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            return _error(400, "a file with purpose=batch is needed")
        name = self._keep(file.file.read())
        return web.json_response({
            "id": name, "object": "file", "bytes": len(self.files[name]), "created_at": int(time.time()),
            "filename": file.filename, "purpose": "batch", "status": "processed",
        })  # fmt: skip

    async def _content(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.files:
            return _error(404, f"no file {name}")
        return web.Response(body=self.files[name], content_type="application/octet-stream")

    async def _make(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("input_file_id") not in self.files or asked.get("completion_window") != "24h":
            return _error(400, "an uploaded file and a window of 24h are needed")
        name = f"batch_{next(self._numbers)}"
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
            "completion_window": "24h", "created_at": int(time.time()), "metadata": asked.get("metadata"),
            "status": "validating", "output_file_id": None, "error_file_id": None, "errors": None,
        }  # fmt: skip
        self._looked[name] = 0
        if self.lost > 0:
            self.lost -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self.batches[name])

    async def _list(self, request: web.Request) -> web.Response:
        found = list(reversed(self.batches.values()))
        limit, after = int(request.query.get("limit", 20)), request.query.get("after")
        begin = next((number for number, batch in enumerate(found, 1) if batch["id"] == after), 0)
        page = found[begin : begin + limit]
        return web.json_response({
            "object": "list", "data": page, "has_more": begin + limit < len(found),
            "first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None,
        })  # fmt: skip

    async def _look(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, "no such batch")
        self._looked[batch["id"]] += not self.held
        if batch["status"] != self.end:
            batch["status"] = "in_progress"
            if self._looked[batch["id"]] >= self.looks:
                self._work_off(batch)
        return web.json_response(batch)

    def _work_off(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.end
        if self.end == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "invalid", "message": "no such model"}]}
            return
        tasks = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        done = tasks if self.end == "completed" else tasks[: len(tasks) // 2]
        good, bad = [], []
        for number, task in enumerate(done):
            status, body = self.answer(task["custom_id"], task["body"])
            response = {"status_code": status, "request_id": f"r{number}", "body": body}
            line = {"id": f"l{number}", "custom_id": task["custom_id"], "response": response, "error": None}
            (good if status == 200 else bad).append(json.dumps(line, ensure_ascii=False))
        for task in tasks[len(done) :]:
            error = {"code": "batch_expired", "message": "not worked off within the window"}
            line = {"id": "l", "custom_id": task["custom_id"], "response": None, "error": error}
            bad.append(json.dumps(line))
        batch["output_file_id"] = self._keep("\n".join(self.mangle(good)).encode()) if good else None
        batch["error_file_id"] = self._keep("\n".join(bad).encode()) if bad else None

    def _keep(self, content: bytes) -> str:
        name = f"file-{next(self._numbers)}"
        self.files[name] = content
        return name


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
