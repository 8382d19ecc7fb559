"""params.yaml's claims: what is declared, what each reads, and what is refused."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from belle import config, strict_yaml
from belle.build.registry import Registry
from belle.errors import InputError

ROOT = Path(__file__).parents[1]


def faults(tmp_path: Path, change) -> str:
    values = yaml.safe_load(re.sub(r"(\d)e-", r"\1.0e-", (ROOT / "params.yaml").read_text(encoding="utf-8")))
    change(values, values["directions"]["tiny"]["claims"])
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        config.load(path)
    return str(caught.value)


@pytest.fixture(scope="module")
def params():
    return config.load(ROOT / "params.yaml")


TINY = SimpleNamespace(directions="tiny")


def test_what_issue_5_asks_for_is_claimed_over_three_seeds(params):
    claims = params.directions["tiny"].claims
    assert {"full-over-lora", "more-data", "expansion", "arithmetic-lora"} <= set(claims)
    for claim in claims.values():
        assert len(set(claim.better)) == len(claim.worse) == 3
    for name in ("full-over-lora", "more-data", "arithmetic-lora"):
        for side in (claims[name].better, claims[name].worse):
            made = [params.made_by(model) for model in side]
            assert len({re.search(r"seed (\d+)", text)[1] for text in made}) == 3, made
    assert len({params.bases[name].text for name in claims["expansion"].better}) == 3


def test_what_is_compared_differs_in_what_the_claim_is_about_only(params):
    """The same seed, data and base on both sides; what is trained further is compared with what it was trained from."""
    claims, models = params.directions["tiny"].claims, params.models
    for better, worse in zip(claims["full-over-lora"].better, claims["full-over-lora"].worse, strict=True):
        one, other = models[better], models[worse]
        assert (one.base, one.dataset, one.data_fraction, one.override) == (
            other.base, other.dataset, other.data_fraction, other.override,
        )  # fmt: skip
    for better, worse in zip(claims["more-data"].better, claims["more-data"].worse, strict=True):
        assert models[better].model_dump() == {**models[worse].model_dump(), "data_fraction": 1.0}
    arithmetic = [claim for name, claim in claims.items() if name.startswith("arithmetic")]
    for claim in (*arithmetic, *params.directions["tiny-mathematics"].claims.values()):
        for better, worse in zip(claim.better, claim.worse, strict=True):
            assert models[better].base == worse


def test_a_claim_s_own_evaluation_set_goes_before_the_others_(params):
    key = "directions.tiny.claims.arithmetic"
    results, verdicts = dict(params.results_of_directions(TINY)), dict(params.verdicts_of_directions(TINY))
    assert results["results/scores/tiny-sums/belle-tiny-seed2.json"] == [f"{key}-lora.eval", f"{key}-lora.worse"]
    assert results["results/scores/tiny/belle-tiny-arithmetic-lora.json"] == [
        "directions.tiny.eval", f"{key}-overall.better",
    ]  # fmt: skip
    assert verdicts["results/verdicts/tiny-sums/belle-tiny-arithmetic-lora.jsonl"] == [
        f"{key}-lora.eval", f"{key}-lora.better",
    ]  # fmt: skip
    evals = params.claims_of_directions("eval")(TINY)
    assert evals == ["tiny-sums" if name == "arithmetic-lora" else "tiny" for name in params.directions["tiny"].claims]


def test_what_is_trained_for_a_claim_is_kept_clear_of_what_the_claim_asks(params):
    """The arithmetic by its recipe; the general set's teacher has no phrasing of it (tests/data/test_evalset.py)."""
    for claim in params.directions["tiny"].claims.values():
        if claim.eval:
            for model in claim.better:
                recipe = params.clean[params.datasets[params.models[model].dataset].clean]
                assert {claim.eval, "tiny"} <= set(recipe.decontaminate)
                assert {**recipe.model_dump(), "decontaminate": ["tiny"]} == params.clean["tiny"].model_dump()


def test_a_claim_reads_scores_and_verdicts_or_reports_of_vocabularies(params):
    results, verdicts = params.results_of_directions(TINY), params.verdicts_of_directions(TINY)
    key = "directions.tiny.claims.full-over-lora"
    assert results[:2] == [
        ("results/scores/tiny/belle-tiny.json", ["directions.tiny.eval", f"{key}.better"]),
        ("results/scores/tiny/belle-tiny-lora.json", ["directions.tiny.eval", f"{key}.worse"]),
    ]
    assert verdicts[1][0] == "results/verdicts/tiny/belle-tiny-lora.jsonl"
    wide = [path for path, _ in results if "vocabulary" in path]
    assert wide == [
        f"results/vocabulary/tiny-base-expanded{seed}.json" for seed in ("", "-seed2", "-seed3") for _ in "ab"
    ]
    names, recipes = params.names_of_directions(TINY), params.recipes_of_directions(TINY)
    assert len(results) == len(names) == len(recipes) == len(verdicts) + len(wide)
    assert names[:2] == ["belle-tiny", "belle-tiny-lora"]
    assert recipes[:2] == ["sft tiny, seed 1234, on tiny-base", "sft tiny-lora, seed 1234, on tiny-base"]


def test_words_of_claims(params):
    claims = params.directions["tiny"].claims
    assert params.claims_of_directions("name")(TINY) == list(claims)
    assert params.claims_of_directions("seeds")(TINY) == ["3"] * len(claims)
    assert params.claims_of_directions("measure")(TINY) == [claim.measure for claim in claims.values()]


def test_how_things_were_made(params):
    assert params.made_by("belle-tiny-seed2") == "sft tiny, seed 2, on tiny-base"
    assert params.made_by("belle-tiny-gptq") == "gptq of belle-tiny"
    assert params.made_by("tiny-base") == "base tiny of tiny, seed 1234"
    assert params.made_by("llama-7b") == "converted"
    assert params.made_by("tiny-base-expanded-seed2").startswith(
        "vocabulary tiny of data/corpus/tiny-seed2.txt, seed 1234"
    )


def test_a_model_s_own_seed_is_a_flag_behind_the_recipe_s():
    registry = Registry(strict_yaml.load(ROOT / "params.yaml"))
    chosen = registry.overriding("models.{model}.override")
    wildcards = SimpleNamespace(model="belle-tiny-seed2", items=lambda: [("model", "belle-tiny-seed2")])
    assert (str(chosen(wildcards)), chosen(wildcards).keys) == ("--seed 2", ["models.belle-tiny-seed2.override"])
    assert chosen(SimpleNamespace(items=lambda: [("model", "belle-tiny")])) == ""
    rule = (ROOT / "rules" / "train.smk").read_text(encoding="utf-8")
    assert "{params.settings} {params.override}" in rule, "the last of two flags of one name counts"


def test_every_fault_at_once(tmp_path):
    def change(values, claims):
        values["directions"]["tiny"]["eval"] = "tinny"
        claims["more-data"]["better"] = ["belle-tiny", "belle-tiny-sed2", "belle-tiny-seed3"]
        claims["full-over-lora"]["measure"] = "score"
        claims["arithmetic-lora"]["worse"] = claims["arithmetic-lora"]["worse"] + ["tiny-base"]
        claims["expansion"]["better"] = ["belle-tiny", "tiny-base-expanded", "tiny-base-expanded-seed2"]

    message = faults(tmp_path, change)
    assert "5 faults" in message
    assert "directions.tiny.eval: unknown evaluation set 'tinny'; did you mean 'tiny'?" in message
    assert (
        "claims.more-data.better: unknown base or model 'belle-tiny-sed2'; did you mean 'belle-tiny-seed2'?" in message
    )
    assert "claims.full-over-lora.measure: unknown measure 'score'; did you mean 'Score'?" in message
    assert "claims.arithmetic-lora.worse: 3 better and 4 worse: name one of each for every seed" in message
    assert "claims.expansion.better: belle-tiny is no expanded base: tokens_a_character is of vocabularies" in message


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda v, c: c["more-data"].update(better=["belle-tiny"] * 3), "better: named twice: belle-tiny; every seed"),
        (lambda v, c: c["more-data"].update(worse=c["more-data"]["better"]), "belle-tiny would be compared"),
        (lambda v, c: c["expansion"].update(worse=["tiny-base", "tiny-base", "llama-7b"]),
         "worse: tiny-base-expanded-seed3 is made of tiny-base, found llama-7b"),
        (lambda v, c: c["more-data"].update(better=["belle-tiny"], worse=["tiny-base"]), "claims.more-data.better: "),
        (lambda v, c: c["more-data"].update(beter=[]), "more-data.beter: unknown key; did you mean 'better'?"),
        (lambda v, c: c["more-data"].update(says="a $HOME"), "claims.more-data.says: "),
        (lambda v, c: c["more-data"].update(says="a {wildcard}"), "claims.more-data.says: "),
        (lambda v, c: c["more-data"].pop("measure"), "claims.more-data.measure: missing"),
        (lambda v, c: c["more-data"].update(eval="tiny-sum"),
         "claims.more-data.eval: unknown evaluation set 'tiny-sum'; did you mean 'tiny-sums'?"),
        (lambda v, c: v["evalset"]["tiny"].update(classes=["maths"]),
         "evalset.tiny.classes: unknown class 'maths'; did you mean 'math'?"),
        (lambda v, c: v["evalset"]["tiny"].update(splits=["entities", "entities"]),
         "evalset.tiny.splits: named twice: entities"),
        (lambda v, c: v["evalset"]["tiny"].update(splits=["entity"]), "evalset.tiny.splits.0: "),
        (lambda v, c: v["evalset"]["tiny"].update(splits=[]), "evalset.tiny.splits: "),
        (lambda v, c: c.clear(), "directions.tiny.claims: "),
        (lambda v, c: v["directions"]["tiny"].update(evl="x"), "tiny.evl: unknown key; did you mean 'eval'?"),
        (lambda v, c: v["models"]["belle-tiny-seed2"].update(override={"sed": 2}), "override.sed: unknown key"),
        (lambda v, c: v["models"]["belle-tiny-seed2"].update(override={"seed": -1}), "override.seed: "),
        (lambda v, c: v["models"]["belle-tiny-seed2"].update(override={}), "override.seed: missing"),
    ],
)  # fmt: skip
def test_what_would_not_hold_is_refused(tmp_path, change, what):
    assert what in faults(tmp_path, change)
