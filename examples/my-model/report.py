"""One line for each model of the table; run by Snakemake, which brings the name ``snakemake``."""

import json
from pathlib import Path

table = json.loads(Path(snakemake.input[0]).read_text(encoding="utf-8"))  # noqa: F821
lines = [f"- {row['model']}: {row['Score']}" for row in table["models"]]
Path(snakemake.output[0]).write_text("\n".join([f"# {table['title']}", "", *lines, ""]), encoding="utf-8")  # noqa: F821
