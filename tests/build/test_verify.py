"""`belle verify` in a miniature world: it passes, and names whatever a stage is made to do beside its declarations."""

import ast
import json
import os
import pwd
import shutil
import socket
import sys
from pathlib import Path

import pytest

from belle import strict_yaml
from trials.worlds import World, copy_world

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here: apt-get install strace")

STAGE = "score-tiny-tiny-base"


@pytest.fixture(scope="module")
def shared(built_once: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One miniature world for all tests here: ``belle verify`` changes nothing in it."""
    return copy_world(built_once, tmp_path_factory.mktemp("verify") / "world")


def inject(world: World, code: str) -> str:
    """Let the stage score do something more; returns its source as it was."""
    source = world.folder / "src" / "belle" / "evaluate" / "score.py"
    text = source.read_text(encoding="utf-8")
    tree = ast.parse(text)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "score")
    lines = text.splitlines(keepends=True)
    lines.insert(function.body[1].lineno - 1, "".join(f"    {line}\n" for line in code.splitlines()))
    source.write_text("".join(lines), encoding="utf-8")
    return text


def verified(world: World, code: str = "") -> tuple[int, str]:
    """Exit status and words of ``belle verify`` on the stage score, made to run ``code``, too."""
    text = inject(world, code)
    try:
        ended = world.run("belle", "verify", STAGE, check=False)
        return ended.returncode, ended.stdout
    finally:
        (world.folder / "src" / "belle" / "evaluate" / "score.py").write_text(text, encoding="utf-8")


def stages_of(world: World) -> list[str]:
    """The names of the stages in dvc.yaml."""
    return sorted(strict_yaml.load(world.folder / "dvc.yaml")["stages"])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a checkout but compiled Python, by its name."""
    found = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in {"__pycache__", ".git"}]
        for name in files:
            path = Path(root) / name
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.mark.slow
def test_every_stage_declares_what_it_does_and_the_checkout_stays_as_it_was(shared: World):
    before = contents(shared.folder)
    ended = shared.run("belle", "verify", "--json", check=False)
    report = json.loads(ended.stdout[ended.stdout.index("{") : ended.stdout.rindex("}") + 1])
    assert {stage["stage"]: stage["findings"] for stage in report["stages"] if stage["findings"]} == {}
    assert ended.returncode == 0
    assert {stage["stage"] for stage in report["stages"]} == set(stages_of(shared))
    counts = {stage["stage"]: stage["seen"] for stage in report["stages"]}
    assert counts["generate-tiny"]["connections"] >= 1  # the offline teacher was asked, though the ledger has it all
    assert all(seen["code"] or name == "fingerprint" for name, seen in counts.items())
    assert all(seen["outputs"] for seen in counts.values())
    assert counts["sft-belle-tiny"]["hidden"] > 100  # libraries ask for much that they do not get
    assert contents(shared.folder) == before


def test_a_stage_alone_passes(shared: World):
    status, words = verified(shared)
    assert status == 0, words
    assert "undeclared: 0" in words


MISDEEDS = [
    ("open('README.md').read()", "reads: README.md"),
    ("open('/proc/self/cwd/CHANGELOG.md').read()", "reads: CHANGELOG.md"),
    ("subprocess.run(['cat', 'Snakefile'])", "reads: Snakefile"),
    ("Path('data/eval/tiny.jsonl').read_text()", "reads: data/eval/tiny.jsonl"),
    ("Path('src/belle/prompts/self_instruct.txt').read_text()", "reads: src/belle/prompts/self_instruct.txt"),
    ("Path({tmp!r}, 'notes.txt').read_text()", "reads: {tmp}/notes.txt"),
    ("Path('Makefile').exists()", "looks at: Makefile"),
    ("Path('data/absent.json').exists()", "looks for: data/absent.json"),
    ("Path({home!r}, '.config/belle-absent').exists()", "looks for: ~/.config/belle-absent"),
    ("os.listdir('data')", "lists: data"),
    ("os.listdir('.')", "lists: ."),
    ("Path('results/extra.txt').write_text('x')", "writes: results/extra.txt"),
    ("os.utime(verdicts)", "writes: results/verdicts/tiny/tiny-base.jsonl"),
    ("importlib.import_module('belle.data.' + 'filters')", "imports: belle.data.filters"),
    ("os.environ.get('UNDECLARED_1')", "reads the variable: UNDECLARED_1 (src/belle/evaluate/score.py:"),
    ("'UNDECLARED_2' in os.environ", "reads the variable: UNDECLARED_2 (src/belle/evaluate/score.py:"),
    ("os.getenvb(b'UNDECLARED_3')", "reads the variable: UNDECLARED_3 (src/belle/evaluate/score.py:"),
    ("subprocess.run([sys.executable, '-c', 'import os; os.getenv(\"UNDECLARED_4\")'])",
     "reads the variable: UNDECLARED_4 ("),
    ("socket.socket().connect_ex(('127.0.0.1', {port}))", "connects to: 127.0.0.1:{port}"),
    ("call = socket.socket(); call.setblocking(False); call.connect_ex(('192.0.2.7', 443))",
     "connects to: 192.0.2.7:443"),
    ("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect_ex(('2001:db8::7', 53))",
     "connects to: 2001:db8::7:53 (a name server)"),
    ("socket.socket(socket.AF_UNIX).connect_ex('/run/belle-absent.sock')", "connects to: /run/belle-absent.sock"),
]  # fmt: skip
"""What a stage is made to do, and how it is named."""

FINE = ["verdicts.read_text()", "os.environ.get('PATH')", "import tempfile; tempfile.mkdtemp()", "Path('absent') / 'x'"]
IN_C = "ctypes.CDLL(None).getenv(b'UNDECLARED_IN_C')"


@pytest.fixture(scope="module")
def caught(shared: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, dict[str, object]]:
    """Status and words of one ``belle verify`` of a stage that does everything at once, and the places it was given."""
    places: dict[str, object] = {"tmp": str(tmp_path_factory.mktemp("elsewhere"))}
    Path(str(places["tmp"]), "notes.txt").write_text("x")
    places["home"] = pwd.getpwuid(os.getuid()).pw_dir
    with socket.create_server(("127.0.0.1", 0)) as listening:
        places["port"] = listening.getsockname()[1]
        code = [code.format(**places) for code, _ in MISDEEDS]
        imports = "import ctypes, importlib, os, socket, subprocess, sys"
        status, words = verified(shared, "\n".join([imports, *FINE, *code, IN_C]))
    return status, words, places


@pytest.mark.parametrize("finding", [finding for _, finding in MISDEEDS])
def test_what_a_stage_does_undeclared_is_named(caught: tuple[int, str, dict[str, object]], finding: str):
    status, words, places = caught
    assert status == 1, words
    assert f"{STAGE}: {finding.format(**places)}" in words, words


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="a C compiler is not here: cc")
def test_a_variable_read_from_c_is_named(caught: tuple[int, str, dict[str, object]]):
    assert f"{STAGE}: reads the variable: UNDECLARED_IN_C" in caught[1], caught[1]


def test_nothing_else_is_named(caught: tuple[int, str, dict[str, object]]):
    named = [line for line in caught[1].splitlines() if line.startswith(f"{STAGE}: ")]
    expected = {finding.format(**caught[2]) for _, finding in MISDEEDS}
    expected |= {"reads the variable: UNDECLARED_IN_C", "imports: belle.data"}  # the module's package is imported, too
    others = [line for line in named if not any(finding in line for finding in expected)]
    assert others == []
    assert sum("what to do:" in line for line in caught[1].splitlines()) == len(named)


def test_a_stage_that_fails_is_named(shared: World):
    status, words = verified(shared, "raise RuntimeError('broken on purpose')")
    assert status == 1
    assert f"{STAGE}: failed: the stage ended with 1" in words
    assert "broken on purpose" in words


def test_without_strace_it_says_what_is_missing(shared: World, tmp_path: Path):
    (tmp_path / "git").symlink_to(shutil.which("git") or "")
    ended = shared.run("env", f"PATH={tmp_path}", sys.executable, "-m", "belle.cli", "verify", STAGE, check=False)
    assert ended.returncode == 1
    assert "strace is not here" in ended.stdout
    assert "apt-get install strace" in ended.stdout


def test_a_stage_that_is_not_there_is_refused(shared: World):
    ended = shared.run("belle", "verify", "score-tiny-nobody", check=False)
    assert ended.returncode == 2
    assert "no stage score-tiny-nobody" in ended.stdout
    assert STAGE in ended.stdout
