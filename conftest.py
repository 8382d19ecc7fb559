"""Fixtures for all tests: this checkout, a copy of it, and a miniature world that is built once."""

from pathlib import Path

import pytest

from trials.worlds import ROOT, World, built_miniature, copy_checkout, copy_world

LONGEST = (
    "slurm", "scale", "rebuild", "recovery", "flags", "scale_memory", "remotes", "example", "scale_hosts", "verify",
    "resume", "scale_kinds", "views", "resources", "cache", "ppo", "import", "dpo", "gpu_benchmark", "profiles", "sets",
    "weigh", "cards",
)  # fmt: skip
"""Files of tests by what they take. Those that go last leave one of two cores idle until they are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first; ``make test`` has them dealt out in this order."""
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def project() -> Path:
    """The folder of this checkout."""
    return ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of this checkout, nothing built."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    return copy_checkout(folder)


@pytest.fixture(scope="session")
def built_once() -> Path:
    """A miniature world, built; never changed by a test."""
    return built_miniature()


@pytest.fixture
def miniature(built_once: Path, tmp_path: Path) -> World:
    """A built miniature world of the test's own."""
    return copy_world(built_once, tmp_path / "world")
