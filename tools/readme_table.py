"""Put results/tables/tiny.md into README.md, between its two marks; with --check only compare."""

import re
import sys
from pathlib import Path

MARKS = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.S)


def main(check: bool) -> None:
    readme = Path("README.md")
    text = readme.read_text(encoding="utf-8")

    def table(match: re.Match[str]) -> str:
        body = Path(match[2]).read_text(encoding="utf-8").partition("\n")[2].strip()
        return f"{match[1]}\n{body}\n\n{match[3]}"

    fresh = MARKS.sub(table, text)
    if check and fresh != text:
        sys.exit("README.md: its table is not the one that the build made: run `python tools/readme_table.py`")
    readme.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
