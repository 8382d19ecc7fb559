"""requirements.lock as an input: the version of a package, and of everything that it needs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

DISTRIBUTIONS = {"yaml": "pyyaml"}
"""Import names that differ from the name of the package that brings them."""

DIRECT = "requirements-in"
"""Who needs what requirements.in names, as names are compared."""


class Pins:
    """The versions in requirements.lock; its comments (tools/lock.py) tell which package, or extra, needs which.

    An extra counts only for those that ask for it: torch needs fsspec, and fsspec's extra for HTTP is datasets' wish.
    """

    def __init__(self, lock: Path) -> None:
        self.pinned: dict[str, str] = {}
        self.needs: dict[str, set[str]] = {}
        current = ""
        for line in lock.read_text(encoding="utf-8").splitlines() if lock.exists() else []:
            pin = re.match(r"([A-Za-z0-9._-]+)==([^\s;#]+)", line)
            if pin:
                current = _normal(pin[1])
                self.pinned[current] = pin[2]
            for extra, needers in re.findall(r"# (\[[^\]]+\] )?via (.+)", line):
                for name in needers.split(","):
                    self.needs.setdefault(_normal(name.strip()), set()).add(current + extra.strip())

    def version(self, import_name: str) -> str:
        """``version+digest``: a package's pin, and a digest over the pins of everything that it needs."""
        name = _normal(DISTRIBUTIONS.get(import_name, import_name))
        if name not in self.pinned:
            return "not pinned"
        closure: set[str] = set()
        # an extra that we ask for ourselves counts for every stage that imports the package
        pending = [name, *(item for item in self.needs.get(DIRECT, set()) if item.startswith(f"{name}["))]
        while pending:
            package = pending.pop()
            for needed in self.needs.get(package, set()) - closure:
                closure.add(needed)
                pending.append(needed)
        pinned = sorted((closure - {name}) & self.pinned.keys())
        text = "\n".join(f"{package}=={self.pinned[package]}" for package in pinned)
        return f"{self.pinned[name]}+{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
