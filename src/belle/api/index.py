"""What one shard of the ledger holds: where its replies stand, and which intents have none yet."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belle.api.lines import parsed
from belle.errors import BelleError

_HEAD = re.compile(rb'\{"kind": "(reply|intent)", "digest": "([0-9a-f]{64})"')


@dataclass
class Index:
    """Places (offset << 32 | length) of replies, refusals and open intents, by digest (32 bytes).

    ``released``: the open ones that nobody sends any more and that may have been paid.
    """

    replies: dict[bytes, int] = field(default_factory=dict)
    refusals: dict[bytes, int] = field(default_factory=dict)
    open: dict[bytes, int] = field(default_factory=dict)
    released: set[bytes] = field(default_factory=set)

    def clear(self) -> None:
        """Forget everything: the shard is read anew."""
        for part in (self.replies, self.refusals, self.open, self.released):
            part.clear()

    def take_in(self, path: Path, offset: int, line: bytes) -> None:
        """Add a line of the shard ``path``.

        Raises:
            BelleError: it is no ledger line.
        """
        # Lines may be long and there may be millions: the digest is cut out, the rest stays unread.
        head = _HEAD.match(line) if line.endswith(b"}") else None
        if head:
            kind, digest, paid = head[1].decode(), head[2].decode(), ""
        else:
            row = parse(path, offset, line)
            kind, digest, paid = row["kind"], row["digest"], row.get("paid", "")
        key, place = bytes.fromhex(digest), offset << 32 | len(line)
        if kind == "reply":
            # The first reply counts, so that what was built from it stays what it was.
            self.replies.setdefault(key, place)
            self.open.pop(key, None)
        elif key in self.replies or kind == "broken":
            return
        elif kind == "intent":
            self.open[key] = place
            self.released.discard(key)
        else:
            if kind == "refusal":
                self.refusals.setdefault(key, place)
            if paid == "no":
                self.open.pop(key, None)
            else:
                self.released.add(key)


def parse(path: Path, offset: int, line: bytes) -> dict[str, Any]:
    """A line of a shard, which begins at byte ``offset``.

    Raises:
        BelleError: it is no ledger line; the message names file and byte.
    """
    row = parsed(line)
    if row is None:
        raise BelleError(
            f"no ledger line: {line[:60]!r}",
            where=f"{path}, byte {offset}",
            cause="the file was edited, or a copy or merge of it went wrong",
            fix="move that line to a file of its own; every other line is kept as it is",
        )
    return row
