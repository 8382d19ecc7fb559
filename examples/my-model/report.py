"""One line for each model of a table: ``python report.py TABLE.json REPORT.md``."""

import json
import sys
from pathlib import Path

table = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
lines = [f"- {row['model']}: {row['Score']}" for row in table["models"]]
Path(sys.argv[2]).write_text("\n".join([f"# {table['title']}", "", *lines, ""]), encoding="utf-8")
