"""Fail where a stage that was run again ended in other bytes than the committed dvc.lock has of it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml


def outputs(lock: str | bytes) -> dict[str, str]:
    """Each stage's outputs and the hashes that a lock file has of them."""
    stages: dict[str, Any] = yaml.safe_load(lock)["stages"]
    return {f"{name}: {out['path']}": out["md5"] for name, stage in stages.items() for out in stage.get("outs", ())}


def main() -> None:
    """Compare the outputs that both have."""
    committed = outputs(subprocess.check_output(["git", "show", "HEAD:dvc.lock"]))
    built = outputs(Path("dvc.lock").read_text(encoding="utf-8"))
    both = sorted(committed.keys() & built.keys())
    differ = [name for name in both if committed[name] != built[name]]
    print(f"{len(both) - len(differ)} of {len(both)} outputs are equal in bytes to the committed ones")
    if differ or not both:
        sys.exit("\n".join(["these are not:", *differ]))


if __name__ == "__main__":
    main()
