"""Record the environment variables that Python code reads, and who reads them.

``belle verify`` copies this file as ``sitecustomize.py`` into the folder that ``BELLE_TRACE`` names, so every Python
process of a stage loads it before anything else. A line per variable and reader goes to ``variables.PID``:
name; ``given``, ``absent`` or ``own`` (set by the process itself); the reader's file and line.
"""

import os
import sys
from typing import Any

_FOLDER = os.environ.get("BELLE_TRACE", "")
_PASSED_ON = {os.__file__, "<frozen os>", "<frozen _collections_abc>", "<frozen posixpath>", __file__}
"""Where a read is only passed on: who called there is the reader."""


def _install(folder: str) -> None:
    seen: set[tuple[str, str]] = set()
    own: set[str] = set()
    kind: Any = type(os.environ)
    look_up, put = kind.__getitem__, kind.__setitem__

    def reader() -> str:
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename in _PASSED_ON:
            frame = frame.f_back
        return f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def note(name: Any, there: bool) -> None:
        who = reader()
        text = os.fsdecode(name) if isinstance(name, str | bytes) else repr(name)
        if (text, who) in seen:
            return
        seen.add((text, who))
        state = "own" if text in own else "given" if there else "absent"
        descriptor = os.open(
            os.path.join(folder, f"variables.{os.getpid()}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        os.write(descriptor, f"{text}\t{state}\t{who}\n".encode(errors="surrogateescape"))
        os.close(descriptor)

    def getitem(self: Any, name: Any) -> Any:
        try:
            value = look_up(self, name)
        except KeyError:
            note(name, False)
            raise
        note(name, True)
        return value

    def contains(self: Any, name: Any) -> bool:
        try:
            look_up(self, name)
        except (KeyError, TypeError):
            note(name, False)
            return False
        note(name, True)
        return True

    def setitem(self: Any, name: Any, value: Any) -> None:
        own.add(os.fsdecode(name))
        put(self, name, value)

    kind.__getitem__, kind.__contains__, kind.__setitem__ = getitem, contains, setitem


if _FOLDER:
    _install(_FOLDER)
