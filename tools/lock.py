"""Write requirements.lock: the installed version of every package that requirements.in needs, and which needs which.

``python tools/lock.py requirements.in requirements.lock``. Only names and versions are written, never where a package
came from. The comments are read by ``belle.build.pins``, which follows them to know what a stage runs on: ``# via x``
under a package says that x needs it, ``# via x[e]`` that only x's extra e does, ``# [e] via x`` that x asks for this
package's extra e.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(wanted: Path, lock: Path) -> None:
    lines = wanted.read_text(encoding="utf-8").splitlines()
    direct = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    versions: dict[str, str] = {}
    via: dict[str, set[str]] = {}
    asked: dict[str, dict[str, set[str]]] = {}
    pending = [(item, wanted.name, item.extras) for item in direct]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement, needer, extras = pending.pop()
        name = normal(requirement.name)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            sys.exit(f"{requirement.name}, needed by {needer}, is not installed: install it, then lock again")
        versions[name] = re.sub(r"\+.*", "", found.version)  # a local build's label is not for other machines
        via.setdefault(name, set()).add(needer)
        for extra in extras:
            asked.setdefault(name, {}).setdefault(extra, set()).add(needer)
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        for text in found.requires or []:
            needed = Requirement(text)
            for extra in ["", *extras]:
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    pending.append((needed, f"{name}[{extra}]" if extra else name, needed.extras))
                    break
    body = [f"# Written by `make lock` from {wanted.name}; pins that install together on Python 3.11."]
    for name in sorted(versions):
        body += [f"{name}=={versions[name]}", f"    # via {', '.join(sorted(via[name]))}"]
        body += [f"    # [{extra}] via {', '.join(sorted(who))}" for extra, who in sorted(asked.get(name, {}).items())]
    lock.write_text("\n".join(body) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
