"""A long computation in parts, each kept on the disk, so that a killed run goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from tqdm import tqdm

from belle.files import atomic_file
from belle.jsonl import canonical


def everyone() -> PartialState:
    """The processes of this run: one, or those of a torchrun."""
    return PartialState(cpu=not torch.cuda.is_available())


class Blocks:
    """Numbered parts of one computation, JSON each; those of another identity are thrown away.

    With several processes each makes its share, and all of them read all parts.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        self.folder = Path(folder)
        self._digest = hashlib.sha256(canonical(identity)).hexdigest()
        self._everyone = everyone()
        if self._everyone.is_main_process and not (self.folder / self._digest).is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            (self.folder / self._digest).mkdir(parents=True)
        self._everyone.wait_for_everyone()

    def _path(self, number: int) -> Path:
        return self.folder / self._digest / f"{number}.json"

    def all(self, parts: Iterable[Any], make: Callable[[Any], Any], describe: str) -> list[Any]:
        """Every part's result in order, made by ``make`` where it is not kept yet."""
        todo = list(enumerate(parts))
        mine = todo[self._everyone.process_index :: self._everyone.num_processes]
        quiet = not self._everyone.is_main_process
        for number, part in tqdm(mine, desc=describe, unit="batch", mininterval=1, delay=1, disable=quiet):
            if not self._path(number).exists():
                with atomic_file(self._path(number)) as file:
                    json.dump(make(part), file, ensure_ascii=False)
        self._everyone.wait_for_everyone()
        return [json.loads(self._path(number).read_text(encoding="utf-8")) for number, _ in todo]

    def discard(self) -> None:
        """Remove all parts once what they were for is safely written."""
        self._everyone.wait_for_everyone()
        if self._everyone.is_main_process:
            shutil.rmtree(self.folder, ignore_errors=True)
