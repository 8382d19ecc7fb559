"""Which of the project's modules a stage may load; what it loads besides them its fingerprint does not know of."""

from collections.abc import Callable

from belle.build.allowed import LOOKING_ON
from belle.build.code import EFFECTS, PACKAGE, Code, Target


def module_name(name: str) -> str:
    """``src/belle/api/__pycache__/client.cpython-311.pyc`` → ``belle.api.client``."""
    parts = [part for part in name.removeprefix("src/").split("/") if part != "__pycache__"]
    if not parts[-1].endswith((".py", ".pyc")):
        return ""
    parts[-1] = parts[-1].partition(".")[0]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def may_load(code: Code, command: str) -> set[str]:
    """The modules that a stage may load: those that its fingerprint follows, and those that only come along.

    What comes along: the command line and the build's bookkeeping, and what any module names in its own imports, as
    long as it does nothing when it is imported.
    """
    start: Target = (f"{PACKAGE}.stages", command)
    if command not in code.modules[f"{PACKAGE}.stages"].definitions:  # a command of belle.commands
        start = (f"{PACKAGE}.commands.{command}", "run")
    reached = set(code.reached(start)[0])
    line = {name for name in code.modules if name.startswith((f"{PACKAGE}.commands", f"{PACKAGE}.build"))}
    line = _imported(code, line | {f"{PACKAGE}.cli", *LOOKING_ON}, code.modules.__contains__)
    found = _imported(code, reached | line, lambda name: not code.modules[name].definitions[EFFECTS].refers)
    return found | {parent for name in found for parent in _with_packages(name)}


def _imported(code: Code, modules: set[str], follows: Callable[[str], bool]) -> set[str]:
    """The modules, and those that they name in imports of their own, as far as ``follows``."""
    found, pending = set(modules), list(modules)
    while pending:
        for module, _ in code.modules[pending.pop()].bindings.values():
            for name in _with_packages(module):
                if name in code.modules and name not in found and follows(name):
                    found.add(name)
                    pending.append(name)
    return found


def _with_packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
