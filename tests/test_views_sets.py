"""What a plan says of the kinds of set beforehand, against what asking for them then takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from belle.api.ledger import Ledger
from belle.build.state import Stage
from belle.config import load
from belle.data.ask import ask
from belle.data.label import label
from belle.params import Params
from belle.views import asking_sets
from belle.views.graph import Step
from belle.views.tokens import Known

ROOT = Path(__file__).parents[1]
PROMPTS = str(ROOT / "src/belle/prompts/sets")


def step(command: str, deps: list[str], **wildcards: str) -> Step:
    name = f"{command}-{'-'.join(wildcards.values())}"
    return Step(name, command, Stage(name, "", tuple(deps), {}, ()), wildcards, {}, runs=True)


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(ROOT)
    return load()


def estimate(params: Params, dataset: str, ledger: Path) -> Any:
    asked = step("ask", ["data/seeds/subjects.jsonl", PROMPTS], dataset=dataset)
    return asking_sets.ask(asked, params, Known(ledger))


def build(params: Params, dataset: str, folder: Path) -> None:
    recipe = params.ask[params.datasets[dataset].ask].model_dump()  # type: ignore[union-attr]
    ask(
        seeds=ROOT / "data/seeds/subjects.jsonl", prompts=Path(PROMPTS), out=folder / "raw.jsonl",
        report=folder / "raw.report.json", ledger=folder / "ledger", api_key="", in_flight=32, timeout_s=30, **recipe,
    )  # fmt: skip


def used(folder: Path) -> tuple[int, int, int]:
    with Ledger(folder / "ledger") as ledger:
        usages = [line["usage"] for line in ledger]
    prompt, completion = (sum(usage[f"{kind}_tokens"] for usage in usages) for kind in ("prompt", "completion"))
    return len(usages), prompt, completion


@pytest.mark.parametrize("dataset", ["tiny-multiturn", "tiny-roles", "tiny-math", "tiny-conversations", "tiny-crawl"])
def test_the_plan_bounds_what_the_offline_teacher_is_asked_and_then_nothing_is_left(
    tmp_path: Path, params: Params, dataset: str
) -> None:
    planned = estimate(params, dataset, tmp_path / "ledger")
    build(params, dataset, tmp_path)
    calls, prompt, completion = used(tmp_path)
    for name, count in (("calls", calls), ("prompt_tokens", prompt), ("completion_tokens", completion)):
        found = getattr(planned, name)
        # a thread or two beyond those that were needed is begun with the rest of its wave
        assert 0.97 * found.low <= count <= 1.03 * found.high, (name, found, count)
        assert abs(found.mean - count) <= 0.12 * count, (name, found, count)
    assert (tmp_path / "ledger").exists()
    left = estimate(params, dataset, tmp_path / "ledger")
    replies = json.loads((tmp_path / "raw.report.json").read_text())["replies"]
    assert left.calls.high == left.prompt_tokens.high == left.completion_tokens.high == 0
    assert left.basis == [f"all {replies} replies are in the ledger"]


def test_more_rows_are_planned_by_what_the_ledger_holds(tmp_path: Path, params: Params) -> None:
    build(params, "tiny-crawl", tmp_path)
    recipe = params.ask["tiny-crawl"].model_copy(update={"rows": 800})
    more = params.model_copy(update={"ask": {**params.ask, "tiny-crawl": recipe}})
    left = estimate(more, "tiny-crawl", tmp_path / "ledger")
    assert "of 800 rows" in left.basis[0]
    assert 50 <= left.calls.mean <= 62


@pytest.mark.parametrize(
    ("dataset", "calls", "usd"),
    [
        ("belle-multiturn-800k-anew", (800_000, 3_200_000), (300, 5_000)),
        ("belle-roles-400k-anew", (400_000, 800_000), (100, 2_000)),
        ("belle-school-math-250k-anew", (25_000, 40_000), (20, 200)),
        ("belle-3500k-anew", (7_000_000, 30_000_000), (1_000, 20_000)),
        ("cla-crawl", (55_000, 80_000), (80, 900)),
    ],
)
def test_the_published_sizes_are_planned_without_a_key(
    params: Params, tmp_path: Path, dataset: str, calls: tuple[int, int], usd: tuple[float, float]
) -> None:
    """Bounds of orders of magnitude: rows by requests a row, and tokens at gpt-3.5-turbo's price."""
    found = estimate(params, dataset, tmp_path / "ledger")
    assert calls[0] <= found.calls.low <= found.calls.mean <= found.calls.high <= calls[1]
    dollars = 0.5e-6 * found.prompt_tokens.mean + 1.5e-6 * found.completion_tokens.mean
    assert usd[0] <= dollars <= usd[1]
    assert any(text.startswith("assumed: ") for text in found.basis)


def test_labels_are_counted_where_the_rows_are_here(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = asking_sets.label(
        step("label", ["data/clean/tiny-conversations.jsonl", PROMPTS], categories="tiny"),
        params, Known(tmp_path / "ledger"), {},
    )  # fmt: skip
    build(params, "tiny-conversations", tmp_path)
    clean = tmp_path / "data/clean/tiny-conversations.jsonl"
    clean.parent.mkdir(parents=True)
    (tmp_path / "raw.jsonl").rename(clean)
    asked = step("label", ["data/clean/tiny-conversations.jsonl", PROMPTS], categories="tiny")
    calls, prompt, completion = used(tmp_path)
    planned = asking_sets.label(asked, params, Known(tmp_path / "ledger"), {})
    label(
        rows_of=clean, prompts=Path(PROMPTS), out=tmp_path / "labels.jsonl", report=tmp_path / "labels.report.json",
        ledger=tmp_path / "ledger", api_key="", in_flight=32, timeout_s=30, **params.label["tiny"].model_dump(),
    )  # fmt: skip
    after = used(tmp_path)
    assert planned.calls.exact
    assert planned.calls.mean == after[0] - calls
    assert planned.prompt_tokens.mean == pytest.approx(after[1] - prompt)
    assert planned.completion_tokens.low <= after[2] - completion <= planned.completion_tokens.high
    assert before.calls.low <= planned.calls.mean <= before.calls.high
    assert before.prompt_tokens.low <= after[1] - prompt <= before.prompt_tokens.high
    assert asking_sets.label(asked, params, Known(tmp_path / "ledger"), {}).calls.high == 0
