"""Cards: what they say of a model, the same bytes each time, and what follows from licences."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from belle.errors import InputError
from belle.evaluate.card import card, parse
from belle.evaluate.licences import OPENAI, OURS, UNKNOWN, of_base, of_data, of_weights, together


@pytest.fixture
def model(tmp_path):
    """A folder with weights of two types, 14 values in all."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    save_file({"a": torch.arange(10.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "dtype": "float32"}), encoding="utf-8")
    return folder


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@pytest.fixture
def given(tmp_path, model):
    """Everything that a card of a fine-tuned model is made from."""
    return {
        "name": "m", "model": model, "out_md": tmp_path / "m.md", "out_json": tmp_path / "m.json",
        "described": [
            "@entry", "--kind", "trained", "--base", "b", "--dataset", "d", "--data_fraction", "0.25", "--gpus", "0",
            "@recipe", "--learning_rate", "8e-06", "--packing", "--lora_target_modules", "q_proj", "v_proj", "--seed",
            "7", "@dataset", "--kind", "generated", "@texts", "@asked", "--base_url", "offline", "--model", "teacher",
            "--rows", "10", "@gptq",
        ],
        "cards": [write(tmp_path / "cards/b.json", {
            "name": "b", "entry": {"kind": "hub", "hub": "bigscience/bloomz-7b1-mt"}, "rests_on": [], "data": [],
            "weights": {"parameters": 7_000, "sha256": "0" * 64}, "licences": ["bigscience-bloom-rail-1.0"],
        })],
        "data": [write(tmp_path / "data/d.jsonl", '{"id": "1"}\n{"id": "2"}\n')],
        "raw": [write(tmp_path / "raw.json", {"replies": 3, "kept": 10})],
        "cleaned": [write(tmp_path / "clean.json", {
            "rows_in": 10, "rows_out": 2, "reasons": {"exact_duplicate": 5, "not_chinese": 0, "contaminated": 3},
            "contamination": {"checked": ["tiny", "other"], "evaluation_sets": {"tiny": 3}},
        })],
        "curve": [write(tmp_path / "curve.csv", "step,loss\n" + "".join(f"{n},{21 - n}.5\n" for n in range(1, 21)))],
        "reports": [],
        "scores": [write(tmp_path / f"scores/tiny/{name}.json", {
            "model": name, "n": 400, "Score": score, "stderr": 0.019, "Score_w/o_others": 0.6, "unparsed": 1,
        }) for name, score in (("m", 0.584), ("m-gptq", 0.588))],
    }  # fmt: skip


def test_a_card_says_what_a_model_is_made_of(given):
    from belle.weights.digest import digest_of

    card(**given)
    found = json.loads(given["out_json"].read_text(encoding="utf-8"))
    text = given["out_md"].read_text(encoding="utf-8")
    assert found["weights"]["parameters"] == 14
    assert found["weights"]["types"] == {"bfloat16": 4, "float32": 10}
    assert found["weights"]["sha256"] == digest_of(given["model"]).sha256
    data = given["data"][0].read_bytes()
    assert found["data"] == [{"path": str(given["data"][0]), "lines": 2, "bytes": len(data),
                              "sha256": hashlib.sha256(data).hexdigest()}]  # fmt: skip
    assert found["training"] == {"steps": 20, "first_loss": 20.5, "mean_loss_of_last_steps": 2.0, "last_steps": 2}
    assert found["cleaning"]["removed"] == {"exact_duplicate": 5, "contaminated": 3}
    assert found["licences"] == [OURS, "bigscience-bloom-rail-1.0"]
    assert (found["research_only"], found["unknown"]) == (False, [])
    for words in (
        "14 parameters in 2 tensors (4 bfloat16, 10 float32), 48 bytes", found["weights"]["sha256"],
        found["data"][0]["sha256"], "a share of 0.25", "cleaning kept 2 of 10 rows",
        "exact_duplicate 5, contaminated 3", "3 of them were removed for overlap with tiny",
        "0 of them were removed for overlap with other", "| learning_rate | 8e-06 |", "| packing | yes |",
        "| lora_target_modules | q_proj, v_proj |", "| seed | 7 |", "**b** `bigscience/bloomz-7b1-mt`",
        "| m | tiny | 0.584 ± 0.019 | 0.600 | 400 | 1 |  |", "| m-gptq | tiny | 0.588", "`snakemake models/m`",
        "asked of `teacher` at `offline`: 10 rows", "**bigscience-bloom-rail-1.0**",
    ):  # fmt: skip
        assert words in text, words
    assert "Anything but research" not in text


def test_an_entry_s_own_seed_goes_before_its_recipe_s(given):
    given["described"][given["described"].index("@recipe") : 0] = ["@entry", "--override.seed", "2"]
    card(**given)
    assert "| seed | 2 |" in given["out_md"].read_text(encoding="utf-8")
    assert json.loads(given["out_json"].read_text(encoding="utf-8"))["recipe"]["seed"] == "2"


def test_scores_name_the_pages_that_show_them(given):
    first, second = given["scores"]
    pages = ["results/tables/tiny.md", "results/tables/release.md"]
    given["described"] += ["@pages", f"--{first}", *pages, f"--{second}", pages[0]]
    card(**given)
    found = json.loads(given["out_json"].read_text(encoding="utf-8"))
    assert [row["pages"] for row in found["scores"]] == [pages, pages[:1]]
    assert "pages" not in found
    links = [f"[{page}](../../{page})" for page in pages]
    assert f"| 400 | 1 | {', '.join(links)} |" in given["out_md"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("entry", "recipe", "said"),
    [
        (["--kind", "trained", "--gpus", "8"], [], "Hardware: 8 GPU(s). On which machine and how long: `belle runs m`"),
        (["--kind", "trained", "--gpus", "0"], ["--devices", "2", "--threads", "3"],
         "Hardware: the CPU, 2 process(es), 3 thread(s) each."),
        (["--kind", "preferred", "--gpus", "0"], ["--threads", "1"], "Hardware: the CPU, 1 process(es)"),
        (["--kind", "released", "--key", "tiny-base"], [], ""),
    ],
)  # fmt: skip
def test_hardware_is_what_a_training_asks_for(given, entry, recipe, said):
    given["described"] = ["@entry", *entry, "@recipe", "--seed", "7", *recipe]
    card(**given)
    text = given["out_md"].read_text(encoding="utf-8")
    assert said in text if said else "Hardware" not in text


def test_the_same_inputs_give_the_same_bytes(given):
    made = []
    for _ in range(2):
        card(**given)
        made.append((given["out_md"].read_bytes(), given["out_json"].read_bytes()))
    assert made[0] == made[1]


def test_licences_of_all_that_lies_under_a_model_count(given, tmp_path):
    under = json.loads(given["cards"][0].read_text(encoding="utf-8"))
    write(given["cards"][0], {**under, "licences": ["llama"]})
    write(given["raw"][0], {"licence": "gpl-3.0", "rows": 2})
    card(**given)
    found = json.loads(given["out_json"].read_text(encoding="utf-8"))
    text = given["out_md"].read_text(encoding="utf-8")
    assert found["licences"] == ["gpl-3.0", "llama"]
    assert found["research_only"]
    assert "Anything but research" in text
    assert "not to be handed on" in text


def test_what_nobody_said_is_not_taken_for_leave(given):
    given["described"] = [word.replace("offline", "https://api.example.org/v1") for word in given["described"]]
    card(**given)
    assert json.loads(given["out_json"].read_text(encoding="utf-8"))["unknown"] == [UNKNOWN]
    assert "Being handed on, before the licence is known" in given["out_md"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"kind": "hub", "hub": "bigscience/bloomz-7b1-mt"}, ["bigscience-bloom-rail-1.0"]),
        ({"kind": "hub", "hub": "meta-llama/Llama-2-13b-hf"}, ["llama2"]),
        ({"kind": "hub", "hub": "somebody/something"}, [UNKNOWN]),
        ({"kind": "converted", "source": "downloads/llama/7B"}, ["llama"]),
        ({"kind": "converted", "source": "downloads/Llama-2-7b"}, ["llama2"]),
        ({"kind": "converted", "source": "models/tiny-base-meta"}, []),
        ({"kind": "released", "key": "downloads/LLaMA-7B/consolidated.00.pth"}, ["llama"]),
        ({"kind": "released", "key": "tiny-base"}, []),
        ({"kind": "recovered", "hub": "tatsu-lab/alpaca-7b-wdiff", "base": "downloads/llama-7b-hf"},
         ["cc-by-nc-4.0", "llama"]),
        ({"kind": "merged", "adapters": ["downloads/lora"]}, [UNKNOWN]),
        ({"kind": "merged", "adapters": ["belle-tiny-lora"]}, []),
        ({"kind": "trained"}, []),
    ],
)  # fmt: skip
def test_licences_of_weights(entry, expected):
    assert of_base(entry) == expected


def test_licences_of_data():
    assert of_data({"licence": "gpl-3.0"}, {}) == ["gpl-3.0"]
    assert of_data({"kept": 3}, {"base_url": "offline"}) == [OURS]
    assert of_data({"kept": 3}, {"base_url": "https://api.openai.com/v1"}) == [OPENAI]
    assert of_data({"kept": 3}, {"base_url": "https://llm.example.org/v1"}) == [UNKNOWN]
    mixed = {"sets": {"a": {"licence": "gpl-3.0"}, "b": {"licence": "unknown"}, "c": {"licence": "gpl-3.0"}}}
    assert of_data(mixed, {}) == ["gpl-3.0", UNKNOWN]
    assert of_weights("huggyllama/llama-7b") == "llama"
    assert together(["some-licence"])["unknown"] == ["some-licence"]


def test_groups_of_flags():
    words = ["@entry", "--kind", "merged", "--adapters", "a", "@recipe", "--bits", "-1", "--on", "--text", "", "@none"]
    assert parse(words) == {
        "entry": {"kind": "merged", "adapters": ["a"]},
        "recipe": {"bits": "-1", "on": True, "text": ""},
    }
    for wrong in (["--kind", "x"], ["@entry", "x"]):
        with pytest.raises(InputError, match="belongs to no flag"):
            parse(wrong)


@pytest.mark.parametrize(
    ("which", "content", "says"),
    [
        ("cleaned", "{", "no report of clean rows"),
        ("cleaned", '{"rows": 3}', "no report of `belle clean`"),
        ("curve", "loss\n1\n", "no loss curve"),
        ("curve", "step,loss\n", "no loss curve"),
        ("scores", '{"model": "m"}', "no score file"),
        ("cards", '{"name": "b"}', "no card"),
        ("raw", "[]", "no report of raw rows"),
        ("data", None, "there is no such file"),
    ],
)
def test_another_file_is_named_and_nothing_is_written(given, which, content, says):
    if content is None:
        given[which][0].unlink()
    else:
        given[which][0].write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says) as raised:
        card(**given)
    assert str(given[which][0]) in str(raised.value)
    assert not given["out_md"].exists()
    assert not given["out_json"].exists()


def test_every_base_and_model_of_the_registry_has_a_chain(project):
    """Whatever its kind: its files are the registry's, and the keys that chose them are there."""
    from belle import strict_yaml
    from belle.build.state import look_up
    from belle.chain import Chain
    from belle.config import load

    params, values = load(project / "params.yaml"), strict_yaml.load(project / "params.yaml")
    chain, kinds = Chain(params), set()
    for name, entry in [*params.bases.items(), *params.models.items()]:
        wildcards = SimpleNamespace(model=name)
        kinds.add(entry.kind)
        for found in (chain.entry, chain.recipe, chain.dataset, chain.asked, chain.gptq):
            if (chosen := found(wildcards)) is not None:
                for key in (chosen[0], *chosen[1]):
                    look_up(key, values)
        for paths in (chain.cards, chain.data, chain.raw, chain.cleaned, chain.curve, chain.reports, chain.scores):
            for _, keys in paths(wildcards):
                for key in keys:
                    look_up(key, values)
    assert kinds >= {"scratch", "hub", "converted", "expanded", "pretrained", "trained", "released", "recovered",
                     "merged", "preferred", "reinforced"}  # fmt: skip


def test_chains_of_the_tiny_world(project):
    from belle.chain import Chain
    from belle.config import load

    chain = Chain(load(project / "params.yaml"))

    def of(function, name):
        return [path for path, _ in function(SimpleNamespace(model=name))]

    assert of(chain.cards, "belle-tiny") == ["results/cards/tiny-base.json"]
    assert of(chain.cards, "belle-tiny-merged") == [
        "results/cards/tiny-base.json", "results/cards/belle-tiny-lora.json",
    ]  # fmt: skip
    assert of(chain.cards, "belle-tiny-released") == ["results/cards/tiny-base.json"]
    assert of(chain.cards, "tiny-base-converted") == ["results/cards/tiny-base.json"]
    assert of(chain.scores, "belle-tiny") [:2] == [
        "results/scores/tiny/belle-tiny.json", "results/scores/tiny/belle-tiny-gptq.json",
    ]  # fmt: skip
    assert of(chain.data, "belle-tiny-math") == ["data/clean/tiny-math.jsonl"]
    assert chain.asked(SimpleNamespace(model="belle-tiny"))[0] == "generate.tiny"
    assert chain.asked(SimpleNamespace(model="belle-7b")) is None
    assert chain.gptq(SimpleNamespace(model="belle-tiny-quarter")) is None
    assert chain.texts(SimpleNamespace(model="tiny-base-stage1")) == "--ours"
    assert chain.texts(SimpleNamespace(model="llama-7b-cla")) == ""


def test_a_model_that_no_table_names_has_the_scores_of_its_claims(project):
    from belle.chain import Chain
    from belle.config import load

    chain = Chain(load(project / "params.yaml"))
    seed = SimpleNamespace(model="belle-tiny-seed2")
    scores = dict(chain.scores(seed))
    assert set(scores) == {f"results/scores/{name}/belle-tiny-seed2.json" for name in ("tiny", "tiny-sums")}
    claims = "directions.tiny.claims"
    assert {"directions.tiny.eval", f"{claims}.full-over-lora.better", f"{claims}.more-data.better"} <= set(
        scores["results/scores/tiny/belle-tiny-seed2.json"]
    )
    assert f"{claims}.arithmetic-lora.eval" in scores["results/scores/tiny-sums/belle-tiny-seed2.json"]
    pages = parse(["@pages", *chain.pages(seed).split()])["pages"]
    assert pages["results/scores/tiny/belle-tiny-seed2.json"][0] == "results/directions/tiny.md"
    in_tables = chain.pages(SimpleNamespace(model="belle-tiny"))
    assert "results/tables/tiny.md results/tables/release.md" in in_tables
    assert "directions" not in in_tables
    assert chain.pages(SimpleNamespace(model="tiny-base-expanded")) == ""
