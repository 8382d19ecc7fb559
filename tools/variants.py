"""Write src/belle/data/variants.py: which ideographs are variants of which, from the tables of the package OpenCC.

``python tools/variants.py src/belle/data/variants.py``, with OpenCC installed. OpenCC itself holds 20 MB in each
process that uses it, and converts phrases; a key for comparing texts needs one character for one.
"""

import sys
import unicodedata
from pathlib import Path

PLANES = (range(0x3400, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x32400))
PASSED_OVER = {"么"}  # Taiwan's form of 幺, and everybody else's second half of 什么
WIDTH = 50  # ideographs in a line; each counts as two columns


def variants() -> dict[str, str]:
    """Ideograph → the simplified form that stands for it, each form its own fixed point."""
    from opencc import OpenCC

    characters = [chr(code) for plane in PLANES for code in plane]
    characters = [char for char in characters if unicodedata.normalize("NFKD", char) == char]
    table: dict[str, str] = {}
    for scheme in ("tw2s", "hk2s", "t2s"):  # the last has the say
        simplified = OpenCC(scheme).convert("\n".join(characters)).split("\n")
        for old, new in zip(characters, simplified, strict=True):
            if old != new and len(new) == 1 and old not in PASSED_OVER:
                table[old] = unicodedata.normalize("NFKC", new)
    for old in table:
        seen = {old}
        while table[old] in table and table[table[old]] not in seen:
            seen.add(table[old])
            table[old] = table[table[old]]
    return {old: new for old, new in sorted(table.items()) if old != new}


def main(out: Path) -> None:
    """Write the module."""
    from importlib.metadata import version

    table = variants()

    def literal(name: str, text: str) -> str:
        lines = [text[start : start + WIDTH] for start in range(0, len(text), WIDTH)]
        return f"{name} = (\n" + "".join(f'    "{line}"\n' for line in lines) + ")\n"

    out.write_text(
        '"""Ideographs written in several ways: traditional forms and other variants, and the simplified form.\n\n'
        f"Written by tools/variants.py from OpenCC {version('OpenCC')} (Apache-2.0); not to be edited by hand.\n"
        '"""\n\n' + literal("_VARIANTS", "".join(table)) + literal("_FORMS", "".join(table.values())) + "\n"
        "SIMPLIFIED: dict[str, str] = dict(zip(_VARIANTS, _FORMS, strict=True))\n"
        f'"""Variant → the form that stands for it: {len(table):,} ideographs, one for one; no form is a variant."""\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
