"""Errors that a user can mend.

``BelleError`` and its children are printed without a traceback; every other exception is a bug and keeps its own.

    BelleError          exit status 1   something outside went wrong (a file, a server, a machine)
    └── InputError      exit status 2   a person or a file gave us something we refuse
"""


class BelleError(Exception):
    """A fault with its place, its likely cause and its mend.

    Args:
        what: What is wrong, with both values where two disagree.
        where: A file, ``file:line``, URL or key; printed in front.
        cause: The likely cause, one clause.
        fix: What to do, one imperative clause.
    """

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", cause: str = "", fix: str = "") -> None:
        self.what, self.where, self.cause, self.fix = what, where, cause, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.cause:
            lines.append(f"  likely cause: {self.cause}")
        if self.fix:
            lines.append(f"  what to do:   {self.fix}")
        return "\n".join(lines)


class InputError(BelleError):
    """A value that a person or a file gave and that we refuse before any work."""

    exit_status = 2


def shown(value: object, longest: int = 60) -> str:
    """A value as a message shows it: on one line and cut, however long it is."""
    if isinstance(value, str | bytes | list | dict) and len(value) > longest:
        if isinstance(value, str | bytes):
            return f"{value[:longest]!r}… ({len(value)} {'characters' if isinstance(value, str) else 'bytes'})"
        return f"a {type(value).__name__} of {len(value)} items"
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
