"""`belle runs` and `belle plots`: what trainings took, and their curves on a page that needs no network."""

import json

import pytest

from belle.errors import BelleError, InputError
from belle.views.runs import row, table, trainings

TOOK = {
    "name": "m", "device": "NVIDIA A100-SXM4-80GB", "processes": 8, "step": 100, "steps": 100, "seconds": 7200.0,
    "tokens": 123456789, "tokens_per_second": 17146.78, "mfu": 0.412, "peak_memory_gb": 61.237,
    "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T05:04:05+00:00", "interrupted": 1,
}  # fmt: skip


def keep(root, **values):
    path = root / ".belle" / "runs" / f"{values.get('name', 'm')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**TOOK, **values}), encoding="utf-8")


def test_one_line_a_training(tmp_path):
    assert table(trainings(tmp_path)) == ["No training was looked on at here yet."]
    keep(tmp_path)
    keep(tmp_path, name="cut", device="CPU", processes=1, step=40, mfu=None, finished="")
    (tmp_path / ".belle/runs/torn.json").write_text('{"name": "to', encoding="utf-8")
    (tmp_path / ".belle/runs/older.json").write_text('{"name": "older"}', encoding="utf-8")
    head, cut, whole = table(trainings(tmp_path))
    assert head.split()[:3] == ["training", "steps", "tokens"]
    assert "40 of 100" in cut
    assert "not yet" in cut
    assert "%" not in cut
    for words in ("123,456,789", "17,147", "41.2%", "61.24 GB", "2.0 h", "2026-01-02 05:04:05", "8 × NVIDIA A100"):
        assert words in whole
    assert any("taken up again 1 times" in line for line in row(trainings(tmp_path)[1]))


def test_a_training_with_its_card(tmp_path, monkeypatch, capsys):
    from belle.cli import main

    monkeypatch.chdir(tmp_path)
    keep(tmp_path)
    assert main(["runs", "m"]) == 0
    assert "no card" in capsys.readouterr().out
    (tmp_path / "results/cards").mkdir(parents=True)
    (tmp_path / "results/cards/m.md").write_text("# m\n", encoding="utf-8")
    assert main(["runs", "m"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# m\n")
    assert "MFU 41.2%" in said
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"m": TOOK}
    assert main(["runs", "other"]) == InputError.exit_status
    assert "name one of m" in capsys.readouterr().err


def test_a_page_of_dvcs_is_made_whole(tmp_path):
    from dvc_render.html import render_html
    from dvc_render.vega import VegaRenderer

    from belle.commands.plots import whole

    points = [{"step": step, "loss": 1 / step, "rev": "now"} for step in (1, 2, 3)]
    renderer = VegaRenderer(points, "m.csv", x="step", y="loss", title="Training loss of m")
    page = tmp_path / "index.html"
    render_html([renderer], page)
    assert "cdn" in page.read_text(encoding="utf-8")  # what DVC makes by itself
    whole(page)
    text = page.read_text(encoding="utf-8")
    assert "<script src" not in text
    for words in ("global.vega = {}", "global.vegaLite = {}", "global.vegaEmbed", "Training loss of m"):
        assert words in text, words
    page.write_text('<script src="https://example.org/other.js"></script>', encoding="utf-8")
    with pytest.raises(BelleError, match=r"loads https://example.org/other.js"):
        whole(page)


def test_a_curve_is_an_output_that_is_drawn(tmp_path, monkeypatch):
    from belle.build import pipeline
    from belle.build.stages import PLOT, plot
    from belle.build.state import State

    path = plot("results/training/m.csv", x="step", y="loss", title="Loss of {name}")
    assert path.flags[PLOT] == {"x": "step", "y": "loss", "title": "Loss of {name}"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("{}\n", encoding="utf-8")
    entry = {"cmd": "true", "outs": ["models/m"], "plots": [{"results/training/m.csv": {"x": "step", "y": "loss"}}]}
    assert pipeline.resolve("s", entry, State()).outs == ("models/m", "results/training/m.csv")


def test_what_the_command_line_trains_is_looked_on_at(world, tiny_base, tmp_path):
    import os
    import shlex
    import subprocess
    import sys

    from belle.build.registry import as_dvc_writes
    from belle.settings import Sft
    from conftest import SFT

    flags = as_dvc_writes({key: value for key, value in SFT.items() if key in Sft.model_fields})
    base, data = os.path.relpath(tiny_base, tmp_path), os.path.relpath(world / "train.jsonl", tmp_path)
    words = shlex.split(f"sft {base} {data} m m.csv .belle/checkpoints/m .belle/tokens {flags}")
    command = [sys.executable, "-m", "belle.cli", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    took = json.loads((tmp_path / ".belle/runs/m.json").read_text(encoding="utf-8"))
    assert (took["step"], took["steps"]) == (24, 24)
    assert "24 steps on 1 × CPU" in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(("curves: tensorboard --logdir .belle/tensorboard", "kept in .belle/runs/m.json"))
