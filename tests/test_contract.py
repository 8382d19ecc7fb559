"""Rule, subcommand, function and section stand under one name; the floors and the leaned-on internals hold."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import typing

import belle
from belle import config, settings, stages
from belle.build.leaned_on import LEANED_ON, LEANED_ON_IN_INSTANCES


def rules(project) -> dict[str, str]:
    found = {}
    for path in sorted((project / "rules").glob("*.smk")):
        for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(encoding="utf-8"), re.M):
            found[name] = body
    return found


def stage_function(name: str):
    source = inspect.getsource(stages.STAGES[name][0])
    module = re.search(rf"from (belle\.[\w.]+) import {name}$", source, re.M)
    assert module, f"belle.stages:{name} does not import the function {name}"
    assert module[1].rpartition(".")[2] == name
    return getattr(importlib.import_module(module[1]), name)


def test_each_rule_is_a_subcommand_and_each_subcommand_a_rule(project):
    assert set(rules(project)) == {*stages.STAGES, "fingerprint"}
    for name, body in rules(project).items():
        assert re.search(rf"belle {name} ", body), name
        assert re.search(rf'"logs/{name}(-\{{\w+\}})*\.log"', body), f"{name}: the log names the stage"


def keyword_arguments(function) -> set[str]:
    """Names of the arguments, those of ``**how: Unpack[Settings]`` among them."""
    names = set()
    for name, item in inspect.signature(function).parameters.items():
        if item.kind is inspect.Parameter.VAR_KEYWORD:
            names |= set(typing.get_type_hints(typing.get_args(typing.get_type_hints(function)[name])[0]))
        else:
            assert item.kind is inspect.Parameter.KEYWORD_ONLY, f"{function.__name__}: {name}"
            names.add(name)
    return names


def test_each_stage_is_a_function_of_its_arguments_and_section():
    for name, (command, _) in stages.STAGES.items():
        function = stage_function(name)
        parameters = keyword_arguments(function)
        section = settings.SECTIONS.get(name)
        if section:
            # whose names go with the paths beside them, as one argument
            missing = set(section.model_fields) - {"decontaminate"} - parameters
            assert not missing, f"{name}: its section has {missing}, its function does not"
        assert function.__doc__, name
        assert command.__doc__, name


def test_sections_are_stages():
    assert set(settings.SECTIONS) <= set(stages.STAGES)
    registry = {"default_tables", "datasets", "bases", "models", "evals", "tables", "categories", "texts", "weighers"}
    registry |= {"pairs", "rewards", "directions"}
    about_the_build = {"pace", "budget", "launch"}
    assert set(config.Params.model_fields) == registry | set(settings.SECTIONS) | about_the_build


def test_help_of_every_command_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom belle.cli import parser\n"
        "for name in parser()._subparsers._group_actions[0].choices.values(): name.format_help()\n"
        "heavy = {'torch', 'transformers', 'openai', 'datasets', 'snakemake', 'dvc'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dvc_yaml_is_what_the_rules_say(project):
    ended = subprocess.run(
        [sys.executable, "-m", "belle.cli", "dvc-yaml", "--check"], cwd=project, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_code_json_is_what_the_code_says(project, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "belle.cli", "fingerprint", str(tmp_path / "code.json")], cwd=project, check=True
    )
    fresh = (tmp_path / "code.json").read_text(encoding="utf-8")
    assert (project / "code.json").read_text(encoding="utf-8") == fresh, "stale: run `belle fingerprint`"


def test_dvcignore_and_our_hashes_pass_over_the_same_names(project):
    from belle.build.hashes import IGNORED_NAMES

    assert set((project / ".dvcignore").read_text(encoding="utf-8").split()) >= IGNORED_NAMES


def test_every_internal_that_we_lean_on_is_there():
    importlib.import_module("snakemake.api")  # its modules import each other in this order only
    for name in LEANED_ON:
        module, attributes = name, []
        while True:
            try:
                found = importlib.import_module(module)
                break
            except ModuleNotFoundError:
                module, _, last = module.rpartition(".")
                attributes.insert(0, last)
        for attribute in attributes:
            assert hasattr(found, attribute), name
            found = getattr(found, attribute)


def test_every_attribute_that_we_lean_on_is_set():
    importlib.import_module("snakemake.api")
    for name, attributes in LEANED_ON_IN_INSTANCES.items():
        module, _, owner = name.rpartition(".")
        source = inspect.getsource(getattr(importlib.import_module(module), owner).__init__)
        for attribute in attributes:
            assert re.search(rf"self\.{attribute}\b", source), f"{name}.{attribute}"


def test_dvc_interpolates_as_we_do():
    from dvc.parsing.interpolate import to_str

    from belle.build.registry import as_dvc_writes

    settings = {"bits": 4, "rate": 8e-6, "act": False, "on": True, "words": ["a b", "c"], "none": [], "text": "x'y"}
    for value in (settings, 8e-6, 60, "plain", True):
        assert to_str(value, {"parsing": {"bool": "store_true", "list": "nargs"}}) == as_dvc_writes(value)


def test_what_we_lean_on_in_dvc(tmp_path):
    """The lock's form, folder hashes, the environment of a stage, the run-cache's place, and the flags of `repro`."""
    import os
    from pathlib import Path

    from belle import strict_yaml
    from belle.build.hashes import Hashes

    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def dvc(*words: str) -> str:
        ended = subprocess.run(
            ["dvc", *words], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    dvc("init", "-q", "--no-scm")
    (tmp_path / ".dvcignore").write_text("__pycache__\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text("a:\n  b: 8e-6\n", encoding="utf-8")
    (tmp_path / "in").write_bytes(b"in")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  s-t:\n    cmd: mkdir -p out/__pycache__ && touch out/__pycache__/x && cp in out/\u00e9"
        " && echo $DVC_STAGE:$DVC_ROOT > out/env ${a}\n    deps: [in]\n    params: [a.b]\n    outs: [out]\n",
        encoding="utf-8",
    )
    dvc("--wait-for-lock", "repro", "-q", "-s", "s-t")
    lock = strict_yaml.load(tmp_path / "dvc.lock")
    entry = lock["stages"]["s-t"]
    assert lock["schema"] == "2.0"
    assert set(entry) == {"cmd", "deps", "params", "outs"}
    assert entry["params"] == {"params.yaml": {"a.b": 8e-6}}
    assert entry["cmd"].endswith(" --b 8e-06")
    assert entry["deps"] == [{"path": "in", "hash": "md5", "md5": Hashes(tmp_path / "c").get(str(tmp_path / "in")),
                              "size": 2}]  # fmt: skip
    assert entry["outs"][0]["md5"] == Hashes(tmp_path / "c").get(str(tmp_path / "out")), ".dvcignore and folder hash"
    stage, _, root = (tmp_path / "out" / "env").read_text(encoding="utf-8").partition(" --b")[0].strip().partition(":")
    assert stage.rpartition("dvc.yaml:")[2] == "s-t"
    assert root == str(tmp_path)
    assert [path for path in (tmp_path / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()]
    digest = entry["outs"][0]["md5"]
    assert (tmp_path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).is_file()
    (tmp_path / "out" / "env").unlink()
    dvc("commit", "-f", "-q", "s-t")
    assert strict_yaml.load(tmp_path / "dvc.lock")["stages"]["s-t"]["outs"][0]["md5"] != digest


def test_versions_that_we_lean_on_are_pinned(project):
    lock = (project / "requirements.lock").read_text(encoding="utf-8")
    for pin in ("snakemake==9.27.1", "dvc==3.67.1", "torch==2.13.0"):
        assert f"\n{pin}\n" in lock
    assert "+cpu" not in lock


def test_no_module_hides_imports_from_the_fingerprint(project):
    """The fingerprint follows names; what it cannot see must not be there."""
    for path in (project / "src" / "belle").rglob("*.py"):
        if "build" in path.parts or path.name == "cli.py":  # no stage reaches what they import by name
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"__import__", "importlib.import_module", "exec", "eval"}, f"{path}: {called}"
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), path


def test_every_public_name_has_a_docstring():
    missing = []
    for info in pkgutil.walk_packages(belle.__path__, "belle."):
        module = importlib.import_module(info.name)
        if not module.__doc__:
            missing.append(info.name)
        for name, item in vars(module).items():
            if name.startswith("_") or getattr(item, "__module__", "") != info.name:
                continue
            if inspect.isfunction(item) and not item.__doc__:
                missing.append(f"{info.name}.{name}")
            if inspect.isclass(item) and not item.__doc__:
                missing.append(f"{info.name}.{name}")
    assert not missing
