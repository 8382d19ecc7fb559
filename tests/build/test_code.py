"""The fingerprint changes exactly when something that the stage can reach changes."""

import re
import textwrap

import pytest

from belle.build.code import Code

FILES = {
    "belle/__init__.py": "",
    "belle/stages.py": '''
        """Commands."""
        def train(args):
            from belle.train import train
            train(args.x)

        def score(args):
            from belle import numbers
            numbers.score(args.x)

        def serve(args):
            import subprocess
            subprocess.run(["python", "-m", "belle.server"])

        COMMANDS = {"train": train, "score": score}

        def main():
            COMMANDS["train"](None)

        if __name__ == "__main__":
            main()
    ''',
    "belle/train.py": '''
        """Train."""
        import torch
        from belle.numbers import RATE as rate
        from belle.shapes import Big

        BATCH = 4
        UNUSED = 5

        def train(x):
            """Train."""
            # a comment
            return step(x) * rate * BATCH, Big

        def step(x):
            return torch.tensor(x)

        def other():
            return UNUSED
    ''',
    "belle/numbers.py": """
        import yaml
        RATE = 0.5
        FACTOR = 2

        def score(x):
            return x * FACTOR

        def load(x):
            return yaml.safe_load(x)
    """,
    "belle/shapes.py": """
        class Small:
            SIZE = 1

        class Big(Small):
            SIZE = 10
    """,
    "belle/server.py": """
        PORT = 1

        def run():
            return PORT

        if __name__ == "__main__":
            run()
    """,
}

LOCK = """
torch==2.13.0
    # via requirements.in
sympy==1.14.0
    # via torch
pyyaml==6.0.3
    # via requirements.in
"""


@pytest.fixture
def source(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    (tmp_path / "requirements.lock").write_text(LOCK)
    return tmp_path


def prints(source):
    code = Code(source / "src", source / "requirements.lock")
    return {name: code.fingerprint(name) for name in ("train", "score", "serve")}


def changed(source, file, old, new):
    """The stages whose fingerprint a replacement changes."""
    before = prints(source)
    path = source / "src" / "belle" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    after = prints(source)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("train.py", "# a comment", "# another"),
        ("train.py", '"""Train."""', '"""Teach,\n\nat length."""'),
        ("train.py", "BATCH = 4", "BATCH  =  (4)"),
        (
            "train.py",
            "return step(x) * rate * BATCH, Big",
            "return (\n        step(x) * rate * BATCH,\n        Big,\n    )",
        ),
        ("train.py", "UNUSED = 5", "UNUSED = 6"),
        ("train.py", "def other():", "def renamed():"),
        ("numbers.py", "def load(x):\n", "def load(x, y=1):\n"),
        ("stages.py", "def main():", "def main(argv=None):"),
    ],
)
def test_what_changes_nothing(source, file, old, new):
    assert changed(source, file, old, new) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("train.py", "BATCH = 4", "BATCH = 8", {"train"}),
        ("train.py", "torch.tensor(x)", "torch.ones(x)", {"train"}),
        ("numbers.py", "RATE = 0.5", "RATE = 0.6", {"train"}),
        ("numbers.py", "FACTOR = 2", "FACTOR = 3", {"score"}),
        ("shapes.py", "SIZE = 1\n", "SIZE = 2\n", {"train"}),
        ("stages.py", "train(args.x)", "train(args.y)", {"train"}),
        ("server.py", "PORT = 1", "PORT = 2", {"serve"}),
        ("numbers.py", "import yaml", "import yaml\nprint('effect')", {"train", "score"}),
        ("__init__.py", "", "", set()),
    ],
)
def test_what_changes_whom(source, file, old, new, stages):
    assert changed(source, file, old, new) == stages


def test_packages_count_with_what_they_need(source):
    assert set(prints(source)["train"]["packages"]) == {"torch"}
    assert prints(source)["score"]["packages"] == {}
    before = prints(source)["train"]["packages"]["torch"]
    lock = source / "requirements.lock"
    lock.write_text(lock.read_text().replace("sympy==1.14.0", "sympy==1.15.0"))
    after = prints(source)["train"]["packages"]["torch"]
    assert before.partition("+")[0] == after.partition("+")[0] == "2.13.0"
    assert before != after


def test_source_that_is_read_as_text_counts_whole(source):
    package = source / "src" / "belle"
    (package / "deep").mkdir()
    for name in ("__init__", "one", "two"):
        (package / "deep" / f"{name}.py").write_text(f"def nobody_calls_{name}():\n    return 1\n")
    (package / "deep" / "reads.py").write_text(
        "from pathlib import Path\nfrom belle import shapes\n\n\ndef reads():\n"
        "    return [*Path(__file__).parent.glob('*.py'), shapes.__file__]\n\n\n"
        "def starts():\n    return Path(__file__).resolve().parents[2]\n"
    )
    train = package / "train.py"
    train.write_text("from belle.deep.reads import starts\n" + train.read_text() + "\n\nSTARTS = starts\n")
    assert changed(source, "deep/two.py", "return 1", "return 2") == set()
    train.write_text(
        train.read_text()
        .replace("return step(x)", "reads(); return step(x)")
        .replace("import starts", "import reads, starts")
    )
    assert changed(source, "deep/two.py", "return 2", "return 3") == {"train"}
    assert changed(source, "deep/__init__.py", "return 1", "return 2") == {"train"}
    assert "train" in changed(source, "shapes.py", "SIZE = 1", "SIZE = 7")


def test_an_extra_counts_for_those_who_ask_for_it(source):
    lock = source / "requirements.lock"
    lock.write_text(
        "torch==2.13.0\n    # via requirements.in\n    # [remote] via requirements.in\n"
        "fsspec==2026.9.0\n    # via torch, dvc\n    # [http] via dvc\n"
        "aiohttp==3.14.5\n    # via fsspec[http]\n"
        "paramiko==4.0\n    # via torch[remote]\n"
        "dvc==3.67.1\n    # via requirements.in\n"
    )

    def with_another(package: str) -> str:
        text = lock.read_text()
        lock.write_text(re.sub(rf"^{package}==\S+", rf"{package}==9", text, flags=re.M))
        found = prints(source)["train"]["packages"]["torch"]
        lock.write_text(text)
        return found

    before = prints(source)["train"]["packages"]["torch"]
    assert with_another("aiohttp") == before
    assert with_another("dvc") == before
    assert with_another("fsspec") != before
    assert with_another("paramiko") != before


def test_python_s_minor_version_is_recorded(source):
    import sys

    assert prints(source)["score"]["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_every_package_that_the_project_reaches_is_pinned(project):
    from belle.stages import STAGES

    code = Code(project / "src", project / "requirements.lock")
    for stage in STAGES:
        assert "not pinned" not in code.fingerprint(stage)["packages"].values(), stage
