"""This checkout as a module of another workflow: where our sources are, and what params.yaml becomes there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

import belle
from belle.build.stages import PARAMS_FILE
from belle.errors import InputError
from belle.files import atomic_file

WRITTEN = "# Written from the module's params.yaml and the config given to the module; change it there, not here.\n"


class Checkout:
    """The checkout whose Snakefile is read, seen from the folder that is built in.

    Args:
        root: The folder of our Snakefile.
        overrides: Snakemake's ``config`` there: of the ``module`` statement, or of ``--config``.
    """

    def __init__(self, root: Path, overrides: dict[str, Any]) -> None:
        self.root = root.resolve()
        self.overrides = dict(overrides)
        self.relative = os.path.relpath(self.root)
        self.is_here = self.relative == "."
        try:
            self._refuse()
        except InputError as error:
            print(f"belle: {error}", file=sys.stderr, flush=True)
            sys.exit(error.exit_status)

    def _refuse(self) -> None:
        if self.is_here and self.overrides:
            raise InputError(
                f"{', '.join(map(str, self.overrides))}: values given to Snakemake alone would be unknown to DVC",
                where="--config, --configfile",
                fix="change params.yaml, or try a value by `dvc exp run -S KEY=VALUE`",
            )
        package = Path(belle.__file__).resolve().parents[2]
        if not self.is_here and package != self.root:
            raise InputError(
                f"the rules are of {self.root}, the package `belle` is of {package}",
                where="module",
                fix=f"run `pip install --editable {self.root}` in this environment",
            )

    def path(self, name: str) -> Path:
        """Where a file of ours is."""
        return Path(self.ours(name))

    def ours(self, name: str) -> str:
        """The path of a file or folder of ours, as rules write it; here it is the name itself."""
        return name if self.is_here else f"{self.relative}/{name}"

    def code(self, name: str) -> list[str]:
        """A folder of modules; elsewhere its files one by one, since .dvcignore ends at a repository."""
        if self.is_here:
            return [name]
        files = sorted((self.root / name).rglob("*.py"))
        return [self.ours(path.relative_to(self.root).as_posix()) for path in files]


def require_repository() -> None:
    """Refuse a folder without a DVC repository of its own: its stages would be taken for those of a folder above.

    Raises:
        InputError: there is none.
    """
    if not Path(".dvc").is_dir():
        raise InputError(
            "this folder has no DVC repository of its own",
            where=str(Path.cwd()),
            fix="run `dvc init` here, or `dvc init --subdir` where git's folder is further up",
        )


def write_params(values: dict[str, Any], path: Path = Path(PARAMS_FILE)) -> bool:
    """Write the merged values where DVC reads them, if they differ; returns whether it did.

    Raises:
        InputError: a params.yaml stands there that this did not write.
    """
    text = WRITTEN + yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    current = path.read_text(encoding="utf-8") if path.exists() else ""
    if current == text:
        return False
    if current and not current.startswith(WRITTEN):
        raise InputError(
            "this would overwrite a file of yours with the merged values of the module",
            where=str(path),
            fix="give your values as the module's `config:`, in a file of another name, and remove this one",
        )
    with atomic_file(path) as file:
        file.write(text)
    return True
