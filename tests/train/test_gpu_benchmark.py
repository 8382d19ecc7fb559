"""benchmarks/gpu_train.py: its arithmetic, that it stands alone, and its whole way with the small shape on a CPU."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_train import PEAKS, SHAPES, fewest_checkpoints, flops_a_token

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu_train.py"


def test_it_imports_nothing_of_ours():
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names}
    assert tops - set(sys.stdlib_module_names) == {"torch", "transformers"}


def test_a_token_of_7b_costs_six_flops_a_parameter_and_attention():
    multiplied = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096
    assert multiplied == 6_738_415_616 - 32000 * 4096 - 32 * 2 * 4096 - 4096
    assert flops_a_token(SHAPES["7b"]) == 6 * multiplied + 6 * 32 * 4096 * 2048


def test_as_few_layers_are_checkpointed_as_fit():
    assert fewest_checkpoints(32, 50e9, 1e9, 70e9) == 12
    assert fewest_checkpoints(32, 50e9, 1e9, 50e9) == 32
    assert fewest_checkpoints(32, 60e9, 1e9, 50e9) == 32
    assert fewest_checkpoints(32, 10e9, 1e9, 70e9) == 0
    assert fewest_checkpoints(32, 10e9, 0.0, 70e9) == 32


def test_a_card_is_found_by_the_most_special_name_first():
    names = list(PEAKS)
    assert names.index("H100 PCIe") < names.index("H100")


def test_the_small_shape_runs_here_and_gives_a_row(tmp_path):
    out = tmp_path / "rows.json"
    words = [sys.executable, str(PROGRAM), "--tiny", "--steps", "3", "--out", str(out)]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr[-3000:]
    (row,) = json.loads(out.read_text(encoding="utf-8"))
    assert row["name"] == "gpu_train_vs_hf_trainer_tiny"
    assert row["ratio"] == pytest.approx(row["ours"] / row["peer"], abs=0.01)
    for side in ("ours", "peer"):
        low, high = row["spread"][side]
        assert 0 < low <= row[side] <= high
        assert 0 < row["mfu"][side] < 1
        assert row["memory_gb"][side] > 0.1
        assert row["loss"][side][0] == pytest.approx(7.6, abs=0.2)  # log 2000: random weights know nothing
    assert row["n"] == 3
    assert row["device"]


def test_the_real_shape_needs_a_gpu():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: the whole benchmark would run")
    ended = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "needs one of 80 GB" in ended.stderr
