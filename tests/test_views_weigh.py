"""What weighing needs: nothing in the tiny world, a GPU and hours for 2.3 million rows by a 7B model."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from belle import config
from belle.needs import Needs
from belle.views.compute import PEAK_FLOPS, TOKENS_A_ROW, UTILISATION, Compute

ROOT = Path(__file__).parents[1]


@pytest.fixture
def params():
    return config.load(ROOT / "params.yaml")


def test_needs_follow_from_the_base(params):
    needs = Needs(params)
    tiny = SimpleNamespace(weigher="tiny", dataset="tiny-clean")
    large = SimpleNamespace(weigher="bloomz-7b1", dataset="belle-500k-clean")
    assert (needs.weigh_gpus(tiny), needs.weigh_gpu(tiny), needs.weigh_gpu_memory_gb(tiny)) == (0, None, 0)
    assert needs.weigh_disk_gb(tiny) == 0
    assert needs.weigh_threads(tiny) == 1
    assert (needs.weigh_gpus(large), needs.weigh_gpu(large)) == (1, 1)
    assert needs.weigh_gpu_memory_gb(large) == 16  # 14.1 GB of weights, and room for a row
    assert needs.weigh_mem_mb(large) == 18138


def test_hours_are_two_flops_a_parameter_and_token_of_all_sets(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no rows lie
    compute = Compute(params)
    rows = compute.raw_rows("belle-500k-clean")
    assert rows is not None
    assert rows.mean == 800_000 + 900_000 + 500_000
    step = SimpleNamespace(
        command="weigh", resources={"gpus": 1}, wildcards={"weigher": "bloomz-7b1", "dataset": "belle-500k-clean"}
    )
    hours = compute.gpu_hours(step)
    wanted = rows.mean * TOKENS_A_ROW.mean * 2 * 7069016064 / (PEAK_FLOPS * UTILISATION.mean) / 3600
    assert hours.mean == pytest.approx(wanted)
    assert hours.low < hours.mean < hours.high
    assert compute.rows("belle-500k-clean").mean == pytest.approx(0.9 * rows.mean)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "tiny-clean.jsonl").write_text('{"id": "a"}\n' * 3, encoding="utf-8")
    assert compute.raw_rows("tiny-clean").mean == 3


def test_a_recipe_asks_for_weights_only_where_it_names_a_weigher(params):
    assert params.weights_of(SimpleNamespace(dataset="tiny")) == []
    assert params.weights_of(SimpleNamespace(dataset="tiny-clean")) == [
        ("data/weighed/tiny/tiny-clean", ["datasets.tiny-clean.clean", "clean.tiny-clean.weigher"])
    ]
    assert params.mixed_sets(SimpleNamespace(dataset="belle-500k-clean")) == [
        "belle-multiturn-800k", "belle-1m", "belle-500k",
    ]  # fmt: skip
    assert params.mixed_sets(SimpleNamespace(dataset="tiny")) == []
