"""The profiles for clusters: Snakemake takes them, and a job sent away does here what it does at home."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from belle import strict_yaml
from trials.slurm.building import outputs
from trials.worlds import World

SECRET = "sk-test-of-profiles-5f1d"  # noqa: S105


class ApiServer(ThreadingHTTPServer):
    """As much of Kubernetes as an executor needs: secrets, and batch jobs whose containers run as processes here."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secrets: dict[str, dict[str, str]] = {}
        self.manifests: list[dict[str, Any]] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.deleted: list[str] = []

    def start(self, manifest: dict[str, Any]) -> None:
        """Run a job's container as its node would, with nothing of this process's environment."""
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "USER": "root"}
        for variable in container.get("env", []):
            reference = variable["valueFrom"]["secretKeyRef"]
            secret = self.secrets[reference["name"]][reference["key"]]
            environment[variable["name"]] = base64.b64decode(secret).decode()
        self.manifests.append(manifest)
        words = [*container["command"], *container["args"]]
        self.processes[manifest["metadata"]["name"]] = subprocess.Popen(words, cwd="/", env=environment)

    def status(self, name: str) -> dict[str, int]:
        code = self.processes[name].poll()
        return {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/secrets"):
            self.server.secrets[sent["metadata"]["name"]] = sent["data"]
        else:
            self.server.start(sent)
        self._answer(sent)

    def do_GET(self) -> None:
        if "/jobs/" in self.path:
            name = self.path.split("/jobs/")[1].split("/")[0]
            self._answer({"metadata": {"name": name}, "status": self.server.status(name)})
        else:
            self._answer({"items": []})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path.partition("?")[0].rpartition("/")[2])
        self._answer({"status": "Success"})


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    server = ApiServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield server
    server.shutdown()
    for process in server.processes.values():
        process.kill()


def on_kubernetes(world: World, *words: str, check: bool = True, **environment: str) -> str:
    path = os.pathsep.join([str(world.folder / "src"), str(world.folder / "profiles" / "kubernetes")])
    profile = ["--workflow-profile", "profiles/kubernetes", "--seconds-between-status-checks", "1"]
    return world.run("snakemake", *profile, *words, check=check, PYTHONPATH=path, **environment).stdout


def test_kubernetes_job_does_what_a_local_one_does(checkout: Path, api: ApiServer, built_once: Path) -> None:
    pytest.importorskip("kubernetes", reason="not installed: kubernetes (make clusters)")
    world = World(checkout)
    small = strict_yaml.load(built_once / "params.yaml")["corpus"]["tiny"]["sentences"]
    world.set("corpus.tiny.sentences", small)
    said = on_kubernetes(world, "--envvars", "OPENAI_API_KEY", "--", "data/corpus/tiny.txt", OPENAI_API_KEY=SECRET)
    assert [line["outcome"] for line in world.history()] == ["executed"]
    path = "data/corpus/tiny.txt"
    assert outputs(world)[path] == outputs(World(built_once))[path]
    (manifest,) = api.manifests
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "4000M"
    assert {"name": "belle", "mountPath": "/belle"} in container["volumeMounts"]
    # the key went as a secret, to where the job can read it, and nowhere else
    assert [variable["name"] for variable in container["env"]] == ["OPENAI_API_KEY"]
    assert SECRET not in json.dumps(manifest) + said
    assert manifest["metadata"]["name"] in api.deleted
    assert set(api.secrets) <= set(api.deleted)


def test_failed_kubernetes_job_is_submitted_again(checkout: Path, api: ApiServer) -> None:
    pytest.importorskip("kubernetes", reason="not installed: kubernetes (make clusters)")
    world = World(checkout)
    world.edit("src/belle/data/corpus.py", "def corpus(", "raise SystemExit(7)\n\n\ndef corpus(")
    said = on_kubernetes(world, "--retries", "1", "data/corpus/tiny.txt", check=False)
    assert len(api.manifests) == 2, said
    assert [line["outcome"] for line in world.history()] == ["failed", "failed"]


@pytest.mark.parametrize("profile", ["default", "slurm", "kubernetes"])
def test_api_slots_and_rules_of_each_profile_exist(project: Path, profile: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((project / "rules").glob("*.smk")))
    settings = strict_yaml.load(project / "profiles" / profile / "config.yaml")
    assert settings["resources"]["api"] >= 1
    assert text.count("api=1,") == 5  # generate, ask, label, prefer and judge
    for rule in settings.get("set-resources", {}):
        assert f"rule {rule}:" in text


def test_gpus_are_asked_of_the_cluster_and_of_no_stage_of_the_tiny_world(project: Path) -> None:
    world = World(project)
    full = world.run("snakemake", "-n", "models/belle-7b").stdout
    assert "gpu=8, " in full
    assert "mem_mb=145104, " in full
    assert "gpu=" not in world.run("snakemake", "-n", "--forceall").stdout
