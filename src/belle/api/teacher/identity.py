"""Name the offline teacher by its code, so that the ledger never takes one teacher's reply for another's."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from belle.api import brief, judge_format


def _shape(node: Any) -> Any:
    """A syntax tree as plain lists, without docstrings, positions and empty fields.

    Empty fields are left out because Python versions differ in which they have.
    """
    if isinstance(node, list):
        # A string that stands alone is a docstring, of a module, class, function or constant.
        return [_shape(item) for item in node if not _is_docstring(item)]
    if isinstance(node, ast.AST):
        fields = [(name, _shape(value)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, *((name, value) for name, value in fields if value not in (None, []))]
    return node if node is None or isinstance(node, (str, int, float, bool)) else repr(node)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


_FIRST = (
    "answers.py", "facts.py", "families.py", "family.py", "judge.py", "knowledge.py", "lexicon.py", "selfinstruct.py",
    "sums.py", "tasks.py", "words.py",
)  # fmt: skip
"""What decides the replies to Self-Instruct and to judges."""

KNOWN_AS = {"3431c9358537": "ddb3e31f9a46"}
"""Code that replies as earlier code did, to the byte: it keeps that code's name, so that the ledger still answers."""


@cache
def identity() -> str:
    """``offline-teacher/`` and 12 hexadecimal digits over the code that decides replies to Self-Instruct and judges.

    Comments, docstrings and formatting do not count.
    """
    folder = Path(__file__).parent
    digest = _digest([*(folder / name for name in _FIRST), Path(judge_format.__file__)])
    return f"offline-teacher/{KNOWN_AS.get(digest, digest)}"


@cache
def identity_for_sets() -> str:
    """The same over the code that decides replies to requests for any other kind of set."""
    folder = Path(__file__).parent
    paths = [*(folder / name for name in _FIRST), *sorted((folder / "sets").glob("*.py")), Path(brief.__file__)]
    return f"offline-teacher/sets-{_digest(paths)}"


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        tree = _shape(ast.parse(path.read_text(encoding="utf-8")))
        digest.update(path.name.encode() + b"\0" + json.dumps(tree, ensure_ascii=False).encode() + b"\0")
    return digest.hexdigest()[:12]
