"""`belle why` and `belle plan` against what Snakemake then does and what the build then asks."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from belle import jsonl
from belle.api.ledger import Ledger
from belle.config import load
from belle.views.interval import Interval, mean_of
from trials.worlds import World, copy_world, shrink


@pytest.fixture(scope="module")
def current(built_once: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A miniature that is up to date; tests set it back to that."""
    world = copy_world(built_once, tmp_path_factory.mktemp("views") / "world")
    world.build()
    return world


@pytest.fixture
def world(current: World) -> Iterator[World]:
    """The same, its params.yaml and ledger put back after the test."""
    params = (current.folder / "params.yaml").read_bytes()
    ledger = {path: path.read_bytes() for path in (current.folder / "data/ledger").glob("*.jsonl")}
    yield current
    (current.folder / "params.yaml").write_bytes(params)
    for path, content in ledger.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)


def asked(world: World, command: str, *words: str) -> dict[str, Any]:
    return json.loads(world.run("belle", command, "--json", *words).stdout)


def allow(world: World, usd: float, prices: dict[str, dict[str, float]] | None = None) -> None:
    """Set the budget, which params.yaml may have left out."""
    path = world.folder / "params.yaml"
    if "\nbudget:" not in path.read_text(encoding="utf-8"):
        path.write_text(path.read_text(encoding="utf-8") + "\nbudget: {}\n", encoding="utf-8")
    world.set("budget", {"max_cost_usd": usd, "prices": prices or {}})


def used(ledger: Path) -> tuple[int, int]:
    """Calls and tokens of every reply in a ledger."""
    lines = [json.loads(line) for path in ledger.glob("*.jsonl") for line in path.read_text().splitlines()]
    usages = [line["usage"] for line in lines if line["kind"] == "reply"]
    return len(usages), sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)


def test_nothing_runs_where_all_is_up_to_date(world: World) -> None:
    assert world.run("belle", "plan").stdout == "Nothing is to run; no calls, $0.\n"
    why = asked(world, "why")
    assert why["runs"] == {}
    assert why["up_to_date"]["sft-belle-tiny"]["outcome"] == "executed"
    assert "up to date: gptq-belle-tiny, executed 20" in world.run("belle", "why", "models/belle-tiny-gptq").stdout


@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        ("clean.tiny.max_output_chars", 150, "param clean.tiny.max_output_chars: 200 → 150"),
        ("gptq.bits", 3, "param gptq.bits: 4 → 3"),
        ("judge.tiny.max_tokens", 7000, "param judge.tiny.max_tokens: 3000 → 7000"),
        (
            "tables.tiny.models",
            ["tiny-base"],
            'param tables.tiny.models: ["tiny-base", "belle-tiny", "belle-tiny-gptq"]',
        ),
    ],
)
def test_the_same_stages_as_snakemake_and_the_first_cause_with_both_values(
    world: World, key: str, value: Any, cause: str
) -> None:
    world.set(key, value)
    planned, why = world.planned(), asked(world, "why")
    assert planned
    assert set(why["runs"]) == set(planned) == {line["stage"] for line in asked(world, "plan")["stages"]}
    assert set(why["roots"]) == set(world.roots())
    assert any(text.startswith(cause) for causes in why["roots"].values() for text in causes)


def test_a_chain_leads_down_to_the_parameter(world: World) -> None:
    world.set("clean.tiny.max_output_chars", 150)
    text = world.run("belle", "why", "models/belle-tiny-gptq/").stdout
    assert text.splitlines()[:6] == [
        "gptq-belle-tiny is to run",
        "  because sft-belle-tiny is to run, which writes models/belle-tiny",
        "    because clean-tiny is to run, which writes data/clean/tiny.jsonl",
        "      param clean.tiny.max_output_chars: 200 → 150",
        "  because clean-tiny is to run, which writes data/clean/tiny.jsonl (see above)",
        "3 of 7 stages would run.",
    ]


def test_code_and_inputs_show_both_hashes(world: World) -> None:
    module, seeds = world.folder / "src/belle/data/cleaning/writing.py", world.folder / "data/seeds/seed_tasks.jsonl"
    kept = module.read_text(), seeds.read_text()
    try:
        world.edit("src/belle/data/cleaning/writing.py", "_CHARS = 300", "_CHARS = 301")
        seeds.write_text("".join(kept[1].splitlines(keepends=True)[::-1]))
        roots = asked(world, "why")["roots"]
    finally:
        module.write_text(kept[0])
        seeds.write_text(kept[1])
    assert set(roots) == {"generate-tiny", "clean-tiny"}
    subjects = {
        "clean-tiny": "code belle.data.cleaning.writing changed: ",
        "generate-tiny": "input data/seeds/seed_tasks.jsonl changed: ",
    }
    for name, subject in subjects.items():
        (cause,) = roots[name]
        assert cause.startswith(subject)
        old, _, new = cause.removeprefix(subject).partition(" → ")
        assert len(old) == len(new) == 12
        assert old != new


def test_what_nothing_makes_is_named_without_a_traceback(world: World, tmp_path: Path) -> None:
    ended = world.run("belle", "why", "models/nothing", check=False)
    assert ended.returncode == 2
    assert "models/nothing: No rule to produce models/nothing" in ended.stdout
    assert "Traceback" not in ended.stdout
    elsewhere = World(tmp_path).run("belle", "why", check=False, PYTHONPATH=str(world.folder / "src"))
    assert elsewhere.returncode == 2
    assert "no Snakefile" in elsewhere.stdout


def test_a_plan_from_an_empty_ledger_bounds_what_the_build_used(world: World, checkout: Path) -> None:
    """What these models say is nonsense, often the same: how many verdicts are asked for can only be bounded."""
    fresh = World(checkout)
    shrink(fresh)
    calls, tokens = used(world.folder / "data/ledger")
    plan = asked(fresh, "plan")
    assert plan["totals"]["tokens"]["low"] <= tokens <= plan["totals"]["tokens"]["high"]
    assert plan["totals"]["calls"]["low"] <= calls <= plan["totals"]["calls"]["high"]
    (line,) = [line for line in plan["stages"] if line["stage"] == "generate-tiny"]
    report = json.loads((world.folder / "data/raw/tiny.report.json").read_text())
    assert line["asks"]["calls"]["expected"] == report["replies"]
    assert not (checkout / "data/ledger").exists()


def test_the_tokens_planned_for_the_tiny_world_are_within_a_tenth_of_those_used(project: Path, checkout: Path) -> None:
    """Planned in a fresh copy, without a ledger; used by this checkout, where the default tables are built."""
    params = load(project / "params.yaml")
    verdicts = [project / f"results/verdicts/tiny/{model}.jsonl" for model in params.tables["tiny"].models]
    missing = [str(path) for path in (*verdicts, project / "data/raw/tiny.jsonl") if not path.exists()]
    if missing:
        pytest.skip(f"the tiny world is not built in this checkout: {missing[0]} is missing")
    needed = {row["request"] for path in verdicts for row in jsonl.read(path)}
    needed |= {row["request"] for row in jsonl.read(project / "data/raw/tiny.jsonl")}
    with Ledger(project / "data/ledger") as ledger:
        lines = [ledger.get(digest) for digest in needed]
    assert None not in lines
    usages = [line["usage"] for line in lines if line]
    tokens = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)
    totals = asked(World(checkout), "plan")["totals"]
    assert abs(totals["tokens"]["expected"] - tokens) <= 0.1 * tokens
    assert totals["tokens"]["low"] <= tokens <= totals["tokens"]["high"]
    assert totals["calls"]["low"] <= len(needed) <= totals["calls"]["high"]


def test_what_is_in_the_ledger_is_not_counted_and_what_is_missing_is(world: World) -> None:
    """The answers stand there, so the requests of the judge are known one by one."""
    world.edit("src/belle/evaluate/judge.py", "    jsonl.write(\n", "    mutated = 1\n    jsonl.write(\n")
    assert asked(world, "plan")["totals"]["calls"] == {"expected": 0, "low": 0, "high": 0}
    removed = tokens = 0
    for path in sorted((world.folder / "data/ledger").glob("*.jsonl")):
        kept = []
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row["kind"] == "reply" and row["stage"] == "judge" and removed < 3:
                removed += 1
                tokens += row["usage"]["prompt_tokens"]
            elif row["kind"] == "reply":
                kept.append(line + "\n")
        path.unlink()
        path.write_text("".join(kept))
    totals = asked(world, "plan")["totals"]
    assert totals["calls"] == {"expected": 3, "low": 3, "high": 3}
    assert totals["prompt_tokens"] == {"expected": tokens, "low": tokens, "high": tokens}


def test_a_changed_recipe_asks_for_more_by_as_many_rows(world: World) -> None:
    """60 rows are in the ledger; 60 more take about as many calls as those took."""
    world.set("generate.tiny.rows", 120)
    (line,) = [line for line in asked(world, "plan")["stages"] if line["stage"] == "generate-tiny"]
    before, _ = used(world.folder / "data/ledger")
    world.build("data/raw/tiny.jsonl")
    after, _ = used(world.folder / "data/ledger")
    assert line["asks"]["calls"]["low"] <= after - before <= line["asks"]["calls"]["high"] + 1
    assert "in the ledger" in line["asks"]["basis"][0]


def test_a_real_model_is_planned_on_any_machine(world: World) -> None:
    totals = asked(world, "plan", "models/belle-7b-gptq")["totals"]
    assert totals["calls"]["expected"] == 0  # its data is published: nothing is asked
    assert 20 < totals["gpu_hours"]["low"] < totals["gpu_hours"]["expected"] < totals["gpu_hours"]["high"]
    assert (totals["gpus"], totals["gpu_memory_gb"]) == (8, 37)
    assert totals["disk_gb"] == 237
    scored = asked(world, "plan", "results/tables/belle-7b.md")["totals"]
    assert 331 <= scored["calls"]["expected"] <= 662
    assert 0 < scored["usd"]["low"] < scored["usd"]["expected"] < scored["usd"]["high"] < 10
    text = world.run("belle", "plan", "models/belle-7b-gptq").stdout
    for word in ("API calls", "tokens", "dollars", "GPU-hours", "disk", "memory"):
        assert f"\n{word} " in text


def test_a_plan_says_whether_the_budget_allows_it(world: World) -> None:
    allow(world, 10.0)
    plan = asked(world, "plan", "models/belle-7b-anew-gptq")
    assert 250_000 < plan["totals"]["calls"]["low"] < plan["totals"]["calls"]["expected"] < 700_000
    assert plan["totals"]["usd"]["low"] > 10
    assert plan["budget"]["fits"] == "no"
    allow(world, 5000.0)
    assert asked(world, "plan", "models/belle-7b-anew-gptq")["budget"]["fits"] == "yes"
    world.set("generate.belle-2m.model", "a-model-of-ones-own")
    plan = asked(world, "plan", "models/belle-7b-anew-gptq")
    assert plan["totals"]["usd"] is None
    assert any("add it to budget.prices" in note for note in plan["notes"])


def test_a_build_that_cannot_fit_the_budget_is_stopped_before_its_first_job(world: World) -> None:
    recipe = {"base_url": "https://api.openai.com/v1", "model": "gpt-3.5-turbo", "rows": 2_000_000}
    for key, value in recipe.items():
        world.set(f"generate.tiny.{key}", value)
    allow(world, 10.0)
    before = len(world.history())
    stopped = world.run("snakemake", "data/raw/tiny.jsonl", check=False, OPENAI_API_KEY="no-key")
    assert stopped.returncode == 1
    missing = stopped.stdout.partition("nothing was started. Missing:\n")[2]
    assert missing.lstrip().startswith("budget: needs $")
    assert "for generate-tiny; budget.max_cost_usd is $10, of which $0.00 are spent" in missing
    assert len(world.history()) == before


def test_a_build_stops_at_the_budget_and_goes_on_when_it_is_raised(built_once: Path, tmp_path: Path) -> None:
    """A new seed asks anew; each request may cost a dollar a token: 300 of prompt in bytes, and max_tokens."""
    world = copy_world(built_once, tmp_path / "world")
    shutil.rmtree(world.folder / "data/ledger")
    (world.folder / "data/ledger.dvc").unlink(missing_ok=True)
    world.set("generate.tiny.seed", 99)
    prices = {"offline-teacher": {"prompt": 0.0, "completion": 1e6}}
    allow(world, 2500.0, prices)
    stopped = world.run("snakemake", "data/raw/tiny.jsonl", check=False)
    assert stopped.returncode == 1
    assert "the budget of $2500.00 is reached" in stopped.stdout
    assert "raise budget.max_cost_usd" in stopped.stdout
    lines = [json.loads(line) for path in (world.folder / "data/ledger").glob("*.jsonl") for line in path.open()]
    spent = sum(line["usage"]["completion_tokens"] for line in lines if line["kind"] == "reply")
    assert 2500 - 1024 < spent <= 2500
    paid = {line["digest"] for line in lines if line["kind"] == "reply"}
    allow(world, 1e6, prices)
    assert world.build("data/raw/tiny.jsonl") == {"generate-tiny": "executed"}
    again = [json.loads(line) for path in (world.folder / "data/ledger").glob("*.jsonl") for line in path.open()]
    assert len([line for line in again if line["kind"] == "intent" and line["digest"] in paid]) == len(paid)
    allow(world, 0.5)
    assert "generate-tiny" not in world.planned("data/raw/tiny.jsonl")


def test_bounds_of_sums_and_quotients() -> None:
    calls, size = Interval(10, 8, 14), Interval(100, 90, 120)
    assert calls * size == Interval(1000, 720, 1680)
    assert calls + Interval.exactly(2) == Interval(12, 10, 16)
    assert size / calls == Interval(10, 90 / 14, 15)


def test_a_mean_is_less_sure_of_few_draws_and_of_a_small_sample() -> None:
    sample = [6.0, 7.0, 7.0, 8.0]
    few, many = mean_of(sample, 4), mean_of(sample * 25, 400)
    assert few.mean == many.mean == 7
    assert few.high - few.low > 3 * (many.high - many.low)
