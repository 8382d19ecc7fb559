"""Changes of code: a statement in a function that stages were seen to execute, and looks alone."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from trials.mutations.mutation import Mutation
from trials.worlds import World

APART = (
    "belle/build/", "belle/cli.py", "belle/config.py", "belle/entries.py", "belle/strict_yaml.py", "belle/commands/",
)  # fmt: skip
"""Code that runs in a stage's process and that no result depends on."""


def code(executed: dict[str, set[tuple[str, str]]], source: Path, chance: random.Random) -> Iterator[Mutation]:
    """Each module: a statement more in a function that stages were seen to execute; then only its looks."""
    callers: dict[str, dict[str, set[str]]] = {}
    for stage, functions in executed.items():
        for path, name in functions:
            callers.setdefault(path, {}).setdefault(name, set()).add(stage)
    for file in sorted(source.rglob("*.py")):
        path = str(file.relative_to(source))
        functions = _functions(file)
        known = {name: stages for name, stages in callers.get(path, {}).items() if name in functions}
        if known and not path.startswith(APART):
            name = chance.choice(sorted(known))
            yield Mutation("code", f"{path}: {name}", _statement(path, functions[name]), frozenset(known[name]))
        elif functions:
            name = chance.choice(sorted(functions))
            yield Mutation("code, of no stage", f"{path}: {name}", _statement(path, functions[name]))
        yield Mutation("code, cosmetic", f"{path}: comments, blank lines, docstring", _looks(path))


def _functions(file: Path) -> dict[str, int]:
    """Qualified name → line of the first statement, for functions whose body is on lines of its own."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                body = [item for item in child.body if not _is_text(item)]
                if body and body[0].lineno > child.lineno and not isinstance(body[0], ast.FunctionDef | ast.ClassDef):
                    found[prefix + child.name] = body[0].lineno
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(file.read_bytes()), "")
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _statement(path: str, line: int) -> Callable[[World], None]:
    def apply(world: World) -> None:
        file = world.folder / "src" / path
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        indent = re.match(r" *", lines[line - 1])
        assert indent
        lines.insert(line - 1, f"{indent[0]}mutated = 1\n")
        file.write_text("".join(lines), encoding="utf-8")

    return apply


def _looks(path: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        file = world.folder / "src" / path
        text = file.read_text(encoding="utf-8")
        text = re.sub(r'^("""|#)', r"\1Another look. ", text, count=1) if text.startswith(('"""', "#")) else text
        text = re.sub(r"^(def |class |async def )", r"# only a comment\n\n\n\1", text, flags=re.M)
        file.write_text(text + "\n\n# the end\n", encoding="utf-8")

    return apply
