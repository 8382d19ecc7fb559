"""Name the offline teacher by its code, so that the ledger never takes one teacher's reply for another's."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from belle.api import judge_format


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


@cache
def identity() -> str:
    """``offline-teacher/`` and 12 hexadecimal digits over the code that decides its replies.

    Comments, docstrings and formatting do not count.
    """
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(judge_format.__file__)):
        tree = _shape(ast.parse(path.read_text(encoding="utf-8")))
        digest.update(path.name.encode() + b"\0" + json.dumps(tree, ensure_ascii=False).encode() + b"\0")
    return f"offline-teacher/{digest.hexdigest()[:12]}"
