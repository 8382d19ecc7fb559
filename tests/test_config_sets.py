"""params.yaml's entries for the kinds of set: what is declared, and what is refused."""

import re
from pathlib import Path

import pytest
import yaml

from belle import config
from belle.data.filters import FILTERS
from belle.entries import AskedDataset, GeneratedDataset
from belle.errors import InputError

ROOT = Path(__file__).parents[1]

PUBLISHED = {
    "belle-500k-anew": 500_000, "belle-1m-anew": 1_000_000, "belle-2m-anew": 2_000_000,
    "belle-multiturn-800k-anew": 800_000, "belle-roles-400k-anew": 400_000, "belle-school-math-250k-anew": 250_000,
    "belle-3500k-anew": 3_500_000,
}  # fmt: skip


def faults(tmp_path: Path, change) -> str:
    values = yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        config.load(path)
    return str(caught.value)


def test_every_published_set_has_a_twin_of_its_size():
    params = config.load(ROOT / "params.yaml")
    for name, rows in PUBLISHED.items():
        assert params.datasets[name.removesuffix("-anew")].kind == "published"
        entry = params.datasets[name]
        assert isinstance(entry, AskedDataset | GeneratedDataset)
        recipe = params.ask[entry.ask] if isinstance(entry, AskedDataset) else params.generate[entry.generate]
        assert recipe.rows == rows
        assert recipe.base_url.startswith("https://")


def test_the_set_of_a_million_has_its_post_filters():
    params = config.load(ROOT / "params.yaml")
    chain = params.clean[params.datasets["belle-1m-anew"].clean].filters
    assert {"gpt_self_reference", "refusal", "asks_back", "not_chinese"} <= set(chain) <= set(FILTERS)


def test_the_offline_sets_are_of_every_kind_and_no_default():
    params = config.load(ROOT / "params.yaml")
    kinds = {params.ask[params.datasets[name].ask].kind for name in params.offline_sets()}
    assert kinds == {"multiturn", "roles", "school_math", "conversations", "crawl"}
    assert params.offline_categories() == [("tiny", "tiny-conversations")]
    assert not any("tiny-" in path and "/data/" in path for path in params.default_artifacts())


def test_every_fault_of_the_new_entries_is_told(tmp_path):
    def change(values):
        values["datasets"]["tiny-math"]["ask"] = "tiny-maths"
        values["ask"]["tiny-multiturn"]["tasks"] = 3
        values["ask"]["tiny-crawl"]["exchanges"] = 2
        values["categories"]["tiny"]["dataset"] = "tiny-conversation"
        values["categories"]["tiny"]["label"] = "nobody"
        values["categories"]["belle"]["classifier"] = "none"

    message = faults(tmp_path, change)
    assert "6 faults, nothing was started" in message
    assert "datasets.tiny-math.ask: unknown recipe of ask 'tiny-maths'; did you mean 'tiny-math'?" in message
    assert "ask.tiny-multiturn.tasks: must be 1 for multiturn (one dialogue), found 3" in message
    assert "ask.tiny-crawl.exchanges: must be 1 for crawl, found 2" in message
    assert "unknown dataset 'tiny-conversation'; did you mean 'tiny-conversations'?" in message
    assert "categories.tiny.label: unknown recipe of label 'nobody'" in message
    assert "categories.belle.classifier: unknown recipe of classifier 'none'" in message


def test_values_out_of_range_and_unknown_keys_are_told(tmp_path):
    def change(values):
        values["ask"]["tiny-roles"]["kind"] = "role"
        values["classifier"]["tiny"]["held_out"] = 1.0
        values["label"]["tiny"]["rows"] = 0
        values["datasets"]["tiny-math"]["generate"] = "tiny"

    message = faults(tmp_path, change)
    assert "4 faults" in message
    assert "ask.tiny-roles.kind" in message
    assert "found 'role'" in message
    assert "datasets.tiny-math.generate: unknown key" in message
