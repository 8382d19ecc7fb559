"""What a stage sees of the environment: what is declared and what is pinned, however it is started."""

import ast
import sys
from pathlib import Path

import pytest

from belle import stages
from belle.build import environment
from belle.build.environment import ENTERED, PINNED, declared, for_dvc, hermetic
from trials.worlds import World

FOREIGN = {
    "TRANSFORMERS_FOO": "1",
    "OMP_NUM_THREADS": "7",
    "MKL_CBWR": "AVX2",
    "PYTHONHASHSEED": "5",
    "PYTHONOPTIMIZE": "2",
    "TZ": "Asia/Shanghai",
    "LC_ALL": "C",
    "HF_HOME": "/nowhere",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "OPENAI_API_KEY": "secret",
}
"""Variables that nobody declared for the stage score, or that are pinned."""

SEES = """
    import os as _os
    import time as _time
    Path({path!r}).write_text(repr({{"environ": dict(_os.environ), "hash": hash("belle"), "zone": _time.tzname}}))
"""


def test_groups_are_stages():
    assert environment.ASKING == stages.ASKING
    assert set(stages.STAGES) >= environment.ASKING | environment.FETCHING | environment.COMPUTING
    assert all(variable.stages <= set(stages.STAGES) and variable.reason for variable in environment.VISIBLE)


def test_what_is_not_declared_is_gone_and_what_matters_is_pinned(tmp_path: Path):
    given = {"PATH": "/bin", "HOME": "/home/me", "LANG": "zh_CN.UTF-8", "PYTHONPATH": "/mine", "LD_PRELOAD": "/x.so"}
    seen = hermetic(given | FOREIGN, "score", tmp_path)
    assert seen == PINNED | {
        "PATH": "/bin", "PYTHONPATH": "/mine", "HOME": f"{tmp_path}/.belle/home", "BELLE_HOME": "/home/me",
    }  # fmt: skip
    assert all(declared(name, "score") for name in seen)
    assert hermetic(seen, "score", tmp_path) == seen


def test_the_code_that_runs_is_the_checkouts(tmp_path: Path):
    (tmp_path / "src" / "belle").mkdir(parents=True)
    assert hermetic({"PYTHONPATH": "/mine"}, "score", tmp_path)["PYTHONPATH"] == str(tmp_path / "src")


def test_each_stage_sees_what_its_kind_needs(tmp_path: Path):
    given = {"OPENAI_API_KEY": "k", "HF_TOKEN": "t", "CUDA_VISIBLE_DEVICES": "1", "HTTPS_PROXY": "p", "HOME": "/h"}
    kept = {name: set(hermetic(given, name, tmp_path)) & set(given) - {"HOME"} for name in stages.STAGES}
    assert kept["judge"] == kept["generate"] == {"OPENAI_API_KEY", "HTTPS_PROXY"}
    assert kept["fetch_model"] == {"HF_TOKEN", "HTTPS_PROXY"}
    assert kept["sft"] == kept["answer"] == {"CUDA_VISIBLE_DEVICES"}
    assert kept["score"] == kept["clean"] == set()
    assert hermetic(given, "fetch_model", tmp_path)["HOME"] == "/h"


def test_dvc_keeps_its_own(tmp_path: Path):
    given = {"HOME": "/h", "AWS_PROFILE": "p", "SSH_AUTH_SOCK": "s", "DVC_SITE_CACHE_DIR": "d", "OMP_NUM_THREADS": "7"}
    assert set(for_dvc(given, "score", tmp_path)) == (set(given) - {"OMP_NUM_THREADS"}) | {"BELLE_HOME", *PINNED}


@pytest.mark.parametrize("how", ["snakemake", "dvc"])
def test_undeclared_variables_reach_no_stage(miniature: World, tmp_path: Path, how: str):
    """A stage tells what it sees; the environment it is started in holds much more, and its bytes are the same."""
    target, seen = "results/scores/tiny/tiny-base.json", tmp_path / "seen"
    before = (miniature.folder / target).read_bytes()
    source = miniature.folder / "src" / "belle" / "evaluate" / "score.py"
    function = next(
        node for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "score"
    )  # fmt: skip
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    lines.insert(function.body[1].lineno - 1, SEES.format(path=str(seen)))
    source.write_text("".join(lines), encoding="utf-8")
    words = ["snakemake", target] if how == "snakemake" else ["dvc", "repro", "-f", "-s", "score-tiny-tiny-base"]
    miniature.run("env", *[f"{name}={value}" for name, value in FOREIGN.items()], *words)
    found = ast.literal_eval(seen.read_text(encoding="utf-8"))
    names = set(found["environ"])
    assert {name for name in names if not declared(name, "score")} == set()
    assert {name: found["environ"][name] for name in PINNED} == PINNED
    assert not names & (set(FOREIGN) - set(PINNED))
    assert (ENTERED in names) == (how == "dvc")  # a build gives the right environment from the start
    assert found["zone"] == ("UTC", "UTC")
    pinned = {"PYTHONHASHSEED": PINNED["PYTHONHASHSEED"]}
    assert miniature.run(sys.executable, "-c", "print(hash('belle'))", **pinned).stdout.strip() == str(found["hash"])
    assert found["environ"]["HOME"] == str(miniature.folder / ".belle" / "home")
    assert (miniature.folder / target).read_bytes() == before
