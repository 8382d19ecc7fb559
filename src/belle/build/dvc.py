"""DVC as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from belle.build.environment import for_users_tools


def run_dvc(arguments: list[str], **options: Any) -> int:
    """Run DVC with this interpreter's environment; returns its exit status."""
    options.setdefault("env", for_users_tools(os.environ))
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False, **options).returncode
