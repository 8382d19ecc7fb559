"""`belle verify` in a miniature world: it passes, and names whatever a stage is made to do beside its declarations."""

import ast
import json
import os
import pwd
import shutil
import socket
from collections.abc import Iterator
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


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server that no stage has started."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


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


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("open('README.md').read()", "reads: README.md"),
        ("open('/proc/self/cwd/README.md').read()", "reads: README.md"),
        ("import subprocess; subprocess.run(['cat', 'README.md'])", "reads: README.md"),
        ("Path('data/eval/tiny.jsonl').read_text()", "reads: data/eval/tiny.jsonl"),
        ("Path('src/belle/prompts/self_instruct.txt').read_text()", "reads: src/belle/prompts/self_instruct.txt"),
        ("Path('README.md').exists()", "looks at: README.md"),
        ("Path('data/absent.json').exists()", "looks for: data/absent.json"),
        ("import os; os.listdir('data')", "lists: data"),
        ("import os; os.listdir('.')", "lists: ."),
        ("Path('results/extra.txt').write_text('x')", "writes: results/extra.txt"),
        ("Path('results/verdicts/tiny/tiny-base.jsonl').read_text()", None),
        ("import os; os.utime(verdicts)", "writes: results/verdicts/tiny/tiny-base.jsonl"),
        ("import importlib; importlib.import_module('belle.data.filters')", "imports: belle.data.filters"),
        ("import os; os.environ.get('UNDECLARED')", "reads the variable: UNDECLARED (src/belle/evaluate/score.py:"),
        ("import os; 'UNDECLARED' in os.environ", "reads the variable: UNDECLARED (src/belle/evaluate/score.py:"),
        ("import os; os.getenvb(b'UNDECLARED')", "reads the variable: UNDECLARED (src/belle/evaluate/score.py:"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os; os.getenv(\"UNDECLARED\")'])",
         "reads the variable: UNDECLARED ("),
    ],
)  # fmt: skip
def test_what_a_stage_does_undeclared_is_named(shared: World, code: str, finding: str | None):
    status, words = verified(shared, code)
    if finding is None:
        assert status == 0, words
    else:
        assert status == 1, words
        assert f"{STAGE}: {finding}" in words, words
        assert "what to do:" in words


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="a C compiler is not here: cc")
def test_a_variable_read_from_c_is_named(shared: World):
    status, words = verified(shared, "import ctypes; ctypes.CDLL(None).getenv(b'UNDECLARED_IN_C')")
    assert status == 1, words
    assert f"{STAGE}: reads the variable: UNDECLARED_IN_C" in words


def test_a_file_elsewhere_is_named(shared: World, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    status, words = verified(shared, f"open({str(tmp_path / 'notes.txt')!r}).read()")
    assert status == 1, words
    assert f"{STAGE}: reads: {tmp_path}/notes.txt" in words


def test_the_users_home_is_nobodys_input(shared: World):
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    status, words = verified(shared, f"Path({str(home / '.config/belle-absent')!r}).exists()")
    assert status == 1, words
    assert f"{STAGE}: looks for: ~/.config/belle-absent" in words


def test_a_host_that_is_not_the_stages_own_is_named(shared: World, server: int):
    call = "import socket; s = socket.socket({family}); s.setblocking(False); s.connect_ex(({host!r}, {port}))"
    for host, port, family in (
        ("127.0.0.1", server, ""),
        ("192.0.2.7", 443, ""),
        ("2001:db8::7", 80, "socket.AF_INET6"),
    ):
        status, words = verified(shared, call.format(host=host, port=port, family=family))
        assert status == 1, words
        assert f"{STAGE}: connects to: {host}:{port}" in words, words


def test_a_stage_that_fails_is_named(shared: World):
    status, words = verified(shared, "raise RuntimeError('broken on purpose')")
    assert status == 1
    assert f"{STAGE}: failed: the stage ended with 1" in words
    assert "broken on purpose" in words


def test_without_strace_it_says_what_is_missing(shared: World, tmp_path: Path):
    (tmp_path / "git").symlink_to(shutil.which("git") or "")
    python = shutil.which("python") or ""
    ended = shared.run("env", f"PATH={tmp_path}", python, "-m", "belle.cli", "verify", STAGE, check=False)
    assert ended.returncode == 1
    assert "strace is not here" in ended.stdout
    assert "apt-get install strace" in ended.stdout


def test_a_stage_that_is_not_there_is_refused(shared: World):
    ended = shared.run("belle", "verify", "score-tiny-nobody", check=False)
    assert ended.returncode == 2
    assert "no stage score-tiny-nobody" in ended.stdout
    assert STAGE in ended.stdout
