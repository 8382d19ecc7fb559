"""The same bytes from processors of all makers, whom this one plays: MKL asks who made it, and adds up accordingly."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from belle.stages import SAME_BYTES

INTEL = "int {name}(void) {{ return {intel}; }}"
ZEN = '#include <stdlib.h>\nint mkl_serv_cpuiszen(void) {{ return {zen} && !getenv("MKL_CBWR"); }}'
CACHES = (
    "void mkl_serv_cache_info(long *told) {{ told[0] = 3; told[1] = {}; told[2] = {}; told[3] = {}; told[4] = 0; }}"
)
"""What MKL asks: whether Intel made the processor; whether AMD did, where nothing is pinned; the sizes of caches."""
MAKERS = {"Intel": (1, 0, (48 << 10, 2 << 20, 105 << 20)), "AMD": (0, 1, (32 << 10, 512 << 10, 16 << 20))}

COMPUTE = """
import hashlib
import torch
from torch import nn

torch.manual_seed(5)
digest = hashlib.sha256()
layer = nn.TransformerEncoderLayer(96, 4, 200, 0.0, nn.functional.silu, batch_first=True)
model = nn.Sequential(nn.Embedding(300, 96), layer, nn.Linear(96, 300))
steps = torch.optim.AdamW(model.parameters(), 1e-3)
for step in range(4):
    rows = torch.randint(300, (8, 33))
    loss = nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
    steps.zero_grad()
    loss.backward()
    steps.step()
for value in model.state_dict().values():
    digest.update(value.numpy().tobytes())
square = torch.randn(130, 130)
hessian = square @ square.T + 10 * torch.eye(130)
for value in (torch.linalg.cholesky(hessian), torch.cholesky_inverse(torch.linalg.cholesky(hessian)), square.exp(),
              square.double() @ square.double(), square.tanh(), square.softmax(0), square.abs().log()):
    digest.update(value.numpy().tobytes())
print(digest.hexdigest())
"""
"""Steps of a training, and what GPTQ and scoring compute."""


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> dict[str, str]:
    """A library for each maker that answers MKL's questions as that maker's processors do."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        pytest.skip(f"MKL is for x86; this is {platform.machine()}")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (Debian: gcc libc6-dev)")
    folder = tmp_path_factory.mktemp("makers")
    for maker, (intel, zen, caches) in MAKERS.items():
        source = folder / f"{maker}.c"
        answers = [INTEL.format(name=name, intel=intel) for name in ("mkl_serv_intel_cpu", "mkl_serv_intel_cpu_true")]
        source.write_text("\n".join([*answers, ZEN.format(zen=zen), CACHES.format(*caches), ""]))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / f"{maker}.so"), str(source)], check=True)
    return {maker: str(folder / f"{maker}.so") for maker in MAKERS}


def computed(folder: Path, library: str, pinned: dict[str, str]) -> str:
    """The digest of what a process of this processor, or of another maker's, computes."""
    variables = {name: value for name, value in os.environ.items() if name not in SAME_BYTES}
    variables |= {"OMP_NUM_THREADS": "1", "LD_PRELOAD": library, **pinned}
    command = [sys.executable, "-c", COMPUTE]
    return subprocess.run(command, env=variables, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_processors_of_all_makers_end_in_the_same_bytes(played, tmp_path):
    assert len({computed(tmp_path, library, SAME_BYTES) for library in ("", *played.values())}) == 1


def test_without_the_pin_they_do_not(played, tmp_path):
    """What the pin is for; where this fails, MKL asks otherwise, and the test above tells nothing."""
    others = {name: value for name, value in SAME_BYTES.items() if name != "MKL_CBWR"}
    assert len({computed(tmp_path, library, others) for library in played.values()}) == 2
