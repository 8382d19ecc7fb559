"""Code as an input: what each stage's function can reach, reduced to what can change its result.

From a stage's function in ``belle.stages`` every name is followed through the project's modules, definition by
definition. What is reached is hashed without comments, docstrings, formatting and line numbers; packages count with
the versions that requirements.lock pins, theirs included. The result is code.json, which dvc.yaml's stages read as
parameters.

Names are followed statically, so the project's code keeps to plain imports. A module that is started by name
(``python -m belle.x``) is found by that name standing in a string. Source that is read as text counts whole: the module
of ``module.__file__``, and all of a package where one of its modules looks into ``Path(__file__).parent``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belle.build import kept
from belle.build.pins import Pins
from belle.files import atomic_file

PACKAGE = "belle"
CODE_FILE = Path("code.json")
LOCK_NAME = "requirements.lock"
CACHE = Path(".belle/code-cache.json")
EFFECTS = "<module>"
"""The pseudo-definition that stands for statements a module runs when it is imported."""
STARTED = "<main>"
"""The pseudo-definition of ``if __name__ == "__main__"``: it runs only where a module is started by name."""


def source() -> Path:
    """The folder that holds the package's source: this checkout's, or that of the checkout used as a module."""
    return Path("src") if Path("src", PACKAGE, "build").is_dir() else Path(__file__).parents[2]


TABLE = "STAGES"
"""The mapping in ``belle.stages`` from a stage to its function and arguments: each depends on its own item only."""
PARSING = frozenset({"add_stage", "_option"})
"""What turns a command line into arguments: part of every stage, but not followed, or each would reach all others."""

_BESIDE = ast.dump(ast.parse("Path(__file__).parent", mode="eval").body)
"""What stands where a module reads files beside it."""

Target = tuple[str, str]
"""(module, definition); the definition ``*`` is all of the module, an external package is (name, ``""``)."""


@dataclass
class Definition:
    """One top-level definition: its normalised syntax and what it refers to."""

    digest: str
    refers: set[Target] = field(default_factory=set)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _stored(node: ast.AST) -> set[str]:
    names = (item for item in ast.walk(node) if isinstance(item, ast.Name))
    return {item.id for item in names if isinstance(item.ctx, ast.Store)}


def _without_text(node: ast.AST) -> ast.AST:
    """Drop docstrings and other bare strings in place; a body left empty keeps a ``pass``."""
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(body, list):
            kept = [item for item in body if not _is_text(item)]
            inner.body = kept or ([] if isinstance(inner, ast.Module) else [ast.Pass()])  # type: ignore[attr-defined]
    return node


def _digest(nodes: list[ast.AST]) -> str:
    text = "\n".join(ast.dump(node, annotate_fields=False) for node in nodes)
    return hashlib.sha256(text.encode()).hexdigest()


class _Module:
    """The definitions and import bindings of one source file."""

    def __init__(self, name: str, path: Path, modules: frozenset[str]) -> None:
        self.name, self.modules = name, modules
        self.is_package = path.name == "__init__.py"
        tree = _without_text(ast.parse(path.read_bytes(), str(path)))
        assert isinstance(tree, ast.Module)
        self.bindings: dict[str, Target] = {}
        self.table: dict[Any, str] = {}
        groups: dict[str, list[ast.AST]] = {EFFECTS: []}
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.bindings.update(self._imported(node))
            elif isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
                groups.setdefault(STARTED, []).append(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                groups.setdefault(node.name, []).append(node)
            else:
                names = _stored(node)
                if names == {TABLE} and isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
                    self.table = {
                        key.value: _digest([value])
                        for key, value in zip(node.value.keys, node.value.values, strict=True)
                        if isinstance(key, ast.Constant)
                    }
                simple = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
                for name_ in names if simple and names else {EFFECTS, *names}:
                    groups.setdefault(name_, []).append(node)
                if not simple:
                    for item in ast.walk(node):
                        if isinstance(item, ast.Import | ast.ImportFrom):
                            self.bindings.update(self._imported(item))
        self.own = frozenset(groups)
        self.definitions = {
            name_: Definition(_digest(nodes), {target for node in nodes for target in self._refers(node)})
            for name_, nodes in groups.items()
        }

    def _imported(self, node: ast.Import | ast.ImportFrom) -> dict[str, Target]:
        found: dict[str, Target] = {}
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    found[alias.asname] = (alias.name, "*")
                else:
                    found[alias.name.partition(".")[0]] = (alias.name.partition(".")[0], "*")
            return found
        origin = node.module or ""
        if node.level:
            parts = self.name.split(".")
            parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
            origin = ".".join([*parts, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{origin}.{alias.name}"
            found[alias.asname or alias.name] = (inner, "*") if inner in self.modules else (origin, alias.name)
        return found

    def _refers(self, node: ast.AST) -> set[Target]:
        bindings = dict(self.bindings)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                bindings.update(self._imported(inner))
        found: set[Target] = set()
        followed: set[int] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute):
                target = self._attribute(inner, bindings, followed)
                if target:
                    found.add(target)
            elif isinstance(inner, ast.Name) and id(inner) not in followed:
                if inner.id in bindings:
                    found.add(bindings[inner.id])
                else:
                    found.add((self.name, inner.id))
            elif isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value in self.modules:
                found.add((inner.value, "*"))
            if isinstance(inner, ast.Attribute) and ast.dump(inner) == _BESIDE:
                package = self.name if self.is_package else self.name.rpartition(".")[0]
                found |= {(name, "*") for name in self.modules if name.rpartition(".")[0] == package or name == package}
        return found

    def _attribute(self, node: ast.Attribute, bindings: dict[str, Target], followed: set[int]) -> Target | None:
        """``alias.name`` on an imported project module is that name; longer dotted paths to modules are followed."""
        names: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            names.append(root.attr)
            root = root.value
        if not isinstance(root, ast.Name) or root.id not in bindings or bindings[root.id][1] != "*":
            return None
        module, names = bindings[root.id][0], names[::-1]
        while names and f"{module}.{names[0]}" in self.modules:
            module = f"{module}.{names.pop(0)}"
        if module not in self.modules:
            return None
        followed.add(id(root))
        return (module, names[0] if names and names[0] != "__file__" else "*")


class Code:
    """The project's source, read once, and what each stage of ``belle.stages`` can reach in it."""

    def __init__(self, source: Path, lock: Path) -> None:
        files = sorted((source / PACKAGE).rglob("*.py"))
        names = {self._name(source, path): path for path in files}
        known = frozenset(names)
        self.modules = {name: _Module(name, path, known) for name, path in names.items()}
        self.pins = Pins(lock)

    @staticmethod
    def _name(source: Path, path: Path) -> str:
        parts = path.relative_to(source).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def reached(self, start: Target) -> tuple[dict[str, set[str]], set[str]]:
        """Definitions reached by module, and the names of external packages reached."""
        seen: set[Target] = set()
        definitions: dict[str, set[str]] = {}
        external: set[str] = set()
        pending = [start]
        while pending:
            module, name = target = pending.pop()
            if target in seen:
                continue
            seen.add(target)
            if module not in self.modules:
                top = module.partition(".")[0]
                if top != PACKAGE and top not in sys.stdlib_module_names:
                    external.add(top)
                continue
            here = self.modules[module]
            parts = module.split(".")
            pending += [(".".join(parts[:length]), EFFECTS) for length in range(1, len(parts) + 1)]
            if name == "*":
                pending += [(module, own) for own in here.own]
            elif name in here.definitions:
                definitions.setdefault(module, set()).add(name)
                pending += here.definitions[name].refers
            elif name in here.bindings:
                pending.append(here.bindings[name])
        return definitions, external

    def fingerprint(self, command: str) -> dict[str, Any]:
        """What the stage ``command`` runs on: Python, pinned packages, and a digest for each module reached."""
        stages = f"{PACKAGE}.stages"
        definitions, external = self.reached((stages, command))
        if command in self.modules[stages].table:
            definitions.setdefault(stages, set()).update(PARSING & self.modules[stages].own)
        modules = {}
        for module, names in sorted(definitions.items()):
            here = self.modules[module].definitions
            text = "\n".join(f"{name} {here[name].digest}" for name in sorted(names))
            if module == stages:
                text += "\n" + self.modules[stages].table.get(command, "")
            # a module whose only part is that it was imported and that does nothing then is no part of the result
            if names != {EFFECTS} or here[EFFECTS].digest != _digest([]):
                modules[module] = hashlib.sha256(text.encode()).hexdigest()[:12]
        return {
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "packages": {name: self.pins.version(name) for name in sorted(external)},
            "modules": modules,
        }


def _key(source: Path) -> str:
    files = [*sorted((source / PACKAGE).rglob("*.py")), source.parent / LOCK_NAME]
    stats = [(str(path), *_stat(path)) for path in files]
    return hashlib.sha256(repr((sys.version_info[:2], stats)).encode()).hexdigest()


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def fingerprints(commands: list[str]) -> dict[str, Any]:
    """The fingerprint of each stage, from a cache where no source file's stat has changed."""
    folder = source()
    key = _key(folder) + " " + " ".join(commands)
    if (known := kept.load(CACHE, key)) is not None:
        return known
    code = Code(folder, folder.parent / LOCK_NAME)
    found = {command: code.fingerprint(command) for command in commands}
    kept.save(CACHE, key, found)
    return found


def render(found: dict[str, Any]) -> str:
    """The text of code.json."""
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(commands: list[str], out: Path = CODE_FILE) -> bool:
    """Write code.json if it differs; returns whether it did."""
    text = render(fingerprints(commands))
    if out.exists() and out.read_text(encoding="utf-8") == text:
        return False
    with atomic_file(out) as file:
        file.write(text)
    return True
